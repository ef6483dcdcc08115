"""Settings of the agent: who wins, how each type is written, and what is said about what is wrong."""

from dataclasses import MISSING, fields
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from lattice.api import errors
from lattice.cli import main
from lattice.cli.node import settings_options
from nodeagent.config import AgentConfig, HostPath, amount_of
from nodeagent.main import parse_arguments
from nodeagent.ports.plan import PortRange
from nodeagent.settings import flags, reading, reference
from nodeagent.settings.table import SETTINGS


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "node.yaml"
    path.write_text(text)
    return path


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(tmp_path: Path) -> None:
    written(tmp_path, "cpu: 1\nmemory: 1Gi\nmaxPods: 7\n")
    settings = reading.read({"cpu": "3", "data_dir": str(tmp_path)}, {"LATTICE_NODE_CPU": "2", "LATTICE_NODE_MEMORY": "2Gi"})
    config = settings.config
    assert (config.cpu, config.memory, config.max_pods, config.disk) == ("3", "2Gi", 7, None)
    assert settings.sources["cpu"] == "flag --cpu"
    assert settings.sources["memory"] == "LATTICE_NODE_MEMORY"
    assert settings.sources["max_pods"] == f"{tmp_path / 'node.yaml'}: maxPods"
    assert "disk" not in settings.sources


def test_a_list_replaces_a_list(tmp_path: Path) -> None:
    written(tmp_path, "images: [postgres:15, redis:7]\n")
    read = {"data_dir": str(tmp_path)}
    assert reading.read(read, {}).config.images == ("postgres:15", "redis:7")
    assert reading.read(read, {"LATTICE_NODE_IMAGES": "nginx:alpine, redis:7,redis:7"}).config.images == ("nginx:alpine", "redis:7")
    assert reading.read({**read, "images": ("busybox",)}, {"LATTICE_NODE_IMAGES": "nginx:alpine"}).config.images == ("busybox",)


