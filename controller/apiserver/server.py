"""The API server without sockets: one ``handle`` for every request, from HTTP and from inside the process.

authentication ▸ authorization ▸ route ▸ (decode ▸ default ▸ validate ▸ admit ▸ one compare-and-swap) or (cache). All errors become
Status objects here; nothing else in this package makes an error answer. ``http.py`` and ``inprocess.py`` are its two shells;
``controller/main.py`` composes it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping

from controller.apiserver import (
    admission,
    authz,
    backup,
    bootstrap,
    definitions,
    discovery,
    health,
    naming,
    peers,
    protobuf,
    reviews,
    servermetrics,
    usage,
)
from controller.apiserver.aside import LARGE_BYTES, aside
from controller.apiserver.authn import TokenAuthenticator
from controller.apiserver.deletion import Deleter
from controller.apiserver.desired import DesiredView
from controller.apiserver.feed import Feed
from controller.apiserver.handlers import ObjectHandlers
from controller.apiserver.negotiation import PROTOBUF, finish, for_document
from controller.apiserver.nodesockets import NodeSockets
from controller.apiserver.openapi.service import OpenApi
from controller.apiserver.peers import PEER, Peers
from controller.apiserver.podfailures import PodFailures
from controller.apiserver.podstreams.handlers import PodStreams
from controller.apiserver.reading import Reader
from controller.apiserver.registry import Registry
from controller.apiserver.request import (
    ANONYMOUS,
    Answer,
    ApiRequest,
    ApiResponse,
    RequestInfo,
    User,
    error_response,
    parse_path,
    path_not_found,
)
from controller.apiserver.resources import StoreName, build_table
from controller.apiserver.watching import WatchStarter
from controller.apiserver.writehandlers import WriteHandlers
from controller.relay.desk import StreamDesk
from controller.relay.lines import NodeLines
from controller.store import base
from lattice.api import errors, names
from lattice.machinery.clock import Clock
from lattice.machinery.exposition import CONTENT_TYPE
from lattice.machinery.tasks import TaskOwner

__all__ = ["ApiServer"]

logger = logging.getLogger(__name__)

_ORJSON_DEPTH = "Recursion limit reached"
"""What orjson says of a value it will not write; the error is a plain TypeError, as many a defect is."""


class ApiServer:
    """The core of the control plane.

    Args:
        stores: ``main`` and ``ephemeral``; they may be the same instance only if their keys cannot meet.
        users: token to user.
        clock: time.
        rng: randomness for uids and names; a test may seed it.
    """

    def __init__(
        self,
        stores: Mapping[StoreName, base.Store],
        users: Mapping[str, User],
        *,
        clock: Clock,
        rng: random.Random | None = None,
    ) -> None:
        self.stores = stores
        self.clock = clock
        self.rng = rng or random.SystemRandom()
        self.table = build_table(reviews.resources())
        self.feeds = {
            name: Feed(name, store, [r for r in self.table.stored if r.store == name], clock=clock) for name, store in stores.items()
        }
        chain = admission.Chain(
            admission.NamespaceLifecycle(self.table, self.feeds),
            admission.NodeRestriction(self.table, self.feeds),
            admission.RecordOrder(),
            admission.OwnDefinitions(),
        )
        self.registry = Registry(self.table, self.feeds, clock=clock, rng=self.rng, admission=chain)
        self.desired = DesiredView(self.registry)
        self.lines = NodeLines(clock)
        self.desk = StreamDesk(self.lines)
        self._sockets = NodeSockets(self.registry, self.lines, self.desk)
        self.peers: Peers | None = None
        self._authenticator = TokenAuthenticator(users)
        self.tasks = TaskOwner("apiserver")
        self._naming = naming.Naming(self.registry)
        main = self.feeds["main"]
        main.definitions = definitions.Definitions(self.table, main, on_unjudged=self._judge_later)
        self._usage = usage.Usage(self.table, self.registry, self.lines, clock)
        self._objects = ObjectHandlers(
            self.registry,
            WriteHandlers(self.registry, self._naming.establish, reviews.Reviews(self._authenticator, clock).create),
            Deleter(self.registry),
            Reader(self.registry),
            WatchStarter(self.registry, self.rng),
            self.desired,
            self._sockets,
            PodFailures(self.registry, self.lines),
            self._usage,
            PodStreams(self.registry, self.desk),
        )
        self._metrics = servermetrics.ServerMetrics(self.table)
        self._discovery = discovery.Discovery(self.table)
        self._openapi = OpenApi(self.table, clock)
        self._stopping = False
        self.cluster = bootstrap.Cluster("", 0)

    async def start(self) -> None:
        """Make sure of what every cluster has, fill the caches, be ready."""
        self.cluster = await bootstrap.ensure_cluster(self.stores["main"], self.rng)
        await bootstrap.ensure_objects(self.stores["main"], self.table, clock=self.clock, rng=self.rng)
        await bootstrap.ensure_definitions(self.stores["main"], self.table, clock=self.clock, rng=self.rng)
        for feed in self.feeds.values():
            await feed.start()
        self.desired.attach({"id": self.cluster.id, "epoch": self.cluster.epoch})

    async def join_peers(self, *, url: str, ca_pem: bytes) -> None:
        """Take part in a control plane of several processes: be found at ``url``, and find the others. The last step of a start."""
        joined = Peers(self.stores["ephemeral"], self.lines, self.desk, self.clock, url=url, ca_pem=ca_pem)
        await joined.start()
        self._authenticator.add(joined.secret, PEER)
        self._sockets.peers = self.peers = joined

    async def stop(self) -> None:
        """End all watches. The stores stay open: they belong to the caller."""
        self._stopping = True
        self.desired.stop()
        await self.desk.stop()
        await self.lines.stop()
        if self.peers is not None:
            await self.peers.stop()
        await self.tasks.stop()
        for feed in self.feeds.values():
            await feed.stop()

    def _judge_later(self, name: str) -> None:
        """Judge the names of a definition that is stored without a verdict: its creator was cut off, or is about to do it itself."""
        self.tasks.spawn(self._naming.establish_quietly(name), name=f"establish {name}")

    @property
    def ready(self) -> bool:
        """Whether the caches are filled and nothing is being shut down."""
        return not self._stopping and all(feed.synced for feed in self.feeds.values())

    def identity_headers(self) -> dict[str, str]:
        """Return the headers of every answer that say which cluster speaks."""
        return {names.HEADER_CLUSTER_ID: self.cluster.id, names.HEADER_EPOCH: str(self.cluster.epoch)}

    async def handle(self, request: ApiRequest) -> Answer:
        """Answer a request. Never raises but for cancellation."""
        begun_s = self.clock.monotonic()
        answer = await self._answer(request)
        self._metrics.count(request.info, answer, self.clock.monotonic() - begun_s)
        answer.headers.update(self.identity_headers())
        return answer

    def identify(self, request: ApiRequest) -> RequestInfo:
        """Find out who asks for what (``request.user`` is set), and whether that user may. Needs no body.

        Raises:
            errors.UnauthorizedError: the credentials are not known.
            errors.ForbiddenError: the user may not.
        """
        if request.info is None:
            request.user = request.user or self._authenticator.authenticate(request.headers)
            info = parse_path(request)
            authz.authorize(request.user, info)
            request.info = info
        return request.info

    async def _answer(self, request: ApiRequest) -> Answer:
        try:
            return await self._route(request)
        except errors.ApiError as error:
            return self._refusal(request, error)
        except base.StoreError as error:
            return self._refusal(request, _store_error(error))
        except Exception as error:
            if isinstance(error, RecursionError) or str(error) == _ORJSON_DEPTH:
                return self._refusal(request, errors.BadRequestError("the body is nested too deeply to be an object of any kind"))
            # The last line of defence: a defect answers one request with 500 and stops nothing.
            logger.exception("request failed", extra={"method": request.method, "path": request.path[:256]})
            return error_response(
                errors.InternalError("the server failed on this request; its log says why. The outcome of a write is unknown")
            )

    def _scraped(self) -> bytes:
        return self._metrics.text(
            cluster_id=self.cluster.id,
            lines=len(self.lines),
            streams=self.desk.open_streams,
            feeds={name: (feed.revision, feed.synced) for name, feed in self.feeds.items()},
            caches={row.qualified: self.registry.cache(row) for row in self.table.stored},
        )

    @staticmethod
    def _refusal(request: ApiRequest, error: errors.ApiError) -> ApiResponse:
        response, form = error_response(error), for_document(request)
        if form.encoding == "protobuf" and (encoded := protobuf.encode(error.to_status())) is not None:
            response.body, response.content_type = encoded, PROTOBUF
        return finish(response, form)

    async def _route(self, request: ApiRequest) -> Answer:
        info = self.identify(request)
        self._usage.announce()
        if info.resource:
            resource = self.table.find(info.group, info.version, info.resource)
            if resource is None:
                return path_not_found()
            return await self._objects.handle(request, info, resource, request.user or ANONYMOUS)
        if self.peers is not None and request.path.startswith(peers.PATH):
            return await self.peers.answer(request)
        if info.verb in {"get", "head"}:
            if (
                found := health.answer(request, ready=self.ready, synced={name: feed.synced for name, feed in self.feeds.items()})
            ) is not None:
                return found
            if request.path.rstrip("/") == servermetrics.PATH:
                return ApiResponse(200, self._scraped(), CONTENT_TYPE)
            if (found := self._discovery.answer(request)) is not None:
                return finish(found, for_document(request))
            slow = self._openapi.stale and request.path.startswith("/openapi")
            if (found := await aside(LARGE_BYTES if slow else 0, lambda: self._openapi.answer(request))) is not None:
                return found
            if request.path.rstrip("/") == backup.PATH:
                ephemeral = tuple(r.prefix() for r in self.table.all if r.store == "ephemeral")
                return await backup.answer(self.stores["main"], self.cluster, self.clock, without=ephemeral)
        return path_not_found()


def _store_error(error: base.StoreError) -> errors.ApiError:
    """Return what a caller is told about a failure of the store."""
    match error:
        case base.ValueTooLargeError():
            # Word for word what a kube-apiserver passes on, whichever back end this is: clients know no other answer for it.
            return errors.InternalError("etcdserver: request is too large", reason="")
        case base.StoreFullError():
            # Without Retry-After, so that clients show it instead of retrying for minutes.
            return errors.ServiceUnavailableError(
                f"the store is full: {error}. Reading and deleting still work: delete objects or free disk space"
            )
        case base.OutcomeUnknownError():
            return errors.TimeoutStatusError(
                f"the store did not confirm in time, the outcome is unknown: {error}. Read the object before you retry"
            )
        case base.CompactedError():
            return errors.GoneError(str(error))
        case _:
            return errors.ServiceUnavailableError(f"the store cannot be reached: {error}", details={"retryAfterSeconds": 1})
