"""``lattice server``: the control plane alone."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lattice.api import errors
from lattice.cli import logs
from lattice.cli.options import run_daemon

if TYPE_CHECKING:
    from controller.settings import ServerConfig

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path, dir_okay=False)
_STORE_OPTIONS = (
    click.option("--store", type=click.Choice(["sqlite", "etcd"]), default="sqlite", show_default=True, help="Where objects are kept."),
    click.option("--durability", type=click.Choice(["full", "normal"]), default="full", show_default=True,
                 help="sqlite: full survives a loss of power; normal may lose the last moments."),
    click.option("--etcd-endpoints", default="", help="etcd: HOST:PORT[,HOST:PORT...], https:// in front for TLS."),
    click.option("--etcd-ca", type=_FILE, help="etcd: certificate authority."),
    click.option("--etcd-cert", type=_FILE, help="etcd: client certificate."),
    click.option("--etcd-key", type=_FILE, help="etcd: key of the client certificate."),
)  # fmt: skip


def store_options(function: F) -> F:
    """Add the options of the store; the function gets them as ``store_settings``, a dict for :func:`make_config`."""
    names = ("store", "durability", "etcd_endpoints", "etcd_ca", "etcd_cert", "etcd_key")

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, store_settings={name: kwargs.pop(name) for name in names}, **kwargs)

    decorated: Any = wrapper
    for option in reversed(_STORE_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def parse_listen(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``, ``[IPv6]:PORT`` or ``:PORT`` (127.0.0.1).

    Raises:
        errors.UsageError: it is none of them.
    """
    host, separator, port = text.rpartition(":")
    if not separator or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise errors.UsageError(f"--listen {text!r} is not HOST:PORT, such as 127.0.0.1:7443")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


def make_config(data_dir: Path, listen: str, store_settings: dict[str, Any], **more: Any) -> ServerConfig:
    """Return the settings of the control plane from the flags.

    Raises:
        errors.UsageError: flags that do not go together, or the control plane is not installed.
    """
    try:
        from controller.settings import ServerConfig
        from controller.store.opening import StoreConfig
    except ImportError as error:
        raise errors.UsageError(
            f"the control plane is not installed ({error}); install it with: pip install 'lattice-fleet[server]'"
        ) from error

    endpoints = tuple(part.strip() for part in store_settings["etcd_endpoints"].split(",") if part.strip())
    if endpoints and store_settings["store"] != "etcd":
        raise errors.UsageError("--etcd-endpoints is given, but the store is sqlite; add --store etcd")
    if not endpoints and store_settings["store"] == "etcd":
        raise errors.UsageError("--store etcd needs --etcd-endpoints HOST:PORT[,HOST:PORT...]")
    host, port = parse_listen(listen)
    store = StoreConfig(
        kind=store_settings["store"],
        data_dir=data_dir,
        durability=store_settings["durability"],
        etcd_endpoints=endpoints,
        etcd_ca=store_settings["etcd_ca"],
        etcd_cert=store_settings["etcd_cert"],
        etcd_key=store_settings["etcd_key"],
    )
    return ServerConfig(data_dir=data_dir, host=host, port=port, store=store, **more)


def default_node_name() -> str:
    """Return this machine's name, as a node is called."""
    return socket.gethostname().lower().rstrip(".") or "localhost"


@click.command("server")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), required=True,
              help="Directory for certificates, tokens and the embedded store.")  # fmt: skip
@click.option(
    "--listen", default="127.0.0.1:7443", show_default=True, metavar="HOST:PORT", help="Address to listen on; port 0 picks a free one."
)
@click.option("--advertise", metavar="HOST", help="Name or address by which others reach this server, for certificate and kubeconfigs.")
@click.option("--advertise-address", metavar="HOST",
              help="etcd: name or address by which the other servers reach this one. Default: as --advertise.")  # fmt: skip
@click.option(
    "--token-file", type=_FILE, help='Users, one a line: token,user,uid,"group1,group2". Default: generated into the data directory.'
)
@click.option(
    "--node", "nodes", multiple=True, metavar="NAME", help="Write DIR/node-NAME.kubeconfig for this node, with its token (several times)."
)
@click.option("--kubeconfig-out", type=_FILE, help="Write the admin's kubeconfig here.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True,
              help="Processes that answer requests; more than one needs etcd.")  # fmt: skip
@store_options
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
@click.option("--stop-on-eof", is_flag=True, hidden=True)
def command(
    data_dir: Path,
    listen: str,
    advertise: str | None,
    advertise_address: str | None,
    token_file: Path | None,
    nodes: tuple[str, ...],
    kubeconfig_out: Path | None,
    workers: int,
    store_settings: dict[str, Any],
    verbose: bool,
    stop_on_eof: bool,
) -> None:
    """Run the control plane.

    Ready when it prints so, and /readyz answers ok. SIGTERM ends it in order.
    """
    if workers > 1 and store_settings["store"] != "etcd":
        raise errors.UsageError(f"--workers {workers} needs --store etcd: the embedded store belongs to one process")
    config = make_config(
        data_dir.resolve(),
        listen,
        store_settings,
        advertise=advertise,
        advertise_address=advertise_address,
        token_file=token_file,
        nodes=nodes,
        kubeconfig_out=kubeconfig_out,
        workers=workers,
    )
    logs.configure(verbose=verbose)
    from controller.main import run_server

    async def serve(stop: asyncio.Event) -> None:
        await run_server(config, stop=stop, ready=lambda url: click.echo(f"ready: {url}"))

    run_daemon(serve, stop_on_eof=stop_on_eof)
