"""Fields of a container, the same for ``containers``, ``initContainers`` and ``ephemeralContainers``."""

from __future__ import annotations

from typing import Final

from lattice.api.podfields.rows import Row, honoured, inert, refused

_BASIC: Final = "TBD"

_PROBE_FIELDS: Final = (
    "exec.command", "httpGet.path", "httpGet.port", "httpGet.host", "httpGet.scheme", "httpGet.httpHeaders[].name",
    "httpGet.httpHeaders[].value", "tcpSocket.port", "tcpSocket.host", "grpc.port", "grpc.service", "initialDelaySeconds", "timeoutSeconds",
    "periodSeconds", "successThreshold", "failureThreshold",
)  # fmt: skip
_HOOK_FIELDS: Final = (
    "exec.command", "httpGet.path", "httpGet.port", "httpGet.host", "httpGet.scheme", "httpGet.httpHeaders[].name",
    "httpGet.httpHeaders[].value", "sleep.seconds",
)  # fmt: skip


def _under(prefix: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{prefix}.{name}" for name in names)


CONTAINER: Final[tuple[Row, ...]] = (
    *honoured(_BASIC, "name", "image", "command", "args", note="`$(VAR)` and `$$` are expanded in `command`, `args` and `env`"),
    *honoured(_BASIC, "workingDir", "stdin", "tty"),
    *honoured(_BASIC, "stdinOnce"),
    *honoured(_BASIC, "imagePullPolicy", note="`Always` counts for the first start on a node: a restart never depends on a registry"),
    *honoured(_BASIC, "env[].name", "env[].value"),
    *honoured(
        _BASIC,
        *_under("env[].valueFrom.secretKeyRef", "name", "key", "optional"),
        *_under("env[].valueFrom.configMapKeyRef", "name", "key", "optional"),
        note="missing: waiting, `CreateContainerConfigError`",
    ),
    *honoured(_BASIC, "env[].valueFrom.fieldRef.apiVersion", "env[].valueFrom.fieldRef.fieldPath"),
    *honoured(_BASIC, *_under("env[].valueFrom.resourceFieldRef", "containerName", "resource", "divisor")),
    *honoured(
        _BASIC,
        "envFrom[].prefix",
        *_under("envFrom[].configMapRef", "name", "optional"),
        *_under("envFrom[].secretRef", "name", "optional"),
    ),
    *honoured(
        _BASIC,
        *_under("ports[]", "name", "containerPort", "hostPort", "hostIP", "protocol"),
        note="always published, on `hostIP` (default 127.0.0.1); `hostPort` absent or 0: chosen by the agent, kept in the annotation "
        "`lattice.dev/host-ports`",
    ),
    *honoured(_BASIC, "resources.limits", note="`cpu`: a hard quota; `memory`: without swap; `ephemeral-storage`: eviction", whole=True),
    *honoured(_BASIC, "resources.requests", note="counted by the scheduler; `cpu` is also the share under load", whole=True),
    refused("resources.claims", "dynamic resource allocation is not supported: ask for devices in resources.limits"),
    inert("resizePolicy", "resources of a running container cannot be changed"),
    *honoured(_BASIC, "restartPolicy", note="`Always` in `initContainers` makes a sidecar"),
    *honoured(_BASIC, *_under("volumeMounts[]", "name", "mountPath", "readOnly")),
    *honoured(_BASIC, "volumeMounts[].subPath", "volumeMounts[].subPathExpr"),
    refused("volumeMounts[].mountPropagation", "mounts do not pass between the node and a container", "None"),
    refused("volumeMounts[].recursiveReadOnly", "mounts below a volume do not exist here", "Disabled", "IfPossible"),
    refused("volumeDevices", "raw block devices are not supported: use volumeMounts"),
    *(
        row
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        for row in honoured(
            _BASIC,
            *_under(probe, *_PROBE_FIELDS),
            note="until the first success, startup and readiness are checked every 0.5 s (for one minute)"
            if probe != "livenessProbe"
            else "",
        )
    ),
    *honoured(_BASIC, "startupProbe.terminationGracePeriodSeconds", "livenessProbe.terminationGracePeriodSeconds"),
    *honoured(_BASIC, "readinessProbe.terminationGracePeriodSeconds", note="may not be set, as in Kubernetes"),
    *honoured(_BASIC, *_under("lifecycle.postStart", *_HOOK_FIELDS)),
    *honoured(_BASIC, *_under("lifecycle.preStop", *_HOOK_FIELDS), note="within the grace period"),
    inert("lifecycle.postStart.tcpSocket", "it has no effect in Kubernetes either: use exec or httpGet"),
    inert("lifecycle.preStop.tcpSocket", "it has no effect in Kubernetes either: use exec or httpGet"),
    *honoured(_BASIC, "lifecycle.stopSignal", note="needs `spec.os.name`, as in Kubernetes"),
    *honoured(_BASIC, "terminationMessagePath", "terminationMessagePolicy"),
    *honoured(_BASIC, "securityContext.runAsUser", "securityContext.runAsGroup"),
    *honoured(_BASIC, "securityContext.runAsNonRoot", note="the image's user counts too: waiting, `CreateContainerConfigError`"),
    *honoured(_BASIC, "securityContext.readOnlyRootFilesystem"),
    inert("securityContext.allowPrivilegeEscalation", "processes never gain privileges here, unless the container is privileged", False),
    *honoured(_BASIC, "securityContext.privileged", note="only where the node's owner allows it (`allow_privileged`)"),
    *honoured(
        _BASIC,
        "securityContext.capabilities.add",
        "securityContext.capabilities.drop",
        note="every container starts with CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, NET_BIND_SERVICE, SETGID, SETUID; more only where "
        "the node's owner allows it (`allowed_capabilities`)",
    ),
    *honoured(
        _BASIC,
        "securityContext.seccompProfile.type",
        "securityContext.seccompProfile.localhostProfile",
        "securityContext.appArmorProfile.type",
        "securityContext.appArmorProfile.localhostProfile",
        note="`Unconfined` only where the node's owner allows it",
    ),
    inert("securityContext.seLinuxOptions", "containers are not labelled for SELinux here"),
    refused("securityContext.procMount", "/proc is always masked", "Default"),
    refused("securityContext.windowsOptions", "containers run on Linux only"),
)
