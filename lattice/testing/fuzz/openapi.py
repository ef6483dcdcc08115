"""Requests made by schemathesis from the documents that the server publishes: what they promise must hold, and what they forbid be refused.

For each operation of each group version, half of the requests keep to the document and half do not. Names are drawn from a few, so that
later requests meet what earlier ones made. Hypothesis is seeded and keeps no database: the same seed and documents give the same requests.
The answers are judged by ``oracle``, as those of the byte-level attack are.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.core.result import Ok
from schemathesis.generation.modes import GenerationMode

from lattice.machinery.clock import SystemClock
from lattice.testing.fuzz import oracle
from lattice.testing.fuzz.run import TOKEN, Finding, Report
from lattice.testing.fuzz.subjects import NAMESPACE
from lattice.testing.fuzz.wire import Connection, Request, Response

_NAMES: Final = ("a", "b", "openapi-fuzz", "A", "x" * 64, "%", "\0")
_PASSED_ON: Final = ("method", "url", "headers", "params", "data", "json", "files", "cookies")
_SEVERED: Final = frozenset({"user-agent", "connection", "content-length", "host", "x-schemathesis-testcaseid", "transfer-encoding"})


def explore(host: str, port: int, context: ssl.SSLContext, *, seed: int, examples: int, within_s: float) -> Report:
    """Send requests from every document. Blocks; call it in a thread. The namespace ``fuzz`` must exist.

    Args:
        host: of the server.
        port: of the server.
        context: TLS.
        seed: of the requests.
        examples: how many for each operation that writes, and a third of it for each that reads.
        within_s: no new operation is begun after this.
    """
    logging.getLogger("schemathesis").setLevel(logging.ERROR)
    clock = SystemClock()
    report = Report(seed)
    begin = clock.monotonic()
    with asyncio.Runner() as runner:
        connection = Connection(host, port, context, TOKEN)

        def send(request: Request) -> Response:
            start = clock.monotonic()
            response = runner.run(_within(connection, request))
            elapsed_s = clock.monotonic() - start
            report.requests += 1
            report.statuses[response.status] += 1
            report.methods[request.method] += 1
            report.slowest_s = max(report.slowest_s, elapsed_s)
            if (problem := oracle.judge(request, response, elapsed_s)) is not None:
                report.findings.append(Finding(problem, request, report.requests))
            return response

        try:
            index = json.loads(send(Request(method="GET", target="/openapi/v3")).body)
            for entry in index["paths"].values():
                document = json.loads(send(Request(method="GET", target=entry["serverRelativeURL"])).body)
                for operation in _operations(document):
                    if clock.monotonic() - begin > within_s:
                        break
                    count = examples if operation.method.lower() != "get" else max(2, examples // 3)
                    _attack(operation, send, seed=seed, examples=count)
        finally:
            runner.run(connection.close())
    report.elapsed_s = clock.monotonic() - begin
    return report


async def _within(connection: Connection, request: Request) -> Response:
    try:
        async with asyncio.timeout(oracle.ANSWER_WITHIN_S + 1):
            return await connection.send(request)
    except TimeoutError:
        await connection.close()
        return Response(status=0)


def _operations(document: dict[str, Any]) -> Iterator[Any]:
    """Yield the operations of a document, but those that would delete a whole kind of the cluster."""
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        if isinstance(result, Ok):
            operation = result.ok()
            if operation.method.lower() != "delete" or "{n" in operation.path:
                yield operation


def _attack(operation: Any, send: Callable[[Request], Response], *, seed: int, examples: int) -> None:
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        with warnings.catch_warnings(), contextlib.suppress(Unsatisfiable):  # nothing can be made wrong where nothing is asked for
            warnings.simplefilter("ignore")
            _attacker(operation, mode, send, seed, max(1, examples // 2))()


def _attacker(operation: Any, mode: GenerationMode, send: Callable[[Request], Response], seed: int, examples: int) -> Callable[[], None]:
    """Return a function that sends so many requests of one mode."""

    @seeded(seed)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), name=st.sampled_from(_NAMES))
    def attack(case: Any, name: str) -> None:
        if case.path_parameters:
            case.path_parameters = {key: NAMESPACE if key == "namespace" else name for key in case.path_parameters}
        if mode is GenerationMode.POSITIVE:
            case.body = _named(case.body, operation, name)
        request = _request(case)
        if request is not None:
            send(request)

    return attack


def _named(body: Any, operation: Any, name: str) -> Any:
    """Return a body as the object that the path names: what no schema says, but every server demands."""
    if not isinstance(body, dict) or operation.method.lower() not in {"post", "put", "patch"}:
        return body
    kind = operation.definition.raw.get("x-kubernetes-group-version-kind", {})
    metadata = {key: value for key, value in (body.get("metadata") or {}).items() if key in {"labels", "annotations"}}
    api_version = f"{kind['group']}/{kind['version']}" if kind.get("group") else kind.get("version", "v1")
    return {**body, "apiVersion": api_version, "kind": kind.get("kind", ""), "metadata": {**metadata, "name": name}}


def _request(case: Any) -> Request | None:
    """Return a case as bytes, ``None`` where not even ``requests`` can write it."""
    arguments = case.as_transport_kwargs(base_url="http://localhost")
    try:
        prepared = requests.Request(**{key: value for key, value in arguments.items() if key in _PASSED_ON}).prepare()
    except (ValueError, UnicodeError, requests.RequestException):
        return None
    body = prepared.body.encode("utf-8", "surrogatepass") if isinstance(prepared.body, str) else prepared.body or b""
    if not isinstance(body, bytes):
        return None
    headers = tuple((str(name), str(value)) for name, value in prepared.headers.items() if name.lower() not in _SEVERED)
    target = prepared.path_url
    return Request(method=str(prepared.method), target=target, headers=headers, body=body, watch="watch" in target)
