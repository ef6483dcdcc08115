"""kubectl apply in all its forms, create, diff and dry runs: against a kind of the user's own, and against built-in ones."""

from __future__ import annotations

import re

import pytest

from lattice.testing.kubectl import Kubectl

pytestmark = [pytest.mark.e2e, pytest.mark.kubectl, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]


def configmap(name: str, labels: dict[str, str] | None = None, **data: str) -> dict:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **({"labels": labels} if labels else {})}, "data": data}


def managers(obj: dict) -> list[tuple[str, str]]:
    return [(entry["manager"], entry["operation"]) for entry in obj["metadata"]["managedFields"]]


async def test_apply_creates_and_changes_a_custom_resource(k: Kubectl) -> None:
    assert await k.ok("apply -f s1.yaml") == "specimen.example.dev/web created\n"
    before = await k.json("get sp web")
    assert before["spec"]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    # As recorded: the default in the list's entry makes kubectl send a patch, which changes nothing.
    assert await k.ok("apply -f s1.yaml") == "specimen.example.dev/web configured\n"
    assert await k.json("get sp web") == before
    assert await k.ok("apply -f s2.yaml") == "specimen.example.dev/web configured\n"
    after = await k.json("get sp web")
    assert (after["spec"]["image"], after["spec"]["env"]) == ("nginx:2", [{"name": "A", "value": "1"}])  # B stands in s2.yaml no more
    assert after["metadata"]["generation"] == 2
    assert await k.ok("apply view-last-applied sp/web -o json") != ""


async def test_apply_creates_leaves_alone_and_changes_a_built_in_kind(k: Kubectl) -> None:
    k.write("c.json", configmap("c", a="1", b="2"))
    assert await k.ok("apply -f c.json") == "configmap/c created\n"
    assert await k.ok("apply -f c.json") == "configmap/c unchanged\n"
    await k.ok("""patch cm c --type=merge -p '{"data":{"mine":"stays"}}'""")
    assert await k.ok("apply -f -", stdin=configmap("c", a="1", c="3")) == "configmap/c configured\n"
    assert (await k.json("get cm c"))["data"] == {"a": "1", "c": "3", "mine": "stays"}


async def test_apply_merges_the_lists_of_built_in_kinds_by_their_keys(k: Kubectl) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "s"}, "secrets": [{"name": "a"}, {"name": "b"}]}
    await k.ok("apply -f -", stdin=account)
    await k.ok("""patch sa s -p '{"secrets":[{"name":"other"}]}'""")
    account["secrets"] = [{"name": "a"}, {"name": "c"}]
    await k.ok("apply -f -", stdin=account)
    assert {secret["name"] for secret in (await k.json("get sa s"))["secrets"]} == {"a", "c", "other"}


async def test_apply_of_what_was_made_otherwise_warns_once(k: Kubectl) -> None:
    await k.ok("create -f s1.yaml")
    first = await k("apply -f s2.yaml")
    assert first.stdout == "specimen.example.dev/web configured\n"
    assert first.stderr.startswith(
        "Warning: resource specimens/web is missing the kubectl.kubernetes.io/last-applied-configuration annotation"
    )
    assert (await k("apply -f s2.yaml")).stderr == ""


async def test_apply_of_several_objects_of_several_kinds(k: Kubectl) -> None:
    k.write("all/a.json", [configmap("a", x="1"), configmap("b", x="1")])
    k.write("all/deep/web.yaml", (k.directory / "s1.yaml").read_text())
    assert (await k.ok("apply -f all")).splitlines() == ["configmap/a created", "configmap/b created"]
    printed = await k.ok("apply -R -f all")
    assert printed.splitlines() == ["configmap/a unchanged", "configmap/b unchanged", "specimen.example.dev/web created"]
    assert (await k.ok("delete -R -f all")).splitlines()[2].startswith('specimen.example.dev "web" deleted')


