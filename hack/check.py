"""Proves the whole way: manifest → store → scheduler → agent → Docker → a database that answers, through every kill.

`hack/up --check` runs it, once for each store; end-to-end tests may call `check` with a session of theirs. Each step
prints a line with what it measured; a step that fails raises `HackError` with a sentence. It needs an engine that it
may kill one container of, and leaves no container and no volume of its own.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
from kit.console import HackError, say, wait_until
from kit.engine_api import EngineApi
from kit.paths import REPOSITORY
from live.progress import is_running, wait_until_running
from live.session import Json, Session

MANIFEST = REPOSITORY / "examples/01-postgres/workload.yaml"
NAME = "postgres"
RECOVERY_LIMIT_S = 10
"""What we promise: from `docker rm -f` to Running, with the data."""
RESTART_TIMEOUT_S = 60
GONE_TIMEOUT_S = 60
STEADY_S = 5
"""How long a container must stay the same after a restart: longer than the agent needs for its first look at Docker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where and as whom to connect."""

    host: str
    port: int
    user: str
    password: str
    database: str

    def query(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement in a connection of its own, from outside the container, through the published port."""
        with psycopg.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=self.database,
            connect_timeout=5,
            autocommit=True,
        ) as connection:
            cursor = connection.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []


class Check:
    """The steps, in order; each leaves what the next one needs."""

    def __init__(self, session: Session, docker: EngineApi) -> None:
        self._session = session
        self._docker = docker
        self._volumes: set[str] = set()
        self._known: Endpoint | None = None

    def run(self) -> None:
        """All steps.

        Raises:
            HackError: One did not hold.
        """
        self._step("PostgreSQL from examples/01-postgres answers SQL through its port", self._apply_and_query)
        self._step(f"docker rm -f of its container: Running with the row within {RECOVERY_LIMIT_S} s", self._remove_container)
        self._step("kill -9 of agent and control plane: same container, same data", self._kill_everything)
        self._step("deleted: no container, no port, no Pod; the volume stays", self._delete)
        self._step("applied again: the row is back", self._apply_again)
        self._step("deleted again", self._delete)

    def clean_up(self) -> None:
        """Remove what a check, also a failed one, may have left in Docker."""
        for container in self._docker.call("GET", "/containers/json", {"all": "1"}) or []:
            mounted = {mount.get("Name") for mount in container.get("Mounts") or []}
            if mounted & self._volumes:
                self._docker.call("DELETE", f"/containers/{container['Id']}", {"force": "1"})
        for volume in self._volumes:
            self._docker.call("DELETE", f"/volumes/{volume}", {"force": "1"})

    def _step(self, title: str, step: Callable[[], str | None]) -> None:
        started = time.monotonic()
        try:
            measured = step()
        except (OSError, psycopg.Error) as error:
            raise HackError(f"{title}: {error}") from error
        say(f"ok  {title} ({measured or f'{time.monotonic() - started:.1f} s'})")

    def _apply_and_query(self) -> None:
        self._session.lattice("apply", "-f", str(MANIFEST))
        wait_until_running(self._session, NAME)
        endpoint = self._endpoint()
        self._volumes |= {mount["Name"] for mount in self._container(endpoint)["Mounts"] if mount.get("Name")}
        endpoint.query("CREATE TABLE proof (word text)")
        endpoint.query("INSERT INTO proof VALUES ('kept')")
        self._expect_row()

    def _remove_container(self) -> str:
        before = self._endpoint()
        container = self._container(before)
        started = time.monotonic()
        self._docker.call("DELETE", f"/containers/{container['Id']}", {"force": "1"})

        def back() -> bool:
            now = self._find_container(before)
            return now is not None and now["Id"] != container["Id"] and self._runs() and self._has_row()

        _require(wait_until(back, timeout_s=RESTART_TIMEOUT_S), "it did not come back")
        took_s = time.monotonic() - started
        _require(took_s <= RECOVERY_LIMIT_S, f"it came back only after {took_s:.1f} s")
        volumes = {mount["Name"] for mount in self._container(before)["Mounts"] if mount.get("Name")}
        _require(volumes == self._volumes, f"it came back on other volumes: {volumes}, not {self._volumes}")
        return f"{took_s:.1f} s"

    def _kill_everything(self) -> str:
        container = self._container(self._endpoint())
        self._session.kill()
        self._expect_row()  # the database does not depend on us
        started = time.monotonic()
        self._session.start()
        _require(wait_until(self._runs_on_ready_node, timeout_s=RESTART_TIMEOUT_S), "it is not Running again")
        took_s = time.monotonic() - started
        changed = wait_until(lambda: self._container_identity() != _identity(container), timeout_s=STEADY_S)
        _require(not changed, "the restarted agent replaced or restarted the container")
        self._expect_row()
        return f"ready again {took_s:.1f} s after the start"

    def _delete(self) -> None:
        endpoint = self._endpoint()
        self._session.lattice("delete", "-f", str(MANIFEST))
        gone = {
            "the container": lambda: self._find_container(endpoint) is None,
            "the port": lambda: not _is_open(endpoint),
            "the Pod": lambda: not self._pods(),
            "the Workload": lambda: self._session.workload(NAME) is None,
        }
        for what, is_gone in gone.items():
            _require(wait_until(is_gone, timeout_s=GONE_TIMEOUT_S), f"{what} is still there")
        kept = {volume["Name"] for volume in self._docker.call("GET", "/volumes")["Volumes"] or []}
        _require(self._volumes <= kept, "the data volume was removed")

    def _apply_again(self) -> None:
        self._session.lattice("apply", "-f", str(MANIFEST))
        wait_until_running(self._session, NAME)
        _require(wait_until(self._has_row, timeout_s=RESTART_TIMEOUT_S), "the row is not there")

    # What the world looks like

    def _endpoint(self) -> Endpoint:
        workload = self._session.workload(NAME)
        if workload is None or not is_running(workload):
            raise HackError(f"workload {NAME} is not Running")
        address = workload["status"]["endpoints"][0]
        secret = self._session.secret(f"{NAME}-credentials")
        return Endpoint(
            host=address["hostIP"],
            port=address["hostPort"],
            user=secret["username"],
            password=secret["password"],
            database=secret["database"],
        )

    def _runs(self) -> bool:
        try:
            workload = self._session.workload(NAME)
        except OSError:
            return False
        return workload is not None and is_running(workload) and workload["status"].get("readyReplicas", 1) == 1

    def _runs_on_ready_node(self) -> bool:
        nodes = self._session.items("/api/v1/nodes")
        conditions = [condition for node in nodes for condition in node["status"].get("conditions") or []]
        return self._runs() and any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def _pods(self) -> list[Json]:
        pods = self._session.items("/api/v1/namespaces/default/pods")
        owners = [(pod, owner) for pod in pods for owner in pod["metadata"].get("ownerReferences") or []]
        return [pod for pod, owner in owners if owner["kind"] == "Workload" and owner["name"] == NAME]

    def _expect_row(self) -> None:
        rows = self._endpoint_rows(self._last_endpoint())
        _require(rows == [("kept",)], f"the row that was written is not there: {rows}")

    def _has_row(self) -> bool:
        try:
            return self._endpoint_rows(self._last_endpoint()) == [("kept",)]
        except psycopg.Error:  # not yet
            return False

    def _last_endpoint(self) -> Endpoint:
        """Where it was reached last; asked again only while the server answers."""
        try:
            self._known = self._endpoint()
        except (OSError, HackError):
            if self._known is None:
                raise
        return self._known

    @staticmethod
    def _endpoint_rows(endpoint: Endpoint) -> list[tuple[object, ...]]:
        return endpoint.query("SELECT word FROM proof")

    def _container(self, endpoint: Endpoint) -> Json:
        found = self._find_container(endpoint)
        if found is None:
            raise HackError(f"no container publishes port {endpoint.port}")
        inspected: Json = self._docker.call("GET", f"/containers/{found['Id']}/json")
        return inspected

    def _container_identity(self) -> tuple[str, str]:
        return _identity(self._container(self._last_endpoint()))

    def _find_container(self, endpoint: Endpoint) -> Json | None:
        """By the port that it publishes, so that nothing has to be known of labels."""
        containers: list[Json] = self._docker.call("GET", "/containers/json") or []
        for container in containers:
            if any(port.get("PublicPort") == endpoint.port for port in container.get("Ports") or []):
                return container
        return None


def check(session: Session, docker_host: str) -> None:
    """Start the session, take all steps, stop it.

    Raises:
        HackError: A step did not hold; what the check made is removed in any case.
    """
    steps = Check(session, EngineApi(Path(docker_host.removeprefix("unix://"))))
    session.start()
    try:
        steps.run()
    finally:
        try:
            session.stop()
        finally:
            steps.clean_up()


def _identity(container: Json) -> tuple[str, str]:
    """Changes when the container is another one, and when it was restarted."""
    return str(container["Id"]), str(container["State"]["StartedAt"])


def _is_open(endpoint: Endpoint) -> bool:
    try:
        socket.create_connection((endpoint.host, endpoint.port), timeout=2).close()
    except OSError:
        return False
    return True


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise HackError(otherwise)
