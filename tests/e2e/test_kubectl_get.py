"""kubectl get: every form of output, what selects and orders, pages, and watches."""

from __future__ import annotations

import pytest

from lattice.testing.kubectl import Kubectl
from lattice.testing.polling import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.kubectl, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]


def specimen(name: str, image: str = "nginx:1", replicas: int = 1, **labels: str) -> dict:
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "example.dev/v1", "kind": "Specimen", "metadata": metadata, "spec": {"image": image, "replicas": replicas}}


@pytest.fixture
async def fleet(k: Kubectl) -> Kubectl:
    await k.ok(
        "create -f -", stdin=[specimen("c", "img:3", 3, app="a"), specimen("a", "img:1", 2, app="b"), specimen("b", "img:2", 1, app="a")]
    )
    await k.ok("create cm settings --from-literal=a=b")
    return k


async def test_tables(fleet: Kubectl) -> None:
    k = fleet
    assert await k.ok("get sp --no-headers -o custom-columns=N:.metadata.name") == "a\nb\nc\n"
    header, *lines = (await k.ok("get sp")).splitlines()
    assert header.split() == ["NAME", "IMAGE", "REPLICAS", "AGE"]
    assert [line.split()[:3] for line in lines] == [["a", "img:1", "2"], ["b", "img:2", "1"], ["c", "img:3", "3"]]
    assert all(line.split()[3].endswith("s") for line in lines)
    assert list((await k.table("get sp -o wide"))[0]) == ["NAME", "IMAGE", "REPLICAS", "NODE", "AGE"]
    assert list((await k.table("get specimens.example.dev a"))[0].values())[:3] == ["a", "img:1", "2"]
    assert [row["LABELS"] for row in await k.table("get sp --show-labels")] == ["app=b", "app=a", "app=a"]
    assert [row["APP"] for row in await k.table("get specimen -L app")] == ["b", "a", "a"]
    mine = [row for row in await k.table("get sp -A") if row["NAMESPACE"] == k.namespace]
    assert [row["NAME"] for row in mine] == ["a", "b", "c"]
    assert [row["NAME"] for row in await k.table("get sp --sort-by=.spec.replicas")] == ["b", "a", "c"]
    assert [row["NAME"] for row in await k.table("get sp --show-kind")] == [f"specimen.example.dev/{name}" for name in "abc"]


async def test_several_kinds_at_once(fleet: Kubectl) -> None:
    k = fleet
    names = (await k.ok("get cm,sp -o name")).split()
    assert [name for name in names if "kube-root" not in name] == [
        "configmap/settings",
        "specimen.example.dev/a",
        "specimen.example.dev/b",
        "specimen.example.dev/c",
    ]
    assert await k.ok("get sp/c cm/settings -o name") == "specimen.example.dev/c\nconfigmap/settings\n"
    everything = await k.ok("get all -o name")  # the definition has the category
    assert "specimen.example.dev/a" in everything
    assert "configmap" not in everything
    listed = await k.json("get sp,cm")
    assert (listed["kind"], len(listed["items"]) >= 4) == ("List", True)


async def test_other_forms(fleet: Kubectl) -> None:
    k = fleet
    found = await k.json("get sp a")
    assert (found["apiVersion"], found["kind"], found["spec"]) == ("example.dev/v1", "Specimen", {"image": "img:1", "replicas": 2})
    assert "managedFields" not in found["metadata"]
    assert "managedFields" in (await k.json("get sp a --show-managed-fields"))["metadata"]
    assert "\n  image: img:1\n  replicas: 2\n" in await k.ok("get sp a -o yaml")
    assert await k.ok("get sp a -o jsonpath={.spec.image}") == "img:1"
    assert await k.ok("""get sp -o jsonpath='{range .items[*]}{.metadata.name}={.spec.replicas}{"\\n"}{end}'""") == "a=2\nb=1\nc=3\n"
    assert await k.ok("get sp -o jsonpath='{.items[?(@.spec.replicas>1)].metadata.name}'") == "a c"
    columns = await k.ok("get sp -o custom-columns=NAME:.metadata.name,IMAGE:.spec.image,NODE:.status.node")
    assert [line.split() for line in columns.splitlines()] == [
        ["NAME", "IMAGE", "NODE"],
        ["a", "img:1", "<none>"],
        ["b", "img:2", "<none>"],
        ["c", "img:3", "<none>"],
    ]
    k.write("columns", "NAME REPLICAS\nmetadata.name spec.replicas\n")
    assert (await k.ok("get sp a -o custom-columns-file=columns")).split() == ["NAME", "REPLICAS", "a", "2"]
    template = '{{range .items}}{{.metadata.name}} {{if eq .spec.image "img:1"}}first{{else}}other{{end}};{{end}}'
    assert await k.ok(f"get sp -o go-template='{template}'") == "a first;b other;c other;"
    assert '"kind":"SpecimenList"' in await k.ok(f"get --raw /apis/example.dev/v1/namespaces/{k.namespace}/specimens")
    assert await k.fails("get sp -o nonsense") != ""


