"""Fields of ``spec`` besides containers and volumes."""

from __future__ import annotations

from typing import Final

from lattice.api.podfields import shownby
from lattice.api.podfields.rows import Row, honoured, inert, refused

POD: Final[tuple[Row, ...]] = (
    *honoured(
        shownby.MANIFESTS,
        "restartPolicy",
        note="back-off per container: 1 s doubling to 60 s, forgotten after a run of 60 s. A restart makes a new "
        "container with a fresh filesystem",
    ),
    *honoured(shownby.GRACE, "terminationGracePeriodSeconds"),
    *honoured(shownby.MANIFESTS, "activeDeadlineSeconds", note="phase `Failed`, reason `DeadlineExceeded`"),
    *honoured(shownby.NAMES, "shareProcessNamespace"),
    *honoured(
        shownby.HOOKS, "ephemeralContainers[].targetContainerName", note="`kubectl debug` adds them; each sees the processes of its target"
    ),
    *honoured(shownby.PLACED, "readinessGates[].conditionType"),
    *honoured(shownby.PLACED, "nodeName", note="written by the scheduler through `binding`, or given to bypass it"),
    *honoured(shownby.PLACED, "nodeSelector", whole=True),
    *honoured(shownby.PLACED, "tolerations[].key", "tolerations[].operator", "tolerations[].value", "tolerations[].effect"),
    inert("tolerations[].tolerationSeconds", "Pods are not evicted because of a taint"),
    *honoured(shownby.PLACED, "schedulingGates[].name", note="the scheduler waits until the list is empty; printed as `SchedulingGated`"),
    *honoured(shownby.PLACED, "priority", note="of the Pods that wait, the higher goes first; nothing is evicted for it"),
    *honoured(shownby.PLACED, "schedulerName", note="another name than `default-scheduler`: another program has to bind the Pod"),
    *honoured(shownby.PROCESS, "hostname", note="default: the Pod's name, cut at 63 characters"),
    *honoured(shownby.PROCESS, "subdomain", note="`<hostname>.<subdomain>` can be looked up by the Pods of the namespace on the same node"),
    inert("setHostnameAsFQDN", "the hostname is always the short name", False),
    *honoured(shownby.PROCESS, "hostAliases[].ip", "hostAliases[].hostnames"),
    *honoured(shownby.PROCESS, "dnsPolicy", note="`None`: only `dnsConfig` counts; all others are `Default`: the node's resolvers"),
    *honoured(shownby.PROCESS, "dnsConfig.nameservers", note="they take the place of the node's resolvers; Kubernetes adds them to those"),
    *honoured(shownby.PROCESS, "dnsConfig.searches", "dnsConfig.options[].name", "dnsConfig.options[].value"),
    *honoured(shownby.PRIVATE, "imagePullSecrets[].name", note="`kubernetes.io/dockerconfigjson` and `kubernetes.io/dockercfg`"),
    *honoured(shownby.PROCESS, "securityContext.runAsUser", "securityContext.runAsGroup", "securityContext.runAsNonRoot"),
    *honoured(shownby.PROCESS, "securityContext.supplementalGroups"),
    *honoured(shownby.DIRECTORIES, "securityContext.fsGroup", "securityContext.fsGroupChangePolicy"),
    *honoured(
        shownby.PROCESS, "securityContext.sysctls[].name", "securityContext.sysctls[].value", note="of the network and IPC namespaces"
    ),
    *honoured(
        shownby.OWNER,
        "securityContext.seccompProfile.type",
        "securityContext.seccompProfile.localhostProfile",
    ),
    refused("securityContext.supplementalGroupsPolicy", "the groups of the image's user always count", "Merge"),
    inert("securityContext.seLinuxOptions", "containers are not labelled for SELinux here"),
    inert("securityContext.seLinuxChangePolicy", "containers are not labelled for SELinux here"),
    refused("securityContext.appArmorProfile", "a container has Docker's profile, where the node has AppArmor", {"type": "RuntimeDefault"}),
    refused("securityContext.windowsOptions", "containers run on Linux only"),
    *honoured(shownby.PLACED, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution", whole=True),
    inert(
        "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution",
        "the scheduler looks at required node affinity only",
    ),
    inert("affinity.podAffinity", "the scheduler looks at required node affinity only"),
    inert("affinity.podAntiAffinity", "the scheduler spreads the replicas of a Workload by itself"),
    inert("topologySpreadConstraints", "the scheduler spreads the replicas of a Workload by itself"),
    inert("priorityClassName", "priority classes do not exist here: set priority"),
    inert("preemptionPolicy", "nothing is evicted to make room"),
    *honoured(shownby.SHOWN, "serviceAccountName", "serviceAccount", note="a name that `fieldRef` can show; no token is mounted"),
    inert("automountServiceAccountToken", "tokens of service accounts are never mounted", False),
    inert("enableServiceLinks", "there are no Services yet whose variables could be set", True, False),
    *honoured(shownby.PROCESS, "os.name", note="`linux`; `windows` is refused"),
    refused("hostNetwork", "a Pod does not get the node's network: publish ports instead", False),
    refused("hostPID", "a Pod does not see the node's processes", False),
    refused("hostIPC", "a Pod does not share the node's IPC namespace", False),
    refused("hostUsers", "user namespaces are not supported", True),
    refused("runtimeClassName", "containers run in Docker's default runtime"),
    refused("overhead", "it belongs to a runtime class, and there are none", {}),
    refused("resources", "give requests and limits to the containers", {}),
    refused("resourceClaims", "dynamic resource allocation is not supported: ask for devices in resources.limits"),
)
