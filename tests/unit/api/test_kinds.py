"""The kinds: every one is described, round-trips, and spells its fields as Kubernetes does."""

import pytest

from lattice.api import errors, meta, pod, scheme


@pytest.mark.parametrize("kind", scheme.KINDS, ids=lambda kind: kind.KIND)
def test_every_field_has_a_description(kind: type[meta.Object]) -> None:
    schema = kind.model_json_schema(by_alias=True)
    for definition in (schema, *schema["$defs"].values()):
        for name, field in definition.get("properties", {}).items():
            inherited = schema["$defs"].get(field.get("$ref", "").rpartition("/")[2], {})  # dropped where the class says the same
            assert field.get("description") or inherited.get("description"), f"{definition['title']}.{name} has no description"


def test_fields_are_spelled_as_kubernetes_spells_them() -> None:
    status = pod.PodStatus(pod_ip="1.2.3.4", host_ip="5.6.7.8", pod_ips=(pod.PodIP(ip="1.2.3.4"),))
    assert status.to_dict() == {"podIP": "1.2.3.4", "hostIP": "5.6.7.8", "podIPs": [{"ip": "1.2.3.4"}]}


def test_container_status_spells_ids_as_kubernetes_does() -> None:
    status = pod.ContainerStatus(name="c", image_id="sha256:1", container_id="docker://1")
    assert status.to_dict() == {"name": "c", "imageID": "sha256:1", "containerID": "docker://1"}


def test_a_copy_is_validated() -> None:
    port = pod.ContainerPort(container_port=80)
    assert meta.changed(port, host_port=8080).to_dict() == {"containerPort": 80, "hostPort": 8080}
    with pytest.raises(ValueError, match="less than or equal to 65535"):
        meta.changed(port, host_port=70000)


def test_unknown_kinds_are_refused_with_the_kind_in_the_message() -> None:
    with pytest.raises(ValueError, match='no matches for kind "Gadget" in version "v1"'):
        scheme.parse_object({"apiVersion": "v1", "kind": "Gadget"})


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"code": 404, "reason": "NotFound", "message": "x"}, errors.NotFoundError),
        ({"code": 409, "reason": "AlreadyExists", "message": "x"}, errors.AlreadyExistsError),
        ({"code": 409, "reason": "Conflict", "message": "x"}, errors.ConflictError),
        ({"code": 410, "reason": "Expired", "message": "x"}, errors.GoneError),
        ({"code": 410, "reason": "Gone", "message": "x"}, errors.GoneError),
        ({"code": 418}, errors.ApiError),
        ({"code": "rubbish", "details": 7, "reason": []}, errors.InternalError),
    ],
)
def test_a_status_becomes_the_error_that_it_says(status: dict[str, object], expected: type[errors.ApiError]) -> None:
    assert type(errors.from_status(status)) is expected


def test_an_invalid_object_names_each_field() -> None:
    causes = [errors.Cause("FieldValueRequired", "Required value", "spec.a"), errors.Cause("FieldValueInvalid", "bad", "spec.b")]
    error = errors.InvalidError.of(kind="Workload", group="lattice.dev", name="w", causes=causes)
    assert error.message == 'Workload.lattice.dev "w" is invalid: [spec.a: Required value, spec.b: bad]'
    assert errors.from_status(error.to_status()).details["causes"][1]["field"] == "spec.b"
    assert error.causes == tuple(causes)
