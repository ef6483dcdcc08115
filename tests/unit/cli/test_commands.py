"""The command line: what is wrong is said in one sentence, with an exit code and without a traceback."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lattice.api import errors, pod, workload
from lattice.cli import kinds, main, manifests, printers, reference
from lattice.cli.server import parse_listen


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["get", "gadgets"], 2, "there is no kind 'gadgets'"),
        (["get", "pods", "--kubeconfig", "absent"], 2, "there is no kubeconfig"),
        (["get", "pods", "-w", "x"], 2, "--watch takes one KIND"),
        (["apply", "-f", "absent.yaml"], 2, "cannot read absent.yaml"),
        (["delete"], 2, "say what to delete"),
        (["delete", "pods", "--force", "--grace-period", "3"], 2, "grace period"),
        (["describe", "pods"], 2, "say which one"),
        (["server", "--data-dir", "d", "--listen", "nonsense"], 2, "is not HOST:PORT"),
        (["server", "--data-dir", "d", "--store", "etcd"], 2, "needs --etcd-endpoints"),
        (["server", "--data-dir", "d", "--etcd-endpoints", "a:1"], 2, "add --store etcd"),
        (["nonsense"], 2, "nonsense"),
        (["restore", "absent", "--data-dir", "d"], 2, "cannot read the backup"),
        (["delete", "pod", "a", "-l", "app=web"], 2, "-l selects among all"),
        (["delete", "-f", "absent.yaml", "-l", "app=web"], 2, "-l selects among all"),
        (["delete", "pods"], 2, "or select some with -l"),
    ],
)
def test_a_wrong_command_line_is_explained(arguments, code, sentence, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.run(arguments) == code
    shown = capsys.readouterr().err
    assert sentence in shown
    assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_away_is_code_1(tmp_path: Path, capsys) -> None:
    from lattice.client import kubeconfig

    kubeconfig.write(tmp_path / "config", server="https://127.0.0.1:1", ca_data=None, user="u", token="t")
    assert main.run(["--kubeconfig", str(tmp_path / "config"), "get", "pods"]) == 1
    assert "connection refused" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["wl"], [(workload.Workload, None)]),
        (["po,wl"], [(pod.Pod, None), (workload.Workload, None)]),
        (["workloads.lattice.dev", "a", "b"], [(workload.Workload, "a"), (workload.Workload, "b")]),
        (["Pod/a", "wl/b"], [(pod.Pod, "a"), (workload.Workload, "b")]),
    ],
)
def test_names_of_kinds(words, found) -> None:
    assert kinds.parse(words) == found


@pytest.mark.parametrize("words", [[], ["pod/"], ["pod/a", "b"], ["gadget"]])
def test_words_that_name_nothing(words) -> None:
    with pytest.raises(errors.UsageError):
        kinds.parse(words)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[", "is not YAML"),
        ("- a", "needs apiVersion and kind"),
        ("apiVersion: v1\nkind: Gadget", 'no kind "Gadget"'),
        ("apiVersion: v1\nkind: Pod", "needs metadata.name"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}", "give it a metadata.name"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\nx", "document 2"),
    ],
)
def test_what_is_no_manifest_says_where(text: str, sentence: str) -> None:
    with pytest.raises(errors.UsageError, match=r"f\.yaml") as caught:
        list(manifests.parse("f.yaml", text))
    assert sentence in str(caught.value)


def test_several_documents_lists_and_empty_ones() -> None:
    one = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
    found = list(
        manifests.parse(
            "f", f"---\n---\n{one}---\napiVersion: v1\nkind: List\nitems:\n- {{apiVersion: v1, kind: Node, metadata: {{name: n}}}}\n"
        )
    )
    assert [(each.name, each.namespace("d")) for each in found] == [("a", "d"), ("n", None)]


@pytest.mark.parametrize(("text", "parsed"), [("127.0.0.1:1", ("127.0.0.1", 1)), ("[::1]:2", ("::1", 2)), (":0", ("127.0.0.1", 0))])
def test_listen(text, parsed) -> None:
    assert parse_listen(text) == parsed


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (200_000, "2d"), (-5, "0s")])
def test_age(seconds: int, shown: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert printers.age((now - timedelta(seconds=seconds)).isoformat(), now) == shown


def test_rows_show_no_control_characters_and_survive_empty_objects() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for kind in printers.COLUMNS:
        titles, body = printers.rows(kind, [{"metadata": {"name": "a\x1b[31m"}}], now=now, wide=True, namespaces=True)
        assert len(titles) == len(body[0])
        assert "\x1b" not in "".join(body[0])


def test_the_list_of_verbs_says_what_the_verbs_say() -> None:
    import click

    for verb, text in main.VERBS.items():
        command = main.cli.get_command(click.Context(main.cli), verb)
        assert command is not None
        assert command.name == verb
        assert text


def test_the_reference_is_up_to_date() -> None:
    assert reference.TARGET.read_text() == reference.render(), "run: python -m lattice.cli.reference"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, capsys) -> None:
    assert main.run(["completion", shell]) == 0
    assert "_LATTICE_COMPLETE" in capsys.readouterr().out
