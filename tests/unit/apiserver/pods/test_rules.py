"""What a Pod must be: each rule refuses with the field and Kubernetes' sentence; a Pod that uses everything passes."""

import copy
import random
from datetime import UTC, datetime

import pytest

from controller.apiserver import subresources
from controller.apiserver.request import User
from controller.apiserver.resources import build_table
from controller.apiserver.writing import WriteOptions, Writer
from lattice.api import errors

POD = next(resource for resource in build_table().stored if resource.kind == "Pod")
NOW = datetime(2026, 11, 21, tzinfo=UTC)
MAIN = {"name": "a", "image": "busybox"}
GET = {"httpGet": {"port": 80}}


def create(spec, options=None):
    writer = Writer(POD)
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": copy.deepcopy(spec)}
    obj = writer.match_request(body, namespace="default")
    options = options or WriteOptions(User("u"))
    writer.shape(obj, options)
    writer.prepare_create(obj, now=NOW, rng=random.Random(1))
    writer.check_create(obj)
    writer.warn(obj, None, options)
    return obj


def change(old, spec, subresource=""):
    """Return ``old`` with the fields of ``spec`` as an update stores it."""
    writer = Writer(POD)
    options = WriteOptions(User("u"))
    new = writer.match_request(copy.deepcopy({**old, "spec": {**old["spec"], **spec}}), namespace="default", name="p")
    writer.shape(new, options)
    return writer.finish_update(new, copy.deepcopy(old), subresource=subresource)


def causes_of(spec):
    with pytest.raises(errors.InvalidError) as caught:
        create(spec)
    return {cause.field: cause.message for cause in caught.value.causes}


def one(**container):
    return {"containers": [{**MAIN, **container}]}


def init(**container):
    return {"containers": [MAIN], "initContainers": [{"name": "i", "image": "busybox", **container}]}


def volume(**source):
    return {"containers": [MAIN], "volumes": [{"name": "v", **source}]}


def spec_with(**fields):
    return {"containers": [MAIN], **fields}


C, N, V = "spec.containers[0].", "spec.initContainers[0].", "spec.volumes[0]."