async def test_selectors(fleet: Kubectl) -> None:
    k = fleet
    for selector, names in (("app=a", "bc"), ("app!=a", "a"), ("app in (a,b)", "abc"), ("app", "abc"), ("!app", ""), ("app=b,app!=a", "a")):
        assert await k.ok(f"get sp -l '{selector}' -o name") == "".join(f"specimen.example.dev/{name}\n" for name in names)
    assert await k.ok("get sp --field-selector=metadata.name=b -o name") == "specimen.example.dev/b\n"
    assert await k.ok("get sp --field-selector=spec.image=img:3 -o name") == "specimen.example.dev/c\n"
    wrong = await k.fails("get sp --field-selector=spec.replicas=3")
    assert "field label not supported: spec.replicas" in wrong


async def test_what_is_not_there(fleet: Kubectl) -> None:
    k = fleet
    assert await k.fails("get sp nope") == 'Error from server (NotFound): specimens.example.dev "nope" not found\n'
    assert await k.ok("get sp nope --ignore-not-found") == ""
    assert await k.fails("get gadgets") == 'error: the server doesn\'t have a resource type "gadgets"\n'
    empty = await k("get sp -n nonesuch")
    assert (empty.returncode, empty.stdout, empty.stderr) == (0, "", "No resources found in nonesuch namespace.\n")
    partly = await k("get sp a nope")
    assert (partly.returncode, partly.stderr) == (1, 'Error from server (NotFound): specimens.example.dev "nope" not found\n')
    assert partly.stdout.splitlines()[1].split()[0] == "a"


async def test_pages(k: Kubectl) -> None:
    await k.ok("create -f -", stdin=[specimen(f"p{number}") for number in range(7)])
    names = "".join(f"specimen.example.dev/p{number}\n" for number in range(7))
    log = await k("get sp --chunk-size=3 -o name -v=6")
    assert log.stdout == names
    assert log.stderr.count("limit=3") == 3
    assert await k.ok("get sp --chunk-size=1 -o name") == names
    assert await k.ok("get sp --chunk-size=0 -o name") == names


async def test_watching_one_object(k: Kubectl) -> None:
    await k.ok("create -f s1.yaml")
    watching = k.start("get sp web -w -o custom-columns=I:.spec.image,R:.spec.replicas --no-headers")
    try:
        await eventually(lambda: watching.log.read_text(), 20, "the object")
        await k.ok("scale sp web --replicas=4")
        await k.ok("annotate sp web seen=yes")
        await k.ok("delete sp web")

        def lines() -> list[list[str]]:
            found = [line.split() for line in watching.log.read_text().splitlines()]
            assert len(found) >= 4, found
            return found

        assert await eventually(lines, 20, "three changes") == [["nginx:1", "2"], ["nginx:1", "4"], ["nginx:1", "4"], ["nginx:1", "4"]]
    finally:
        await watching.stop()


async def test_watching_tells_what_happened(k: Kubectl) -> None:
    await k.ok("create -f -", stdin=[specimen("a", app="x"), specimen("b", app="y")])
    watching = k.start("get sp -w --output-watch-events -l app=x")
    try:
        await eventually(lambda: "ADDED" in watching.log.read_text(), 20, "the list")
        await k.ok("label sp b app=x --overwrite")
        await k.ok("scale sp a --replicas=3")
        await k.ok("label sp a app=z --overwrite")  # does not match any more
        await k.ok("delete sp b")
        wanted = [("EVENT", "NAME"), ("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "a"), ("DELETED", "b")]

        def told() -> bool:
            found = [tuple(line.split()[:2]) for line in watching.log.read_text().splitlines()]
            assert found == wanted
            return True

        await eventually(told, 20, "all events")
    finally:
        await watching.stop()


async def test_watching_only_changes(k: Kubectl) -> None:
    await k.ok("create cm old")
    watching = k.start("get cm --watch-only -o name")
    try:

        async def heard() -> bool:
            await k.ok("create cm new")
            await k.ok("delete cm new")
            return "configmap/new" in watching.log.read_text()

        await eventually(heard, 30, "the watch to stand")
        assert "configmap/old" not in watching.log.read_text()
    finally:
        await watching.stop()
