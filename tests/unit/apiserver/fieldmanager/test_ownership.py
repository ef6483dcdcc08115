"""What writes do to managedFields, rule by rule; the whole in histories is in the model's tests, real answers in the recordings'."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.apiserver.fieldmanager.ownership import FieldManager
from lattice.api import errors
from lattice.testing.schemas import INTEGER, STRING, make_list, make_object

VERSION = "example.dev/v1"
NOW = datetime(2026, 11, 21, 8, 0, 0, 999, tzinfo=UTC)
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
PORT = make_object(containerPort=INTEGER, protocol={**STRING, "default": "TCP"}, name=STRING)
SPEC = make_object(
    image=STRING,
    replicas=INTEGER,
    on={"type": "boolean"},
    limit={"x-kubernetes-int-or-string": True},
    args=make_list(STRING),
    tags=make_list(STRING, kind="set"),
    ports=make_list(PORT, keys=("containerPort", "protocol")),
    selector={**make_object(a=STRING, b=STRING), "x-kubernetes-map-type": "atomic"},
    free=ANYTHING,
)
LABELS = {"type": "object", "additionalProperties": STRING}
METADATA = make_object(
    name=STRING, namespace=STRING, uid=STRING, labels=LABELS, annotations=LABELS, finalizers=make_list(STRING, kind="set")
)
SCHEMA = make_object(apiVersion=STRING, kind=STRING, metadata=METADATA, spec=SPEC, status=ANYTHING)
MANAGER = FieldManager(SCHEMA, group_version=VERSION)


def make(spec: Any = None, status: Any = None, **metadata: Any) -> dict[str, Any]:
    obj: dict[str, Any] = {"apiVersion": VERSION, "kind": "Thing", "metadata": {"name": "x", **metadata}}
    if spec is not None:
        obj["spec"] = spec
    if status is not None:
        obj["status"] = status
    return obj


def stored(obj: dict[str, Any], manager: str = "maker", now: datetime = NOW) -> dict[str, Any]:
    """The object as its creation leaves it."""
    managed = MANAGER.update(None, obj, manager=manager, now=now)
    return {**obj, "metadata": {**obj["metadata"], "uid": "u", "managedFields": managed}}


def update(live: dict[str, Any], new: dict[str, Any], manager: str = "hand", **more: Any) -> dict[str, Any]:
    new = {**new, "metadata": {"managedFields": live["metadata"].get("managedFields"), **new["metadata"], "uid": "u"}}
    managed = MANAGER.update(live, new, manager=manager, now=more.pop("now", NOW), **more)
    return {**new, "metadata": {**new["metadata"], "managedFields": managed}}


def apply(live: dict[str, Any] | None, applied: dict[str, Any], manager: str = "one", **more: Any) -> dict[str, Any]:
    return MANAGER.apply(live, applied, manager=manager, force=more.pop("force", False), now=more.pop("now", NOW), **more)


def fields_of(obj: dict[str, Any], manager: str, operation: str = "Update") -> Any:
    found = [entry for entry in obj["metadata"]["managedFields"] or () if (entry["manager"], entry["operation"]) == (manager, operation)]
    return found[0]["fieldsV1"] if found else None


class TestUpdates:
    @pytest.mark.parametrize(
        ("before", "after", "owned"),
        [
            ({"image": "a"}, {"image": "b"}, {"f:image": {}}),
            ({"image": "a"}, {"image": "a", "args": ["x"]}, {"f:args": {}}),
            ({"args": ["x"]}, {"args": ["x", "y"]}, {"f:args": {}}),
            ({"selector": {"a": "1"}}, {"selector": {"a": "1", "b": "2"}}, {"f:selector": {}}),
            ({"tags": ["x"]}, {"tags": ["y", "x"]}, {"f:tags": {'v:"y"': {}}}),
            ({"limit": 5}, {"limit": "5"}, {"f:limit": {}}),
            (
                {"ports": [{"containerPort": 80}]},
                {"ports": [{"containerPort": 80, "protocol": "TCP", "name": "web"}]},
                {"f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {"f:name": {}, "f:protocol": {}}}},
            ),
            (
                {},
                {"ports": [{"containerPort": 80, "protocol": "UDP"}]},
                {"f:ports": {".": {}, 'k:{"containerPort":80,"protocol":"UDP"}': {".": {}, "f:containerPort": {}, "f:protocol": {}}}},
            ),
            ({"free": {"a": {"b": 1}}}, {"free": {"a": {"b": True, "c": []}}}, {"f:free": {"f:a": {"f:b": {}, "f:c": {}}}}),
            ({"free": {"a": {"b": 1}}}, {"free": {"a": "text"}}, {"f:free": {"f:a": {}}}),
            ({"free": {}}, {"free": {"a": {"b": {}}}}, {"f:free": {"f:a": {".": {}, "f:b": {}}}}),
        ],
    )
    def test_a_change_is_owned(self, before: Any, after: Any, owned: Any) -> None:
        assert fields_of(update(stored(make({**before, "replicas": 1})), make({**after, "replicas": 1})), "hand") == {"f:spec": owned}

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ({"tags": ["x", "y"]}, {"tags": ["y", "x"]}),  # the order of a set is nobody's
            ({"replicas": 1}, {"replicas": 1.0}),
            ({"image": "a", "replicas": 1}, {"image": "a"}),  # what is gone is nobody's
        ],
    )
    def test_no_change_is_not_owned(self, before: Any, after: Any) -> None:
        assert fields_of(update(stored(make(before)), make(after)), "hand") is None

    def test_the_former_owner_loses_what_changes_and_what_goes(self) -> None:
        live = stored(make({"image": "a", "replicas": 1, "args": ["x"]}))
        assert fields_of(update(live, make({"image": "b", "args": ["x"]})), "maker") == {"f:spec": {".": {}, "f:args": {}}}

    def test_what_identifies_an_object_is_never_owned(self) -> None:
        live = make({"image": "a"}, resourceVersion="1", generation=1, creationTimestamp="t", namespace="n", selfLink="s")
        assert MANAGER.update(None, live, manager="maker", now=NOW) == stored(make({"image": "a"}))["metadata"]["managedFields"]
        later = make({"image": "a"}, generation=7, deletionTimestamp="t", deletionGracePeriodSeconds=0)
        assert fields_of(update(live | {"metadata": {**live["metadata"], "managedFields": []}}, later), "hand") is None

    def test_status_belongs_to_its_subresource(self) -> None:
        live = stored(make({"image": "a"}, status={"phase": "x"}))
        assert "f:status" not in fields_of(live, "maker")
        changed = make({"image": "b"}, status={"phase": "y"})
        after = update(live, changed, subresource="status")
        assert fields_of(after, "hand") == {"f:status": {"f:phase": {}}}
        assert [entry.get("subresource") for entry in after["metadata"]["managedFields"]] == ["status", None]
        assert fields_of(update(live, changed), "hand") == {"f:spec": {"f:image": {}}}
        plain = FieldManager(SCHEMA, group_version=VERSION, has_status=False)
        assert "f:status" in (plain.update(None, live, manager="m", now=NOW) or [])[0]["fieldsV1"]

    def test_scaling_is_recorded_without_a_time(self) -> None:
        after = update(stored(make({"image": "a"})), make({"image": "a", "replicas": 3}), subresource="scale")
        entry = after["metadata"]["managedFields"][0]
        assert (entry["subresource"], entry["fieldsV1"], "time" in entry) == ("scale", {"f:spec": {"f:replicas": {}}}, False)

    def test_a_second_write_of_a_manager_joins_its_entry(self) -> None:
        live = update(stored(make({"image": "a"})), make({"image": "b"}))
        after = update(live, make({"image": "b", "replicas": 2}), now=NOW + timedelta(minutes=1))
        assert fields_of(after, "hand") == {"f:spec": {"f:image": {}, "f:replicas": {}}}
        assert [entry["time"][-9:] for entry in after["metadata"]["managedFields"]] == ["08:00:00Z", "08:01:00Z"]

    def test_only_ten_updaters_are_told_apart(self) -> None:
        live = stored(make({"free": {}}))
        for number in range(14):
            free = {**live["spec"]["free"], f"k{number}": 1}
            live = update(live, make({"free": free}), f"m{number}", now=NOW + timedelta(minutes=number + 1))
        managed = live["metadata"]["managedFields"]
        assert len(managed) == 10
        assert managed[0]["manager"] == "ancient-changes"
        assert managed[0]["time"] == "2026-11-21T08:05:00Z"
        owned = {".": {}, "f:free": {".": {}, **{f"f:k{number}": {} for number in range(5)}}}
        assert managed[0]["fieldsV1"] == {"f:spec": owned}
        assert [entry["manager"] for entry in managed[1:]] == [f"m{number}" for number in range(5, 14)]

    def test_arguments_are_left_alone(self) -> None:
        live = stored(make({"image": "a", "tags": ["x"]}))
        new = make({"image": "b", "tags": ["x", "y"]})
        texts = json.dumps(live), json.dumps(new)
        update(live, new)
        apply(live, new, force=True)
        assert (json.dumps(live), json.dumps(new)) == texts


class TestManagedFieldsOfClients:
    def entry(self, **more: Any) -> dict[str, Any]:
        base = {
            "manager": "m",
            "operation": "Apply",
            "apiVersion": VERSION,
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {"f:image": {}}},
        }
        return {**base, **more}

    def test_they_are_taken_and_made_canonical(self) -> None:
        live = stored(make({"ports": [{"containerPort": 1}]}))
        fields = {"f:spec": {"f:ports": {'k:{"protocol":"TCP", "containerPort":1}': {}}}}
        entry = self.entry(fieldsV1=fields, time="2026-01-01T02:00:00.5+01:00", extra=1)
        after = update(live, make(live["spec"], managedFields=[entry]))
        wanted = self.entry(fieldsV1={"f:spec": {"f:ports": {'k:{"containerPort":1,"protocol":"TCP"}': {}}}}, time="2026-01-01T01:00:00Z")
        assert after["metadata"]["managedFields"] == [wanted]

    @pytest.mark.parametrize("sent", [[], [{}]])
    def test_emptied_ones_end_the_record(self, sent: Any) -> None:
        live = stored(make({"image": "a"}))
        cleared = update(live, make({"image": "b"}, managedFields=sent))
        assert cleared["metadata"]["managedFields"] is None
        assert update(cleared, make({"image": "c"}))["metadata"]["managedFields"] is None

    @pytest.mark.parametrize(
        "change",
        [
            {"operation": "Other"}, {"operation": None}, {"apiVersion": ""}, {"apiVersion": 1}, {"fieldsType": "FieldsV2"}, {"manager": 1},
            {"subresource": 1}, {"time": "yesterday"}, {"time": "2026-01-01T00:00:00"}, {"time": 5}, {"fieldsV1": "x"},
            {"fieldsV1": {"bad": {}}},
        ],
    )  # fmt: skip
    def test_broken_ones_are_ignored(self, change: Any) -> None:
        live = stored(make({"image": "a"}))
        after = update(live, make({"image": "a"}, managedFields=[self.entry(**change)]))
        assert after["metadata"]["managedFields"] == live["metadata"]["managedFields"]

    @pytest.mark.parametrize("sent", ["x", 1, {}, [1], [None]])
    def test_those_that_are_no_list_are_ignored(self, sent: Any) -> None:
        live = stored(make({"image": "a"}))
        after = update(live, make({"image": "a"}, managedFields=sent))
        assert after["metadata"]["managedFields"] == live["metadata"]["managedFields"]

    def test_a_subresource_does_not_write_them(self) -> None:
        live = stored(make({"image": "a"}))
        after = update(live, make({"image": "a"}, managedFields=[self.entry()]), subresource="status")
        assert after["metadata"]["managedFields"] == live["metadata"]["managedFields"]

    def test_entries_of_versions_that_are_gone_go_too(self) -> None:
        manager = FieldManager(SCHEMA, group_version=VERSION, versions=[VERSION, "example.dev/v2"])
        live = make(
            {"image": "a"}, managedFields=[self.entry(apiVersion=f"example.dev/{name}", manager=name) for name in ("v1", "v2", "v0")]
        )
        managed = manager.update(live, make({"image": "a"}, managedFields=live["metadata"]["managedFields"]), manager="m", now=NOW)
        assert [entry["manager"] for entry in managed or ()] == ["v1", "v2"]


class TestApply:
    def test_an_applier_keeps_one_entry_through_versions(self) -> None:
        live = apply(None, make({"image": "a"}))
        live["metadata"]["managedFields"][0]["apiVersion"] = "example.dev/v0"
        after = apply(live, make({"image": "a", "replicas": 1}))
        assert [(entry["apiVersion"], entry["manager"]) for entry in after["metadata"]["managedFields"]] == [(VERSION, "one")]

    def test_a_schema_that_became_atomic_makes_owners_of_parts_owners_of_the_whole(self) -> None:
        granular = make_object(
            **SCHEMA["properties"] | {"spec": make_object(**SPEC["properties"] | {"selector": make_object(a=STRING, b=STRING)})}
        )
        live = FieldManager(granular, group_version=VERSION).apply(
            None, make({"selector": {"a": "1"}}), manager="one", force=False, now=NOW
        )
        with pytest.raises(errors.ConflictError, match=r"\.spec\.selector"):
            apply(live, make({"selector": {"b": "2"}}), "two")
        after = apply(live, make({"selector": {"b": "2"}}), "two", force=True)
        assert after["spec"]["selector"] == {"b": "2"}
        assert fields_of(after, "one", "Apply") is None

    def test_what_was_there_before_the_first_apply_has_an_owner(self) -> None:
        live = make({"image": "a"}, status={"phase": "x"}, uid="u")
        after = apply(live, make({"image": "a", "replicas": 1}))
        assert fields_of(after, "before-first-apply") == {"f:spec": {".": {}, "f:image": {}}}
        with pytest.raises(errors.ConflictError, match=f'conflict with "before-first-apply" using {VERSION}: .spec.image'):
            apply(live, make({"image": "b"}))

    def test_several_conflicts_are_listed_by_manager(self) -> None:
        live = stored(make({"image": "a", "ports": [{"containerPort": 1, "name": "x"}]}, labels={"l": "1"}), "z")
        live = apply(live, make({"replicas": 1, "image": "a"}), "a")
        live = update(live, make(live["spec"], status={"free": {}}, labels={"l": "1"}), "s", subresource="status")
        with pytest.raises(errors.ConflictError) as caught:
            apply(live, make({"image": "b", "replicas": 2, "ports": [{"containerPort": 1, "name": "y"}]}, labels={"l": "2"}))
        assert caught.value.message == (
            'Apply failed with 5 conflicts: conflicts with "a":\n- .spec.image\n- .spec.replicas\n'
            f'conflicts with "z" using {VERSION}:\n- .metadata.labels.l\n- .spec.image\n'
            '- .spec.ports[containerPort=1,protocol="TCP"].name'
        )
        assert [cause["field"] for cause in caught.value.details["causes"]][-1] == '.spec.ports[containerPort=1,protocol="TCP"].name'
        status = make(status={"free": 1})
        with pytest.raises(errors.ConflictError, match=f'conflict with "s" with subresource "status" using {VERSION}: .status.free'):
            apply(live, status, subresource="status")

    def test_the_status_of_an_apply_counts_only_through_its_subresource(self) -> None:
        live = stored(make({"image": "a"}))
        applied = make({"image": "a", "replicas": 1}, status={"phase": "x"})
        assert "status" not in apply(live, applied)
        after = apply(live, applied, subresource="status")
        assert (after["spec"], after["status"]) == ({"image": "a"}, {"phase": "x"})
        assert fields_of(after, "one", "Apply") == {"f:status": {"f:phase": {}}}

    def test_an_apply_of_nothing_owns_nothing_and_gives_up_all(self) -> None:
        live = apply(apply(None, make({"image": "a"}), "other"), make({"replicas": 1, "free": {"x": {"y": 1}}}))
        after = apply(live, make())
        assert after["spec"] == {"image": "a"}
        assert fields_of(after, "one", "Apply") is None

    def test_a_null_is_applied_as_it_is(self) -> None:
        live = stored(make({"image": "a", "replicas": 2, "ports": [{"containerPort": 1}]}))
        after = apply(live, make({"replicas": None, "ports": None}), force=True)
        assert after["spec"] == {"image": "a", "replicas": None, "ports": [{"containerPort": 1}]}

    def test_empty_maps_are_leaves_and_empty_lists_are_nobodys(self) -> None:
        after = apply(None, make({"free": {"a": {}, "b": []}, "selector": {}, "args": [], "tags": []}, labels={}))
        free = {"f:a": {}, "f:b": {}}
        assert fields_of(after, "one", "Apply") == {
            "f:metadata": {"f:labels": {}},
            "f:spec": {"f:free": free, "f:selector": {}, "f:args": {}},
        }

    @pytest.mark.parametrize(
        ("live", "applied", "merged"),
        [
            ("abc", "abc", "abc"),
            ("abc", "c", "abc"),
            ("abc", "x", "abcx"),
            ("abc", "ca", "bca"),
            ("abc", "xb", "axbc"),
            ("abc", "bx", "abcx"),
            ("abc", "cba", "cba"),
            ("ab", "xyb", "axyb"),
            ("", "ba", "ba"),
            ("abcd", "dxa", "bcdxa"),
        ],
    )
    def test_merged_lists_follow_the_applied_order(self, live: str, applied: str, merged: str) -> None:
        after = apply(stored(make({"image": "i", "tags": list(live)})), make({"tags": list(applied)}))
        assert "".join(after["spec"]["tags"]) == merged

    def test_duplicates_that_are_stored_do_not_disturb(self) -> None:
        double = [{"containerPort": 1, "name": "a"}, {"containerPort": 1, "name": "b"}, {"containerPort": 2}]
        live = stored(make({"ports": double}))
        step = 'k:{"containerPort":1,"protocol":"TCP"}'
        assert fields_of(live, "maker")["f:spec"]["f:ports"][step] == {}
        after = apply(live, make({"image": "x"}))
        assert after["spec"]["ports"] == double
        after = apply(live, make({"ports": [{"containerPort": 1, "name": "c"}]}), force=True)
        assert after["spec"]["ports"] == [{"containerPort": 1, "name": "c"}, {"containerPort": 2}]

    @pytest.mark.parametrize(
        ("spec", "problem"),
        [
            ({"bogus": 1}, ".spec.bogus: field not declared in schema"),
            ({"image": 5}, ".spec.image: expected string, got &value.valueUnstructured{Value:5}"),
            ({"replicas": "5"}, ".spec.replicas: expected numeric (int or float), got string"),
            ({"on": "yes"}, ".spec.on: expected boolean, got &{yes}"),
            ({"limit": [1]}, ".spec.limit: expected any scalar, got &{[1]}"),
            ({"ports": {}}, ".spec.ports: expected list, got &{map[]}"),
            ({"selector": "x"}, ".spec.selector: expected map, got &{x}"),
            (7, ".spec: expected map, got &{7}"),
            ({"tags": ["a", "a"]}, '.spec.tags: duplicate entries for key [="a"]'),
            ({"tags": [None]}, ".spec.tags: element 0: associative list without keys has an element that's an explicit null"),
            ({"tags": [{}]}, ".spec.tags: element 0: associative list without keys has an element that's a map type"),
            ({"ports": [5]}, ".spec.ports: element 0: associative list with keys may not have non-map elements"),
            ({"ports": [None]}, ".spec.ports: element 0: associative list with keys may not have a null element"),
            ({"args": ["a", 1]}, ".spec.args[1]: expected string, got &value.valueUnstructured{Value:1}"),
            (
                {"image": 1, "replicas": ""},
                "errors:\n  .spec.image: expected string, got &value.valueUnstructured{Value:1}\n  .spec.replicas: expected numeric",
            ),
        ],
    )  # fmt: skip
    def test_what_does_not_fit_the_schema_is_refused(self, spec: Any, problem: str) -> None:
        with pytest.raises(errors.BadRequestError) as caught:
            apply(None, make(spec, namespace="n"))
        assert caught.value.message.startswith(f"failed to create typed patch object (n/x; {VERSION}, Kind=Thing): {problem}")

    def test_managed_fields_may_not_be_applied(self) -> None:
        with pytest.raises(errors.BadRequestError, match=r"metadata\.managedFields must be nil"):
            apply(None, make({"image": "a"}, managedFields=[]))


class TestClientSideApply:
    NOTE = "kubectl.kubernetes.io/last-applied-configuration"

    def noted(self, spec: dict[str, Any], last: Any, manager: str = "kubectl-client-side-apply") -> dict[str, Any]:
        return stored(make(spec, annotations={self.NOTE: last if isinstance(last, str) else json.dumps(last)}), manager)

    def test_kubectl_does_not_conflict_with_its_own_past(self) -> None:
        live = self.noted({"image": "a"}, make({"image": "a"}))
        after = apply(live, make({"image": "b"}), "kubectl")
        assert after["spec"]["image"] == "b"
        assert json.loads(after["metadata"]["annotations"][self.NOTE]) == make({"image": "b"})
        with pytest.raises(errors.ConflictError):
            apply(live, make({"image": "b"}), "another")

    def test_what_others_changed_since_still_conflicts(self) -> None:
        live = self.noted({"image": "a", "replicas": 1}, make({"image": "a", "replicas": 1}))
        live = update(live, make({"image": "a", "replicas": 5}, annotations=live["metadata"]["annotations"]))
        with pytest.raises(errors.ConflictError) as caught:
            apply(live, make({"image": "b", "replicas": 2}), "kubectl")
        assert caught.value.message == f'Apply failed with 1 conflict: conflict with "hand" using {VERSION}: .spec.replicas'

    @pytest.mark.parametrize(
        "last", ["{", "[]", '{"apiVersion":"other/v1","spec":{"image":"a"}}', '{"apiVersion":"example.dev/v1","spec":3}']
    )
    def test_an_annotation_that_says_nothing_excuses_nothing(self, last: str) -> None:
        with pytest.raises(errors.ConflictError):
            apply(self.noted({"image": "a"}, last), make({"image": "b"}), "kubectl")

    def test_the_annotation_is_written_as_kubectl_writes_it(self) -> None:
        live = self.noted({"image": "a"}, make({"image": "a"}))
        after = apply(live, make({"image": "<b>"}, annotations={self.NOTE: "old", "z": "1"}), "kubectl", force=True)
        assert after["metadata"]["annotations"][self.NOTE] == (
            '{"apiVersion":"example.dev/v1","kind":"Thing","metadata":{"annotations":{"z":"1"},"name":"x"},'
            '"spec":{"image":"\\u003cb\\u003e"}}\n'
        )

    def test_an_annotation_that_would_be_too_long_goes(self) -> None:
        live = self.noted({"image": "a"}, make({"image": "a"}))
        after = apply(live, make({"image": "b" * 300_000}), "kubectl")
        assert self.NOTE not in after["metadata"]["annotations"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "containerPort", "image", "ports", "tags"]), below)
    ),
    max_leaves=12,
)
SPECS = st.dictionaries(st.sampled_from([*SPEC["properties"], "other"]), JSON, max_size=5) | JSON


def has_no_null(value: Any) -> bool:
    """Null is an empty map or list where one was, so it takes nobody's place; such fields are dropped before they get here."""
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is not None and all(map(has_no_null, below))


