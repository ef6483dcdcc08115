"""kubectl delete in all its forms, with the garbage collector at work, and kubectl wait."""

from __future__ import annotations

import pytest

from lattice.testing.kubectl import Kubectl
from lattice.testing.polling import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.kubectl, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

TIMED_OUT = "error: timed out waiting for the condition on specimens/web\n"
"""kubectl may say before this that its own watch ended."""


@pytest.fixture
async def web(k: Kubectl) -> Kubectl:
    await k.ok("create -f s1.yaml")
    return k


async def make_owned(k: Kubectl, owner: str, name: str, *, blocking: bool = False) -> None:
    found = await k.json(f"get {owner}")
    reference = {
        "apiVersion": found["apiVersion"],
        "kind": found["kind"],
        "name": found["metadata"]["name"],
        "uid": found["metadata"]["uid"],
    }
    metadata = {"name": name, "ownerReferences": [{**reference, "blockOwnerDeletion": blocking}]}
    await k.ok("create -f -", stdin={"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


def said(printed: str, what: str, how: str = "deleted") -> bool:
    """Newer versions add where it was."""
    kind, _, name = what.partition("/")
    return any(line.startswith(f'{kind} "{name}" {how}') for line in printed.splitlines())


async def test_delete(web: Kubectl) -> None:
    k = web
    assert said(await k.ok("delete sp web"), "specimen.example.dev/web")
    assert await k.fails("delete sp web") == 'Error from server (NotFound): specimens.example.dev "web" not found\n'
    assert await k.ok("delete sp web --ignore-not-found") == ""
    assert await k.fails("delete sp") == "error: resource(s) were provided, but no name was specified\n"
    await k.ok("create -f s1.yaml")
    assert await k.ok("delete sp web -o name") == "specimen.example.dev/web\n"


async def test_delete_by_file_label_and_all(web: Kubectl) -> None:
    k = web
    assert said(await k.ok("delete -f s1.yaml"), "specimen.example.dev/web")
    for name in "abcd":
        await k.ok(f"create cm {name}")
    await k.ok("label cm a b group=g")
    by_label = await k.ok("delete cm -l group=g")
    assert [said(by_label, f"configmap/{name}") for name in "abc"] == [True, True, False]
    await k.ok("delete cm --field-selector=metadata.name=c")
    assert [each["metadata"]["name"] for each in (await k.json("get cm"))["items"] if each["metadata"]["name"] in "abcd"] == ["d"]
    assert said(await k.ok("delete cm,sp --all"), "configmap/d")
    assert (await k.json("get cm,sp"))["items"] == []


@pytest.mark.parametrize("owner", ["sp web", "cm owner"])
@pytest.mark.parametrize("cascade", ["background", "foreground", "orphan"])
async def test_cascades(web: Kubectl, owner: str, cascade: str) -> None:
    k = web
    await k.ok("create cm owner")
    await make_owned(k, owner, "owned", blocking=True)
    await k.ok(f"delete {owner} --cascade={cascade} --timeout=30s")
    if cascade == "orphan":
        assert "ownerReferences" not in (await k.json("get cm owned"))["metadata"]
    elif cascade == "foreground":
        await k.fails("get cm owned")  # went before its owner
    else:
        assert await k.ok("wait --for=delete cm/owned --timeout=30s") in {"", "configmap/owned condition met\n"}


async def test_foreground_waits_for_what_blocks(web: Kubectl) -> None:
    k = web
    await make_owned(k, "sp web", "owned", blocking=True)
    await k.ok("""patch cm owned --type=merge -p '{"metadata":{"finalizers":["test.dev/hold"]}}'""")
    assert TIMED_OUT in await k.fails("delete sp web --cascade=foreground --timeout=1s")
    held = (await k.json("get sp web"))["metadata"]
    assert (held["finalizers"], "deletionTimestamp" in held) == (["foregroundDeletion"], True)
    await eventually(lambda: _deleted(k, "cm owned"), 20, "the dependent to be deleted too")
    await k.ok("""patch cm owned --type=merge -p '{"metadata":{"finalizers":null}}'""")
    await k.ok("wait --for=delete sp/web --timeout=30s")


async def _deleted(k: Kubectl, what: str) -> bool:
    return "deletionTimestamp" in (await k.json(f"get {what}"))["metadata"]


async def test_delete_waits_for_finalizers_or_does_not(web: Kubectl) -> None:
    k = web
    await k.ok("""patch sp web --type=merge -p '{"metadata":{"finalizers":["test.dev/hold"]}}'""")
    assert said(await k.ok("delete sp web --wait=false"), "specimen.example.dev/web")
    assert TIMED_OUT in await k.fails("delete sp web --timeout=1s")
    deleting, waiting = k.start("delete sp web"), k.start("wait --for=delete sp/web --timeout=30s")
    try:
        await eventually(lambda: "deleted" in deleting.log.read_text(), 20, "the deletion to be asked for")
        assert deleting.running
        await k.ok("""patch sp web --type=merge -p '{"metadata":{"finalizers":null}}'""")
        for process in (deleting, waiting):
            await eventually(lambda process=process: not process.running, 20, "the command to end")
    finally:
        assert await deleting.stop() == 0, deleting.tail()
        assert await waiting.stop() == 0, waiting.tail()
    assert waiting.tail() in {"specimen.example.dev/web condition met", ""}  # nothing when it was gone before the first look


async def test_grace(k: Kubectl) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}}
    for options in ("--grace-period=5", "--now", "--grace-period=0 --force"):
        await k.ok("create -f -", stdin=pod)
        done = await k(f"delete pod p {options} --timeout=20s")
        assert (done.returncode, said(done.stdout, "pod/p", "force deleted" if "force" in options else "deleted")) == (0, True), done
        assert ("Immediate deletion does not wait" in done.stderr) == ("force" in options)
    assert 'pods "p" not found' in await k.fails("get pod p")