async def test_apply_refuses_what_the_schema_does_not_know_or_forbids(k: Kubectl) -> None:
    s1 = (k.directory / "s1.yaml").read_text()
    unknown = s1.replace("replicas: 2", "replicas: 2\n  bogus: 1")
    assert 'strict decoding error: unknown field "spec.bogus"' in await k.fails("apply -f -", stdin=unknown)
    loose = await k("apply --validate=warn -f -", stdin=unknown)
    assert (loose.stdout, loose.stderr) == ("specimen.example.dev/web created\n", 'Warning: unknown field "spec.bogus"\n')
    assert await k.ok("apply --validate=false -f -", stdin=unknown) == "specimen.example.dev/web configured\n"
    bad = await k.fails("create -f -", stdin=s1.replace("name: web", "name: bad").replace("replicas: 2", "replicas: -2"))
    assert bad == (
        'The Specimen "bad" is invalid: \n'
        "* spec.replicas: Invalid value: -2: spec.replicas in body should be greater than or equal to 0\n"
        "* .spec.replicas: Invalid value: -2: should be a non-negative integer\n"
    )
    wrong = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "dada": {}}
    assert 'strict decoding error: unknown field "dada"' in await k.fails("apply -f -", stdin=wrong)
    nobodys = {"apiVersion": "nope.dev/v1", "kind": "X", "metadata": {"name": "x"}}
    assert 'no matches for kind "X" in version "nope.dev/v1"\nensure CRDs are installed first' in await k.fails("apply -f -", stdin=nobodys)
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}}
    assert 'no matches for kind "Deployment" in version "apps/v1"' in await k.fails("create -f -", stdin=deployment)


async def test_what_get_prints_of_several_can_be_applied(k: Kubectl) -> None:
    await k.ok("apply -f s1.yaml")
    await k.ok("create cm c --from-literal=a=b --save-config")
    k.write("list.yaml", await k.ok("get sp/web cm/c -o yaml"))
    assert (await k.ok("apply -f list.yaml")).splitlines() == ["specimen.example.dev/web configured", "configmap/c configured"]
    k.write("list.yaml", await k.ok("get sp/web cm/c -o yaml"))  # with the versions that they have now
    assert (await k.ok("replace -f list.yaml")).splitlines() == ["specimen.example.dev/web replaced", "configmap/c replaced"]
    await k.ok("delete -f list.yaml")
    items = [configmap("c", a="b"), configmap("d") | {"dada": {}}]
    refused = await k("create -f -", stdin={"apiVersion": "v1", "kind": "List", "items": items})
    assert (refused.returncode, refused.stdout) == (1, "configmap/c created\n")
    assert 'strict decoding error: unknown field "dada"' in refused.stderr