class TestRubbish:
    @settings(max_examples=300, deadline=None)
    @given(SPECS, SPECS, SPECS, JSON)
    def test_any_json_is_merged_or_refused(self, first: Any, second: Any, third: Any, metadata: Any) -> None:
        """Objects are validated elsewhere; here nothing may break but by an answer to the client."""
        live = stored(make(first))
        live = update(live, make(second, status=third, labels=metadata, managedFields=metadata))
        for applied in (make(third), make(first, labels=metadata), make(second, third, finalizers=metadata)):
            for base in (None, live):
                try:
                    apply(base, applied, force=True)
                    apply(base, applied, subresource="status")
                except (errors.BadRequestError, errors.ConflictError):
                    continue

    @settings(max_examples=200, deadline=None)
    @given(JSON.filter(has_no_null), JSON.filter(has_no_null))
    def test_free_fields_are_owned_where_they_changed(self, before: Any, after: Any) -> None:
        live = stored(make({"free": {"x": before}}))
        owned = fields_of(update(live, make({"free": {"x": after}})), "hand") or {}
        assert leaves(owned.get("f:spec", {}).get("f:free", {})) == changed_leaves(before, after, "f:x")

    def test_a_value_nested_beyond_reason_is_refused(self) -> None:
        deep: Any = {}
        for _ in range(5000):
            deep = {"a": deep}
        with pytest.raises(errors.BadRequestError, match="nested too deeply"):
            MANAGER.update(None, make({"free": deep}), manager="m", now=NOW)
        with pytest.raises(errors.BadRequestError, match="nested too deeply"):
            apply(None, make({"free": deep}))


def leaves(fields: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for step, below in fields.items():
        if step != ".":
            found |= leaves(below, f"{prefix}/{step}") or {f"{prefix}/{step}"}
    return found


def changed_leaves(before: Any, after: Any, path: str) -> set[str]:
    """Independent of the code under test: flatten both, compare texts."""
    old, new = flat(before, f"/{path}"), flat(after, f"/{path}")
    emptied = {place for place, value in new.items() if value == "{}" and any(other.startswith(f"{place}/") for other in old)}
    return {place for place, value in new.items() if old.get(place) != value} - emptied  # a map that is left empty is still there


def flat(value: Any, path: str) -> dict[str, str]:
    if isinstance(value, dict) and value:
        return {place: text for name, child in value.items() for place, text in flat(child, f"{path}/f:{name}").items()}
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return {path: json.dumps(plain(value), sort_keys=True)}


def plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value
