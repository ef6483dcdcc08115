"""Fields of a container, the same for ``containers``, ``initContainers`` and ``ephemeralContainers``."""

from __future__ import annotations

from typing import Final

from lattice.api.podfields import shownby
from lattice.api.podfields.rows import Row, honoured, inert, refused

_PROBE_FIELDS: Final = (
    "httpGet.path", "httpGet.port", "httpGet.host", "httpGet.scheme", "httpGet.httpHeaders[].name", "httpGet.httpHeaders[].value",
    "tcpSocket.port", "tcpSocket.host", "initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold",
)  # fmt: skip
_EAGER: Final = "until the first success checked every 0.5 s, for one minute"
_PROBES: Final = (("startupProbe", _EAGER), ("readinessProbe", _EAGER), ("livenessProbe", ""))
_HOOK_FIELDS: Final = (
    "exec.command", "httpGet.path", "httpGet.port", "httpGet.host", "httpGet.scheme", "httpGet.httpHeaders[].name",
    "httpGet.httpHeaders[].value", "sleep.seconds",
)  # fmt: skip


def _under(prefix: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{prefix}.{name}" for name in names)


CONTAINER: Final[tuple[Row, ...]] = (
    *honoured(shownby.PROCESS, "name", "image", "command", "args", note="`$(VAR)` and `$$` are expanded in `command`, `args` and `env`"),
    *honoured(shownby.PROCESS, "workingDir", "stdin", "tty"),
    *honoured(shownby.PROCESS, "stdinOnce"),
    *honoured(
        shownby.PRIVATE, "imagePullPolicy", note="`Always` counts for the first start on a node: a restart never depends on a registry"
    ),
    *honoured(shownby.PROCESS, "env[].name", "env[].value"),
    *honoured(
        shownby.PROCESS,
        *_under("env[].valueFrom.secretKeyRef", "name", "key", "optional"),
        *_under("env[].valueFrom.configMapKeyRef", "name", "key", "optional"),
        note="missing: waiting, `CreateContainerConfigError`",
    ),
    *honoured(shownby.PROCESS, "env[].valueFrom.fieldRef.apiVersion", "env[].valueFrom.fieldRef.fieldPath"),
    *honoured(shownby.PROCESS, *_under("env[].valueFrom.resourceFieldRef", "containerName", "resource", "divisor")),
    *honoured(
        shownby.SHOWN,
        "envFrom[].prefix",
        *_under("envFrom[].configMapRef", "name", "optional"),
        *_under("envFrom[].secretRef", "name", "optional"),
    ),
    *honoured(
        shownby.PORTS,
        *_under("ports[]", "name", "containerPort", "hostPort", "hostIP", "protocol"),
        note="always published, on `hostIP` (default 127.0.0.1); `hostPort` absent or 0: chosen by the agent, kept in the annotation "
        "`lattice.dev/host-ports`",
    ),
    *honoured(
        shownby.PROCESS, "resources.limits", note="`cpu`: a hard quota; `memory`: without swap; `ephemeral-storage`: eviction", whole=True
    ),
    *honoured(shownby.PROCESS, "resources.requests", note="counted by the scheduler; `cpu` is also the share under load", whole=True),
    refused("resources.claims", "dynamic resource allocation is not supported: ask for devices in resources.limits"),
    inert("resizePolicy", "resources of a running container cannot be changed"),
    *honoured(shownby.MANIFESTS, "restartPolicy", note="`Always` in `initContainers` makes a sidecar"),
    *honoured(shownby.SHOWN, *_under("volumeMounts[]", "name", "mountPath", "readOnly")),
    *honoured(shownby.DIRECTORIES, "volumeMounts[].subPath", "volumeMounts[].subPathExpr"),
    refused("volumeMounts[].mountPropagation", "mounts do not pass between the node and a container", "None"),
    refused("volumeMounts[].recursiveReadOnly", "mounts below a volume do not exist here", "Disabled", "IfPossible"),
    refused("volumeDevices", "raw block devices are not supported: use volumeMounts"),
    *(row for probe, note in _PROBES for row in honoured(shownby.ASKED, *_under(probe, *_PROBE_FIELDS), note=note)),
    *(
        row
        for probe, note in _PROBES
        for row in honoured(shownby.MANIFESTS, *_under(probe, "exec.command", "grpc.port", "grpc.service"), note=note)
    ),
    *honoured(shownby.MANIFESTS, "startupProbe.terminationGracePeriodSeconds", "livenessProbe.terminationGracePeriodSeconds"),
    *honoured(shownby.MANIFESTS, "readinessProbe.terminationGracePeriodSeconds", note="may not be set, as in Kubernetes"),
    *honoured(shownby.HOOKS, *_under("lifecycle.postStart", *_HOOK_FIELDS)),
    *honoured(shownby.ASKED, *_under("lifecycle.preStop", *_HOOK_FIELDS), note="within the grace period"),
    inert("lifecycle.postStart.tcpSocket", "it has no effect in Kubernetes either: use exec or httpGet"),
    inert("lifecycle.preStop.tcpSocket", "it has no effect in Kubernetes either: use exec or httpGet"),
    *honoured(shownby.PROCESS, "lifecycle.stopSignal", note="needs `spec.os.name`, as in Kubernetes"),
    *honoured(shownby.MANIFESTS, "terminationMessagePath", "terminationMessagePolicy"),
    *honoured(shownby.PROCESS, "securityContext.runAsUser", "securityContext.runAsGroup"),
    *honoured(shownby.OWNER, "securityContext.runAsNonRoot", note="the image's user counts too: waiting, `CreateContainerConfigError`"),
    *honoured(shownby.PROCESS, "securityContext.readOnlyRootFilesystem"),
    inert("securityContext.allowPrivilegeEscalation", "processes never gain privileges here, unless the container is privileged", False),
    *honoured(shownby.OWNER, "securityContext.privileged", note="only where the node's owner allows it (`allow_privileged`)"),
    *honoured(
        shownby.OWNER,
        "securityContext.capabilities.add",
        "securityContext.capabilities.drop",
        note="every container starts with CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, NET_BIND_SERVICE, SETGID, SETUID; more only where "
        "the node's owner allows it (`allowed_capabilities`)",
    ),
    *honoured(
        shownby.OWNER,
        "securityContext.seccompProfile.type",
        "securityContext.seccompProfile.localhostProfile",
        note="`Unconfined` only where the node's owner allows it",
    ),
    inert("securityContext.seLinuxOptions", "containers are not labelled for SELinux here"),
    refused("securityContext.procMount", "/proc is always masked", "Default"),
    refused("securityContext.appArmorProfile", "a container has Docker's profile, where the node has AppArmor", {"type": "RuntimeDefault"}),
    refused("securityContext.windowsOptions", "containers run on Linux only"),
)
