"""JSONPath as printer columns use it: what each form finds; nothing is found where the object looks otherwise; nothing raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.apiserver.jsonpath import Path

OBJECT = {
    "metadata": {"name": "web", "annotations": {"example.dev/owner": "ann", "a.b": "dot"}},
    "spec": {"ports": [{"port": 80, "name": "http"}, {"port": 443, "name": "https"}], "nothing": None, "list": [1, 2, 3, 4]},
    "status": {
        "conditions": [{"type": "Ready", "status": "True", "n": 3}, {"type": "Synced", "status": "False", "n": 1.5, "ok": True}],
    },
}  # fmt: skip

FOUND = [
    (".", [OBJECT]), (".metadata.name", ["web"]), ("metadata.name", ["web"]), ("{.metadata.name}", ["web"]), ("$.metadata.name", ["web"]),
    (r".metadata.annotations.example\.dev/owner", ["ann"]), (".metadata.annotations['example.dev/owner']", ["ann"]),
    ('.metadata.annotations["a.b"]', ["dot"]), (".spec.ports[0].port", [80]), (".spec.ports[-1].port", [443]), (".spec.ports[5].port", []),
    (".spec.ports[*].port", [80, 443]), (".spec.ports.*.port", [80, 443]), (".spec.list[1:3]", [2, 3]), (".spec.list[:2]", [1, 2]),
    (".spec.list[::2]", [1, 3]), (".spec.list[0,3]", [1, 4]), (".metadata['name','missing']", ["web"]), ("..port", [80, 443]),
    (".spec.nothing", [None]), (".spec.nothing.more", []), (".metadata.name.more", []), (".spec.missing", []), (".spec.ports.port", []),
    ('.status.conditions[?(@.type=="Ready")].status', ["True"]), (".status.conditions[?(@.type=='Synced')].status", ["False"]),
    ('.status.conditions[?(@.type!="Ready")].status', ["False"]), (".status.conditions[?(@.n>2)].type", ["Ready"]),
    (".status.conditions[?(@.n <= 1.5)].type", ["Synced"]), (".status.conditions[?(@.ok)].type", ["Synced"]),
    (".status.conditions[?(@.ok==true)].type", ["Synced"]), (".status.conditions[?(@.type==3)].type", []),
    (".metadata[?(@.type==3)].type", []), ('.status.conditions[?(@.type == "]")].status', []),
]  # fmt: skip


@pytest.mark.parametrize(("path", "values"), FOUND)
def test_find(path, values):
    assert Path(path).find(OBJECT) == values


@pytest.mark.parametrize(
    "path", [".a[", ".a[x]", ".a..", "..", ".a[?(x)]", ".a[?(@.b==c)]", ".a b", "a]b", ".a[::0]", ".a..[", "." + "a" * 5000]
)
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ValueError, match=r"."):
        Path(path)


@given(st.text(alphabet=".[]'\"*?@()=<>0123ab:,\\ $", max_size=20))
def test_any_text_is_refused_or_finds_something_in_anything(text):
    try:
        path = Path(text)
    except ValueError:
        return
    for value in (OBJECT, [], None, 3, "x", [[{"a": [1]}]]):
        path.find(value)


def test_what_multiplies_is_cut_off():
    value = []
    for _ in range(12):
        value = [value, value]
    assert len(Path(".." + "*.." * 5 + "*").find(value)) <= 10_000