def test_which_file_is_read(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere.yaml"
    other.write_text("cpu: 4\ndataDir: state\nrunDir: /run/there\n")
    written(tmp_path, "cpu: 1\n")
    assert reading.read({"data_dir": str(tmp_path)}, {"LATTICE_NODE_CONFIG": str(other)}).config.cpu == "4"
    assert reading.read({"data_dir": str(tmp_path)}, {}).config.cpu == "1"
    found = reading.read({"config": str(other)}, {"LATTICE_NODE_CONFIG": "absent"}).config
    assert (found.data_dir, found.run_dir) == (tmp_path / "state", Path("/run/there"))  # a path in a file is relative to it
    assert reading.read({"data_dir": str(tmp_path / "none")}, {}).file is None
    with pytest.raises(errors.UsageError, match=r"cannot read the settings file .*absent.*No such file"):
        reading.read({"config": "absent"}, {})


def test_defaults_without_anything(tmp_path: Path) -> None:
    config = reading.read({}, {"XDG_DATA_HOME": str(tmp_path), "DOCKER_HOST": "unix:///d"}).config
    assert config.data_dir == tmp_path / "lattice" / "node"
    assert config.docker_host == "unix:///d"
    assert config.name
    assert config.socket_path() == config.data_dir / "agent.sock"


EXAMPLES = {
    "isolation": ("no", False),
    "labels": ("zone=attic,example.com/rack=", {"zone": "attic", "example.com/rack": ""}),
    "allow_host_paths": ("/srv/media,/data:rw", (HostPath(prefix="/srv/media"), HostPath(prefix="/data", writable=True))),
    "allowed_capabilities": ("cap_net_admin,SYS_TIME", ("NET_ADMIN", "SYS_TIME")),
    "port_range": ("30000-30010", PortRange(first=30000, last=30010)),
    "network_range": ("10.96.0.0/12", "10.96.0.0/12"),
    "publish_addresses": ("192.168.1.4,::1", ("192.168.1.4", "::1")),
    "metrics_address": (":9465", "127.0.0.1:9465"),
    "disk_reserve": ("2.5%", "2.5%"),
    "eviction_pids_available": ("1000", "1000"),
    "log_max_size": ("20Mi", "20Mi"),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_how_a_value_is_written(name: str, tmp_path: Path) -> None:
    text, value = EXAMPLES[name]
    config = reading.read({"data_dir": str(tmp_path)}, {f"LATTICE_NODE_{name.upper()}": text}).config
    assert getattr(config, name) == value


def test_values_of_yaml(tmp_path: Path) -> None:
    written(tmp_path, "labels: {zone: attic, empty: }\ncpu: 1.5\nisolation: off\nallowHostPaths: ['/srv:rw']\nmaxPods: 3\ndiskReserve: 0\n")
    config = reading.read({"data_dir": str(tmp_path)}, {}).config
    assert (config.labels, config.cpu, config.isolation) == ({"zone": "attic", "empty": ""}, "1.5", False)
    assert (config.allow_host_paths, config.max_pods, config.disk_reserve) == ((HostPath(prefix="/srv", writable=True),), 3, "0")


@pytest.mark.parametrize(
    ("variable", "text", "sentence"),
    [
        ("CPU", "two", "LATTICE_NODE_CPU 'two': must be a quantity above zero"),
        ("CPU", "-1", "above zero"),
        ("MAX_PODS", "1.5", "must be a whole number from 0 to 1000"),
        ("MAX_PODS", "5000", "from 0 to 1000"),
        ("ISOLATION", "maybe", "must be true or false"),
        ("PORT_RANGE", "9-1", "is not FIRST-LAST"),
        ("HOST_IP", "home", "must be an IP address"),
        ("NETWORK_RANGE", "10.0.0.1/16", "whose host bits are zero"),
        ("NETWORK_RANGE", "10.0.0.0/28", "each namespace takes a /26"),
        ("ALLOW_HOST_PATHS", "srv", "must be an absolute path"),
        ("ALLOW_HOST_PATHS", "/srv/../etc", "must be an absolute path"),
        ("ALLOW_HOST_PATHS", "/srv:rx", "must be /PATH, /PATH:ro or /PATH:rw"),
        ("LABELS", "a b", "must be KEY=VALUE"),
        ("NAME", "Home Server", "cannot be a node's name"),
        ("DISK_RESERVE", "120%", "must be a percentage"),
        ("METRICS_ADDRESS", "host", "must be HOST:PORT"),
        ("CPUS", "2", "has LATTICE_NODE_CPUS, which is no setting; did you mean LATTICE_NODE_CPU?"),
        ("IMAGE_GC_LOW_PERCENT", "90", r"image_gc_low_percent \(90\) must be below image_gc_high_percent \(85\)"),
        ("DOCKER_HOST", "", "must be a text that is not empty"),
    ],
)
def test_a_wrong_value_is_named_with_its_source(variable: str, text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match=sentence):
        reading.read({"data_dir": str(tmp_path)}, {f"LATTICE_NODE_{variable}": text})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("maxPod: 3", r"node\.yaml has 'maxPod', which is no setting; did you mean maxPods\?"),
        ("zzz: 3", r"docs/reference/node-settings\.md lists them"),
        ("- a", "must be a mapping of settings"),
        ("a: [", "is not YAML"),
        ("maxPods: true", r"node\.yaml: maxPods 'True': must be a whole number"),
        ("images: {a: b}", "must be a list"),
        ("cpu: '2'\nlabels: [a]", "must be KEY=VALUE"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(text: str, sentence: str, tmp_path: Path) -> None:
    written(tmp_path, text)
    with pytest.raises(errors.UsageError, match=sentence):
        reading.read({"data_dir": str(tmp_path)}, {})


def test_a_wrong_flag_is_named(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match=r"^--memory 'lots': must be a quantity"):
        reading.read({"memory": "lots", "data_dir": str(tmp_path)}, {})


def test_every_field_has_a_row_and_every_default_can_be_written() -> None:
    settable = {each.name: each for each in fields(AgentConfig) if each.name not in ("transport", "sources")}
    assert {row.name for row in SETTINGS} == set(settable)
    assert len({row.flag for row in SETTINGS}) == len({row.key for row in SETTINGS}) == len(SETTINGS)
    for row in SETTINGS:
        default = settable[row.name].default
        if default is not MISSING and default not in (None, ()):
            assert row.kind.parse(str(default) if not isinstance(default, bool) else default) == default, row.name


COMMAND_LINE = ["--name", "n", "--data-dir", "/d", "--no-isolation", "--label", "a=b", "--label", "c=d", "--image", "x", "--max-pods=4"]


def test_both_commands_understand_the_same_flags(monkeypatch) -> None:
    seen = {}

    @click.command()
    @settings_options
    def probe(flags) -> None:
        seen.update(flags)

    assert CliRunner().invoke(probe, COMMAND_LINE).exit_code == 0
    one, other = reading.read(seen, {}).config, reading.read(flags.parse(COMMAND_LINE), {}).config
    assert one == other == AgentConfig(
        name="n", data_dir=Path("/d"), isolation=False, labels={"a": "b", "c": "d"}, images=("x",), max_pods=4
    )  # fmt: skip
    monkeypatch.setenv("LATTICE_NODE_CPU", "2")
    assert parse_arguments(COMMAND_LINE).cpu == "2"


def test_a_wrong_setting_ends_the_command_with_its_sentence(tmp_path: Path, capsys) -> None:
    assert main.run(["node", "--data-dir", str(tmp_path), "--cpu", "two"]) == 2
    assert "error: --cpu 'two': must be a quantity" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_amounts() -> None:
    assert amount_of("5%", 2000) == 100
    assert amount_of("1Ki", 10) == 1024
    assert amount_of("0", 10) == 0


def test_the_page_is_up_to_date() -> None:
    assert reference.TARGET.read_text() == reference.render(), "run: python -m nodeagent.settings.reference"