async def test_delete_of_a_namespace_takes_all_that_is_in_it(k: Kubectl) -> None:
    inner = f"{k.namespace}-inner"
    assert await k.ok(f"create ns {inner}") == f"namespace/{inner} created\n"
    await k.ok(f"create -n {inner} -f s1.yaml")
    await k.ok(f"create cm c -n {inner}")
    assert said(await k.ok(f"delete ns {inner} --timeout=30s"), f"namespace/{inner}")
    assert "NotFound" in await k.fails(f"get ns {inner}")
    assert (await k(f"get sp,cm -n {inner}")).stderr == f"No resources found in {inner} namespace.\n"
    assert await k.fails(f"create cm c -n {inner}") == f'error: failed to create configmap: namespaces "{inner}" not found\n'


async def test_wait_for_a_condition_and_a_value(web: Kubectl) -> None:
    k = web
    assert (
        await k.fails("wait --for=condition=Ready sp/web --timeout=1s") == "error: timed out waiting for the condition on specimens/web\n"
    )
    waiting = [
        k.start("wait --for=condition=Ready sp/web --timeout=30s"),
        k.start("wait --for=condition=Ready=False sp/web --timeout=30s"),
        k.start("wait --for=jsonpath='{.status.phase}'=Up sp/web --timeout=30s"),
        k.start("wait --for=jsonpath='{.status.phase}' sp --all --timeout=30s"),
    ]
    try:
        for status, phase in (("False", "Up"), ("True", "Up")):
            conditions = f'[{{"type":"Ready","status":"{status}"}}]'
            patch = f'{{"status":{{"phase":"{phase}","conditions":{conditions}}}}}'
            await k.ok(f"patch sp web --subresource=status --type=merge -p '{patch}'")
            if status == "False":
                await eventually(lambda: not waiting[1].running, 20, "the wait for False to end")
        for process in waiting:
            await eventually(lambda process=process: not process.running, 20, "the command to end")
    finally:
        codes = [await process.stop() for process in waiting]
    assert codes == [0, 0, 0, 0], [process.tail() for process in waiting]
    assert {process.tail() for process in waiting} == {"specimen.example.dev/web condition met"}


async def test_wait_for_creation_and_end(k: Kubectl) -> None:
    assert await k.ok("wait --for=delete sp/web --timeout=3s") == ""
    assert "timed out waiting for the condition" in await k.fails("wait --for=create sp/web --timeout=1s")
    waiting = k.start("wait --for=create sp/web --timeout=30s")
    try:
        await k.ok("create -f s1.yaml")
        await eventually(lambda: not waiting.running, 20, "the object to be seen")
    finally:
        assert await waiting.stop() == 0, waiting.tail()
    assert waiting.tail() == "specimen.example.dev/web condition met"
    assert await k.fails("wait --for=condition=Ready sp/nope --timeout=3s") == (
        'Error from server (NotFound): specimens.example.dev "nope" not found\n'
    )
