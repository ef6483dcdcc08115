"""The owner's rule on host addresses."""

import pytest

from lattice.api import pod
from nodeagent.ports.addresses import address_rule


def asking(*addresses: str | None) -> pod.Pod:
    ports = [{"containerPort": 80 + number, **({"hostIP": address} if address else {})} for number, address in enumerate(addresses)]
    return pod.Pod.model_validate({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "main", "image": "x", "ports": ports}]}})


@pytest.mark.parametrize(
    ("allowed", "asked", "held"),
    [
        ((), "0.0.0.0", False),
        (("192.168.1.4",), None, False),
        (("192.168.1.4",), "127.0.0.1", False),
        (("192.168.1.4",), "192.168.1.4", False),
        (("192.168.1.4",), "192.168.1.5", True),
        (("192.168.1.4",), "0.0.0.0", True),
        (("127.0.0.1",), "192.168.1.4", True),
        (("0.0.0.0",), "192.168.1.5", False),
        (("0.0.0.0",), "2001:db8::1", True),
        (("::",), "2001:db8::1", False),
        (("2001:db8::1",), "2001:0db8:0::1", False),
    ],
)
def test_only_allowed_addresses_are_published_on(allowed: tuple[str, ...], asked: str | None, held: bool) -> None:
    wait = address_rule(allowed)(asking(None, asked))
    assert (wait is not None) is held
    if wait is not None:
        assert wait.reason == "HostAddressNotAllowed"
        assert f"{asked}, as container main asks" in wait.message