REFUSED = [
    (one(image=" busybox"), C + "image", "must not have leading or trailing whitespace"),
    (one(restartPolicy="Always"), C + "restartPolicy", "Forbidden: may not be set for non-init containers"),
    ({"containers": [MAIN], "initContainers": [MAIN]}, N + "name", 'Duplicate value: "a"'),
    (init(readinessProbe=GET), N + "readinessProbe", "Forbidden: may not be set for init containers without restartPolicy=Always"),
    (init(lifecycle={"preStop": {"sleep": {"seconds": 1}}}), N + "lifecycle", "may not be set for init containers without"),
    (init(restartPolicy="Never"), N + "restartPolicy", "Unsupported value"),
    (one(livenessProbe={}), C + "livenessProbe", "Required value: must specify a handler type"),
    (one(livenessProbe={**GET, "exec": {"command": ["x"]}}), C + "livenessProbe.httpGet", "may not specify more than 1 handler type"),
    (one(livenessProbe={**GET, "successThreshold": 2}), C + "livenessProbe.successThreshold", "must be 1"),
    (one(readinessProbe={"httpGet": {"port": 0}}), C + "readinessProbe.httpGet.port", "must be between 1 and 65535, inclusive"),
    (one(readinessProbe={"tcpSocket": {"port": "UP"}}), C + "readinessProbe.tcpSocket.port", "must contain at least one letter (a-z)"),
    (
        one(readinessProbe={**GET, "terminationGracePeriodSeconds": 3}),
        C + "readinessProbe.terminationGracePeriodSeconds",
        "must not be set for readinessProbes",
    ),
    (one(startupProbe={"exec": {}}), C + "startupProbe.exec.command", "Required value"),
    (one(lifecycle={"postStart": {}}), C + "lifecycle.postStart", "must specify a handler type"),
    (
        one(lifecycle={"preStop": {"sleep": {"seconds": 31}}}),
        C + "lifecycle.preStop.sleep.seconds",
        "must be greater than 0 and less than terminationGracePeriodSeconds (30)",
    ),
    (one(lifecycle={"stopSignal": "SIGINT"}), C + "lifecycle.stopSignal", "may not be set for containers with empty `spec.os.name`"),
    (one(ports=[{"name": "toolongforaservicename", "containerPort": 1}]), C + "ports[0].name", "must be no more than 15 characters"),
    (
        one(ports=[{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}]),
        C + "ports[1].hostPort",
        'Duplicate value: "TCP//9"',
    ),
    (
        one(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]),
        C + "env[0].valueFrom.fieldRef.fieldPath",
        "not supported",
    ),
    (
        one(env=[{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.gpu"}}}]),
        C + "env[0].valueFrom.resourceFieldRef.resource",
        "Unsupported value",
    ),
    (one(envFrom=[{}]), C + "envFrom[0]", "must specify one of: `configMapRef` or `secretRef`"),
    (one(resources={"requests": {"gpu": 1}}), C + "resources.requests", "must be a standard resource"),
    (
        one(resources={"requests": {"nvidia.com/gpu": 1}}),
        C + "resources.limits",
        "Required value: Limit must be set for non overcommitable resources",
    ),
    (one(resources={"limits": {"nvidia.com/gpu": "500m"}}), C + "resources.limits[nvidia.com/gpu]", "must be an integer"),
    (
        one(securityContext={"privileged": True, "allowPrivilegeEscalation": False}),
        C + "securityContext",
        "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
    ),
    (
        one(securityContext={"seccompProfile": {"type": "Localhost"}}),
        C + "securityContext.seccompProfile.localhostProfile",
        "Required value: must be set when seccomp type is Localhost",
    ),
    (
        {**volume(emptyDir={}), "containers": [{**MAIN, "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "../x"}]}]},
        C + "volumeMounts[0].subPath",
        "must not contain '..'",
    ),
    (volume(emptyDir={}, hostPath={"path": "/x"}), V + "hostPath", "Forbidden: may not specify more than 1 volume type"),
    (volume(secret={}), V + "secret.secretName", "Required value"),
    (volume(configMap={"name": "c", "items": [{"key": "k", "path": "/abs"}]}), V + "configMap.items[0].path", "must be a relative path"),
    (volume(hostPath={"path": "/a/../b"}), V + "hostPath.path", "must not contain '..'"),
    (volume(downwardAPI={"items": [{"path": "x"}]}), V + "downwardAPI.items[0]", "one of fieldRef and resourceFieldRef is required"),
    (
        volume(projected={"sources": [{"secret": {"name": "s", "items": [{"key": "k", "path": "x"}]}}] * 2}),
        V + "projected.sources[1]",
        "conflicting duplicate paths",
    ),
    (spec_with(dnsPolicy="None"), "spec.dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None"),
    (spec_with(dnsConfig={"nameservers": ["10.0.0.1"] * 4}), "spec.dnsConfig.nameservers", "must not have more than 3 nameservers"),
    (spec_with(hostAliases=[{"ip": "nowhere", "hostnames": ["a"]}]), "spec.hostAliases[0].ip", "must be a valid IP address"),
    (spec_with(hostname="a.b"), "spec.hostname", "a lowercase RFC 1123 label"),
    (spec_with(tolerations=[{"operator": "Equal"}]), "spec.tolerations[0].operator", "operator must be Exists when `key` is empty"),
    (spec_with(securityContext={"sysctls": [{"name": "A", "value": "1"}]}), "spec.securityContext.sysctls[0].name", "match regex"),
    (spec_with(ephemeralContainers=[{"name": "d", "image": "x"}]), "spec.ephemeralContainers", "Forbidden: cannot be set on create"),
    # what cannot be honoured
    (spec_with(hostNetwork=True), "spec.hostNetwork", "Forbidden: a Pod does not get the node's network"),
    (spec_with(runtimeClassName="gvisor"), "spec.runtimeClassName", "Forbidden"),
    (spec_with(os={"name": "windows"}), "spec.os.name", "Forbidden"),
    (volume(nfs={"server": "x", "path": "/"}), V + "nfs", "Forbidden: this kind of volume is not supported"),
    (init(securityContext={"procMount": "Unmasked"}), N + "securityContext.procMount", "Forbidden"),
]


@pytest.mark.parametrize(("spec", "field", "sentence"), REFUSED, ids=[f"{field}-{n}" for n, (_, field, _) in enumerate(REFUSED)])
def test_refused(spec, field, sentence):
    causes = causes_of(spec)
    assert field in causes
    assert sentence in causes[field]


EVERYTHING = {
    "containers": [
        {
            **MAIN,
            "ports": [{"name": "http", "containerPort": 80}],
            "env": [
                {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            ],
            "resources": {"limits": {"memory": "64Mi", "nvidia.com/gpu": 1}},
            "startupProbe": {"grpc": {"port": 5000}},
            "livenessProbe": GET,
            "lifecycle": {"postStart": {"httpGet": {"port": "http"}}, "preStop": {"sleep": {"seconds": 5}}, "stopSignal": "SIGQUIT"},
            "volumeMounts": [{"name": "p", "mountPath": "/p", "subPathExpr": "$(A)"}],
            "securityContext": {"capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}},
        }
    ],
    "initContainers": [
        {"name": "once", "image": "busybox:1"},
        {"name": "side", "image": "busybox:1", "restartPolicy": "Always", "readinessProbe": {"tcpSocket": {"port": 1}}},
    ],
    "volumes": [
        {
            "name": "p",
            "projected": {
                "sources": [
                    {"secret": {"name": "s"}},
                    {"configMap": {"name": "c", "items": [{"key": "k", "path": "d/k"}]}},
                    {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                ]
            },
        },
        {"name": "e"},
    ],
    "os": {"name": "linux"},
    "dnsPolicy": "None",
    "dnsConfig": {"nameservers": ["1.1.1.1"], "options": [{"name": "ndots", "value": "2"}]},
    "securityContext": {"fsGroup": 7, "supplementalGroups": [1], "sysctls": [{"name": "net.core.somaxconn", "value": "100"}]},
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a.example"]}],
    "hostNetwork": False,
}


def test_defaults_are_those_of_kube_apiserver():
    spec = create(EVERYTHING)["spec"]
    main, side = spec["containers"][0], spec["initContainers"][1]
    assert main["terminationMessagePath"] == "/dev/termination-log"
    assert main["terminationMessagePolicy"] == "File"
    assert main["imagePullPolicy"] == "Always"
    assert side["imagePullPolicy"] == "IfNotPresent"
    assert main["livenessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert main["startupProbe"]["grpc"] == {"port": 5000, "service": ""}
    assert main["lifecycle"]["postStart"]["httpGet"] == {"port": "http", "path": "/", "scheme": "HTTP"}
    assert main["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert main["resources"]["requests"] == main["resources"]["limits"] == {"memory": "64Mi", "nvidia.com/gpu": "1"}
    assert spec["volumes"][0]["projected"]["defaultMode"] == 420
    assert spec["volumes"][1] == {"name": "e", "emptyDir": {}}
    assert (spec["restartPolicy"], spec["schedulerName"], spec["enableServiceLinks"]) == ("Always", "default-scheduler", True)
    assert (spec["serviceAccountName"], spec["serviceAccount"], side["resources"]) == ("default", "default", {})


@pytest.mark.parametrize("body", [{"spec": 3}, {"spec": {"containers": 3}}, {"spec": {"containers": [3], "volumes": ["v"]}}, {}])
def test_defaults_take_any_shape(body):
    writer = Writer(POD)
    obj = writer.match_request({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, **body}, namespace="default")
    writer.shape(obj, WriteOptions(User("u")))
    writer.prepare_create(obj, now=NOW, rng=random.Random(1))
    with pytest.raises(errors.InvalidError):
        writer.check_create(obj)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([{}], "BestEffort"),
        ([{"limits": {"nvidia.com/gpu": 1}}], "BestEffort"),
        ([{"limits": {"cpu": 1, "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": 1, "memory": "1Gi"}}, {}], "Burstable"),
        ([{"limits": {"memory": "1Gi"}}], "Burstable"),
        ([{"requests": {"cpu": "500m"}, "limits": {"cpu": 1, "memory": "1Gi"}}], "Burstable"),
    ],
)
def test_qos_class(resources, expected):
    made = create({"containers": [{"name": f"c{n}", "image": "x", "resources": value} for n, value in enumerate(resources)]})
    assert made["status"]["qosClass"] == expected


def test_fields_without_effect_are_warned_of_where_they_are_set():
    options = WriteOptions(User("u"))
    create(spec_with(affinity={"podAntiAffinity": {}}, enableServiceLinks=False, priorityClassName="high", hostPID=False), options)
    assert [text.partition(":")[0] for text in options.warnings] == ["spec.affinity.podAntiAffinity", "spec.priorityClassName"]
    assert all("no effect" in text for text in options.warnings)


def test_only_a_change_of_such_a_field_is_warned_of_again():
    old = create(spec_with(priorityClassName="high"))
    writer = Writer(POD)
    for new, expected in (
        ({**old, "metadata": {**old["metadata"], "labels": {"a": "b"}}}, 0),
        ({**old, "spec": {**old["spec"], "containers": [{**MAIN, "image": "b"}]}}, 0),
        ({**old, "spec": {**old["spec"], "tolerations": [{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3}]}}, 1),
    ):
        options = WriteOptions(User("u"))
        writer.warn(new, old, options)
        assert len(options.warnings) == expected


def test_images_deadlines_and_more_tolerations_may_change():
    old = create(spec_with(activeDeadlineSeconds=100, tolerations=[{"key": "a", "operator": "Exists"}]))
    new = change(
        old,
        {
            "containers": [{**old["spec"]["containers"][0], "image": "other:1"}],
            "activeDeadlineSeconds": 50,
            "tolerations": [*old["spec"]["tolerations"], {"key": "b", "operator": "Exists"}],
        },
    )
    assert (new["spec"]["activeDeadlineSeconds"], new["metadata"]["generation"]) == (50, 2)


@pytest.mark.parametrize(
    ("fields", "field", "sentence"),
    [
        ({"hostname": "other"}, "spec", "pod updates may not change fields other than `spec.containers[*].image`"),
        ({"terminationGracePeriodSeconds": 5}, "spec", "pod updates may not change fields other than"),
        ({"containers": [MAIN, {"name": "b", "image": "b"}]}, "spec.containers", "pod updates may not add or remove containers"),
        ({"activeDeadlineSeconds": 101}, "spec.activeDeadlineSeconds", "must be less than or equal to previous value"),
        ({"activeDeadlineSeconds": None}, "spec.activeDeadlineSeconds", "must not update from a positive integer to nil value"),
        ({"tolerations": []}, "spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"),
        ({"schedulingGates": [{"name": "b"}]}, "spec.schedulingGates[0]", "only deletion is allowed"),
        ({"ephemeralContainers": [{"name": "d", "image": "x"}]}, "spec", "pod updates may not change fields other than"),
    ],
)
def test_all_else_may_not_change(fields, field, sentence):
    old = create(spec_with(activeDeadlineSeconds=100, tolerations=[{"key": "a", "operator": "Exists"}], schedulingGates=[{"name": "a"}]))
    with pytest.raises(errors.InvalidError) as caught:
        change(old, fields)
    assert any(cause.field == field and sentence in cause.message for cause in caught.value.causes)


def test_a_pod_of_an_older_release_can_be_labelled_though_it_lacks_defaults():
    old = create(spec_with())
    for name in ("dnsPolicy", "securityContext", "enableServiceLinks", "serviceAccount", "serviceAccountName", "priority"):
        del old["spec"][name]
    del old["spec"]["containers"][0]["terminationMessagePath"]
    assert change(old, {"activeDeadlineSeconds": 5})["spec"]["activeDeadlineSeconds"] == 5


def test_the_status_of_a_pod_that_is_refused_now_can_still_be_written():
    old = {**create(spec_with()), "metadata": {**create(spec_with())["metadata"]}}
    old["spec"]["hostNetwork"] = True
    writer = Writer(POD)
    new = writer.finish_update({**copy.deepcopy(old), "status": {"phase": "Failed"}}, old, subresource="status")
    assert new["status"]["phase"] == "Failed"


DEBUG = {"name": "debug", "image": "busybox", "stdin": True, "tty": True, "targetContainerName": "a"}


def test_ephemeral_containers_come_through_their_subresource_and_stay():
    old = create(spec_with())
    new = change(old, {"ephemeralContainers": [DEBUG], "hostname": "ignored"}, "ephemeralcontainers")
    assert [item["name"] for item in new["spec"]["ephemeralContainers"]] == ["debug"]
    assert "hostname" not in new["spec"]
    assert new["metadata"]["generation"] == 2
    assert new["spec"]["ephemeralContainers"][0]["terminationMessagePolicy"] == "File"
    for second in ([], [{**new["spec"]["ephemeralContainers"][0], "image": "other"}]):
        with pytest.raises(errors.InvalidError, match='existing ephemeral containers "debug" may not be'):
            change(new, {"ephemeralContainers": second}, "ephemeralcontainers")


@pytest.mark.parametrize(
    ("container", "field"),
    [
        ({**DEBUG, "ports": [{"containerPort": 1}]}, "ports"),
        ({**DEBUG, "livenessProbe": GET}, "livenessProbe"),
        ({**DEBUG, "resources": {"limits": {"cpu": 1}}}, "resources"),
        ({**DEBUG, "targetContainerName": "z"}, "targetContainerName"),
        ({**DEBUG, "name": "a"}, "name"),
    ],
)
def test_ephemeral_containers_have_less(container, field):
    with pytest.raises(errors.InvalidError) as caught:
        change(create(spec_with()), {"ephemeralContainers": [container]}, "ephemeralcontainers")
    assert f"spec.ephemeralContainers[0].{field}" in [cause.field for cause in caught.value.causes]


def test_a_gated_pod_says_so_and_its_gates_can_only_go():
    old = create(spec_with(schedulingGates=[{"name": "a"}]))
    assert [condition["reason"] for condition in old["status"]["conditions"]] == ["SchedulingGated"]
    assert "schedulingGates" not in change(old, {"schedulingGates": None})["spec"]
    assert change(old, {"nodeSelector": {"a": "b"}})["spec"]["nodeSelector"] == {"a": "b"}
    with pytest.raises(errors.ConflictError, match="non-empty"):
        subresources.bind(old, "n", "", now=NOW)
