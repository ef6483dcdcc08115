"""The table of a Pod's fields: complete, without rows of nothing, and the page says the same."""

import ast
from pathlib import Path

import pytest

from lattice.api import pod, podfields, schema
from lattice.api.podfields import page

ROOT = Path(__file__).parents[3]


def leaves(node, path):
    """Yield the paths of all fields that hold a value of their own."""
    if node.get("properties"):
        for name, child in node["properties"].items():
            yield from leaves(child, f"{path}.{name}")
    elif node.get("type") == "array" and node["items"].get("properties"):
        yield from leaves(node["items"], f"{path}[]")
    else:
        yield path


FIELDS = sorted(leaves(schema.object_schema(pod.Pod)["properties"]["spec"], "spec"))


def test_every_field_of_the_schema_has_a_row():
    assert len(FIELDS) > 500
    assert [path for path in FIELDS if podfields.row_of(path) is None] == []


def test_every_row_is_about_a_field_of_the_schema():
    prefixes = {path[:end] for path in FIELDS for end in range(len(path) + 1)}
    ephemeral_only = {f"spec.{kind}[].targetContainerName" for kind in ("containers", "initContainers")}
    assert [path for path in podfields.table() if path not in prefixes and path not in ephemeral_only] == []


def test_each_field_has_one_row():
    paths = [row.path for row in (*podfields.POD, *podfields.VOLUMES)]
    assert len(set(paths)) == len(paths)
    assert len({row.path for row in podfields.CONTAINER}) == len(podfields.CONTAINER)


@pytest.mark.parametrize("row", [row for row in podfields.ROWS if row.kind != "honoured"], ids=lambda row: row.path)
def test_what_has_no_effect_or_is_refused_says_why(row):
    assert row.note
    assert not row.test


def test_honoured_rows_name_a_test_that_exists():
    missing = set()
    for row in podfields.ROWS:
        if row.kind != "honoured":
            continue
        name, _, function = row.test.partition("::")
        file = ROOT / name
        functions = {
            node.name
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else ast.parse(""))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        if not function or function not in functions or not name.startswith(("tests/e2e/", "tests/contract/")):
            missing.add((row.path, row.test))
    assert not missing


def test_the_page_has_the_table():
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.render_page(text) == text, "run hack/gen"


def test_a_field_below_a_whole_row_takes_its_class():
    assert podfields.row_of("spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[].topologyKey").kind == "inert"
    assert podfields.row_of("spec.initContainers[].securityContext.windowsOptions.gmsa").kind == "refused"
    assert podfields.row_of("spec.nonsense") is None