async def test_server_side_apply_creates_conflicts_and_forces(k: Kubectl) -> None:
    assert await k.ok("apply --server-side -f s1.yaml") == "specimen.example.dev/web serverside-applied\n"
    before = await k.json("get sp web")
    assert await k.ok("apply --server-side -f s1.yaml") == "specimen.example.dev/web serverside-applied\n"
    assert (await k.json("get sp web"))["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    refused = await k.fails("apply --server-side --field-manager=other -f s2.yaml")
    assert refused.startswith(
        'error: Apply failed with 1 conflict: conflict with "kubectl": .spec.image\n'
        "Please review the fields above--they currently have other managers. Here\n"
    )
    assert (await k.json("get sp web"))["spec"]["image"] == "nginx:1"
    forced = await k.ok("apply --server-side --field-manager=other --force-conflicts -f s2.yaml")
    assert forced == "specimen.example.dev/web serverside-applied\n"
    after = await k.json("get sp web --show-managed-fields")
    assert (after["spec"]["image"], len(after["spec"]["env"])) == ("nginx:2", 2)  # B is still kubectl's
    assert managers(after) == [("kubectl", "Apply"), ("other", "Apply")]


async def test_server_side_apply_removes_what_its_manager_names_no_more(k: Kubectl) -> None:
    await k.ok("apply --server-side -f -", stdin=configmap("c", a="1", b="2"))
    await k.ok("apply --server-side --field-manager=other -f -", stdin=configmap("c", b="2", c="3"))
    await k.ok("apply --server-side -f -", stdin=configmap("c"))
    assert (await k.json("get cm c"))["data"] == {"b": "2", "c": "3"}  # b was shared


@pytest.mark.parametrize("kind", ["custom", "built-in"])
async def test_server_side_apply_takes_over_from_client_side_apply(k: Kubectl, kind: str) -> None:
    custom = kind == "custom"
    first = (k.directory / "s1.yaml").read_text() if custom else configmap("web", a="1", b="2")
    then = (k.directory / "s2.yaml").read_text() if custom else configmap("web", a="2")
    resource = "sp" if custom else "cm"
    await k.ok("apply -f -", stdin=first)
    await k.ok("apply --server-side -f -", stdin=then)  # no conflict with itself
    after = await k.json(f"get {resource} web --show-managed-fields")
    assert sorted(managers(after)) == [("kubectl", "Apply"), ("kubectl-last-applied", "Apply")]
    if custom:
        assert after["spec"]["env"] == [{"name": "A", "value": "1"}]
    else:
        assert after["data"] == {"a": "2"}
    assert (await k("apply --server-side -f -", stdin=then)).stderr == ""


async def test_kustomizations(k: Kubectl) -> None:
    k.write("base/web.yaml", (k.directory / "s1.yaml").read_text())
    k.write("base/kustomization.yaml", "resources: [web.yaml]\n")
    k.write(
        "mine/kustomization.yaml",
        "resources: [../base]\nnamePrefix: my-\nlabels: [{pairs: {team: blue}}]\n"
        "patches: [{target: {kind: Specimen}, patch: '- {op: replace, path: /spec/replicas, value: 7}'}]\n"
        "configMapGenerator: [{name: settings, literals: [a=b], options: {disableNameSuffixHash: true}}]\n",
    )
    assert (await k.ok("apply -k mine")).splitlines() == ["configmap/my-settings created", "specimen.example.dev/my-web created"]
    made = await k.json("get sp my-web")
    assert (made["spec"]["replicas"], made["metadata"]["labels"]) == (7, {"app": "web", "team": "blue"})
    assert await k.ok("get -k mine -o name") == "configmap/my-settings\nspecimen.example.dev/my-web\n"
    assert (await k("diff -k mine")).returncode == 0
    assert len((await k.ok("delete -k mine")).splitlines()) == 2


async def test_prune_with_a_label(k: Kubectl) -> None:
    s1 = (k.directory / "s1.yaml").read_text()
    web, kept = s1.replace("app: web", "app: pruned"), configmap("kept", {"app": "pruned"}, a="1")
    k.write("set/web.yaml", web)
    k.write("set/kept.json", kept)
    k.write("set/gone.json", configmap("gone", {"app": "pruned"}, a="1"))
    prune = "apply --prune -l app=pruned --prune-allowlist=core/v1/ConfigMap --prune-allowlist=example.dev/v1/Specimen -f set"
    await k.ok("apply -f set")
    await k.ok("create cm bystander")
    (k.directory / "set/gone.json").unlink()
    assert "configmap/gone pruned" in (await k.ok(prune)).splitlines()
    (k.directory / "set/web.yaml").unlink()
    assert (await k.ok(prune)).splitlines() == ["configmap/kept unchanged", "specimen.example.dev/web pruned"]
    assert {each["metadata"]["name"] for each in (await k.json("get cm"))["items"]} >= {"kept", "bystander"}


async def test_prune_with_an_apply_set(k: Kubectl) -> None:
    env = {"KUBECTL_APPLYSET": "true"}
    k.write("set/web.yaml", (k.directory / "s1.yaml").read_text())
    k.write("set/a.json", configmap("a", x="1"))
    k.write("set/b.json", configmap("b", x="1"))
    command = "apply --server-side --prune --applyset=configmaps/my-set -f set"
    done = await k(command, env=env)
    assert done.returncode == 0, done.stderr
    parent = await k.json("get cm my-set")
    assert re.fullmatch(r"applyset-.*-v1", parent["metadata"]["labels"]["applyset.kubernetes.io/id"])
    assert parent["metadata"]["annotations"]["applyset.kubernetes.io/contains-group-kinds"] == "ConfigMap,Specimen.example.dev"
    (k.directory / "set/b.json").unlink()
    (k.directory / "set/web.yaml").unlink()
    pruned = set((await k.ok(command, env=env)).splitlines())
    assert {"configmap/b pruned", "specimen.example.dev/web pruned"} <= pruned
    assert {each["metadata"]["name"] for each in (await k.json("get cm,sp"))["items"]} >= {"a", "my-set"}
    await k.fails("get sp web")


async def test_create(k: Kubectl) -> None:
    assert await k.ok("create -f s1.yaml") == "specimen.example.dev/web created\n"
    assert await k.fails("create -f s1.yaml") == (
        'Error from server (AlreadyExists): error when creating "s1.yaml": specimens.example.dev "web" already exists\n'
    )
    generated = (k.directory / "s1.yaml").read_text().replace("name: web", "generateName: web-", 1)
    assert re.fullmatch(r"specimen.example.dev/web-[a-z0-9]{5} created\n", await k.ok("create -f -", stdin=generated))
    assert "cannot use generate name with apply" in await k.fails("apply -f -", stdin=generated)
    elsewhere = configmap("c") | {"metadata": {"name": "c", "namespace": "elsewhere"}}
    assert "does not match the namespace" in await k.fails("create -f -", stdin=elsewhere)
    away = await k.fails("create cm c -n nonesuch")
    assert away == 'error: failed to create configmap: namespaces "nonesuch" not found\n'


async def test_dry_runs_store_nothing(k: Kubectl) -> None:
    assert await k.ok("apply --dry-run=server -f s1.yaml") == "specimen.example.dev/web created (server dry run)\n"
    assert await k.ok("create --dry-run=client -f s1.yaml") == "specimen.example.dev/web created (dry run)\n"
    shown = await k.json("create --dry-run=server -f s1.yaml")
    assert shown["metadata"]["uid"]
    assert "resourceVersion" not in shown["metadata"]
    assert shown["spec"]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]  # as it would be stored
    bad = (k.directory / "s1.yaml").read_text().replace("replicas: 2", "replicas: -2")
    assert "should be greater than or equal to 0" in await k.fails("apply --dry-run=server -f -", stdin=bad)
    assert 'specimens.example.dev "web" not found' in await k.fails("get sp web")
    await k.ok("apply -f s1.yaml")
    before = await k.json("get sp web")
    assert await k.ok("apply --dry-run=server -f s2.yaml") == "specimen.example.dev/web configured (server dry run)\n"
    assert await k.ok("apply --dry-run=client -f s2.yaml") == "specimen.example.dev/web configured (dry run)\n"
    assert await k.ok("apply --server-side --dry-run=server --force-conflicts -f s2.yaml") == (
        "specimen.example.dev/web serverside-applied (server dry run)\n"
    )
    assert await k.ok("scale sp web --replicas=9 --dry-run=server") == "specimen.example.dev/web scaled (server dry run)\n"
    await k.ok("""patch sp web --type=merge -p '{"spec":{"replicas":9}}' --dry-run=server""")
    assert await k.ok("annotate sp web a=b --dry-run=server") == "specimen.example.dev/web annotated (server dry run)\n"
    assert "(server dry run)" in await k.ok("delete sp web --dry-run=server")
    assert await k.json("get sp web") == before


async def test_diff_says_with_its_exit_code_whether_something_would_change(k: Kubectl) -> None:
    new = await k("diff -f s1.yaml")
    assert (new.returncode, "+  image: nginx:1" in new.stdout) == (1, True)
    await k.ok("apply -f s1.yaml")
    same = await k("diff -f s1.yaml")
    assert (same.returncode, same.stdout, same.stderr) == (0, "", "")
    changed = await k("diff -f s2.yaml")
    assert (changed.returncode, changed.stderr) == (1, "")
    lines = changed.stdout.splitlines()
    assert [line for line in lines if re.match(r"[+-]  ", line) and "last-applied" not in line and "kind" not in line] == [
        "-  generation: 1",
        "+  generation: 2",
        "-  - name: B",
        '-    value: "2"',
        "-  image: nginx:1",
        "+  image: nginx:2",
    ]
    assert (await k("diff --server-side -f s2.yaml")).returncode == 1
    refused = await k("diff -f -", stdin=(k.directory / "s1.yaml").read_text().replace("replicas: 2", "replicas: -2"))
    assert refused.returncode > 1 or "should be greater" in refused.stderr
    assert (await k.json("get sp web"))["spec"]["image"] == "nginx:1"
