"""The agent's data directory: identity, cluster mark, last desired set; and the lock that keeps a second agent out.

::

    <data dir>/            0700
      lock                 held (flock) by the running agent
      node.json            {"uuid": ...}             the Node's identity, made once
      node.key             32 bytes                  what Secrets are sealed with, see ``sealing.py``
      cluster.json         {"clusterID", "epoch", "revision"}  the cluster it belongs to, the highest epoch and revision of its store seen
      desired.json         line 1: {"format": 2, "sha256": <of line 2>}; line 2: {"objects": [Pods, ConfigMaps, claims, volumes],
                           "sealed": base64 of the sealed JSON list of Secrets}
      ended                one uid a line: Pods of ``desired.json`` whose end this node has reached, so that an agent that is killed
                           before it writes the next set does not start them again
      journal              results that are not handed in yet, see ``journal.py``

Every file is 0600, replaced atomically and synced with its directory. A damaged ``desired.json`` is as good as none, and so is one of a
format that a newer agent wrote; a damaged identity stops the agent. Format 1 (line 1: the sha256 alone, line 2: a list without Secrets and
ConfigMaps) is read, not written.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from lattice.api import configmap, errors, meta, scheme
from lattice.machinery.filelock import FileLock
from nodeagent.journal import Journal
from nodeagent.sealing import NodeKey, SealError

logger = logging.getLogger(__name__)

FORMAT: Final = 2
"""Of ``desired.json``. Every later agent reads all earlier formats: the files of each are in ``tests/data/checkpoint``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterMark:
    """Which cluster, and how new its store. Epoch first, then revision: a restore raises the epoch and may lower the revision."""

    cluster_id: str
    epoch: int
    revision: int | None = None
    """Of the store, at the last snapshot; ``None``: not told."""


class DataDirectory:
    """The files of one agent."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = FileLock(root / "lock")
        self._key = NodeKey(root / "node.key")
        self.journal = Journal(root / "journal")
        """Results that are not handed in; open while the directory is."""
        self._mark: ClusterMark | None = None
        self._saved = b""
        self._ended: set[str] = set()
        """Uids in the file ``ended``: not to be loaded, not to be saved."""

    def open(self) -> None:
        """Make the directory and take its lock.

        Raises:
            errors.InUseError: another agent runs on it.
            errors.UsageError: it cannot be written.
        """
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._root.chmod(0o700)
            self._lock.acquire()
        except BlockingIOError as error:
            raise errors.InUseError(f"another agent runs on the data directory {self._root}: stop it, or use another --data-dir") from error
        except OSError as error:
            raise errors.UsageError(f"cannot use the data directory {self._root}: {error.strerror}") from error

        self.journal.open()

    def close(self) -> None:
        """Give the lock back."""
        self.journal.close()
        self._lock.release()

    def node_uid(self) -> str:
        """Return the Node's identity, made at the first call of all."""
        path = self._root / "node.json"
        if path.exists():
            try:
                return str(uuid.UUID(orjson.loads(path.read_bytes())["uuid"]))
            except (ValueError, KeyError, TypeError) as error:
                raise errors.UsageError(f"{path} does not hold a node's identity; restore it, or remove it to become a new node") from error
        made = str(uuid.uuid4())
        _write(path, orjson.dumps({"uuid": made}))
        return made

    def cluster_mark(self) -> ClusterMark | None:
        """Return the cluster that this node belongs to, ``None`` before the first connection."""
        path = self._root / "cluster.json"
        if self._mark is None and path.exists():
            try:
                data = orjson.loads(path.read_bytes())
                revision = data.get("revision")
                self._mark = ClusterMark(
                    cluster_id=str(data["clusterID"]), epoch=int(data["epoch"]), revision=None if revision is None else int(revision)
                )
            except (ValueError, KeyError, TypeError) as error:
                raise errors.UsageError(f"{path} is damaged; remove it if this node has not changed its cluster") from error
        return self._mark

    def set_cluster_mark(self, mark: ClusterMark) -> None:
        """Remember a cluster, epoch and revision.

        Raises:
            OSError: another cluster or epoch could not be written. A revision that could not be is remembered until the agent ends.
        """
        known = self.cluster_mark()
        if mark == known:
            return
        try:
            content = {"clusterID": mark.cluster_id, "epoch": mark.epoch, "revision": mark.revision}
            _write(self._root / "cluster.json", orjson.dumps(content))
        except OSError as error:
            if known is None or (known.cluster_id, known.epoch) != (mark.cluster_id, mark.epoch):
                raise
            logger.debug("cannot write the revision of the last snapshot", extra={"error": str(error)[:200]})
        self._mark = mark

    def mark_ended(self, pod_uid: str) -> None:
        """Note, durably, that a Pod has ended here. Must come before the server is told: then nobody else will say so again."""
        if pod_uid in self._ended:
            return
        handle = os.open(self._root / "ended", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, pod_uid.encode() + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)
        self._ended.add(pod_uid)

    def save_desired(self, *groups: Iterable[meta.Object]) -> None:
        """Write the last desired set without the Pods that have ended, if it differs from what was written.

        Raises:
            OSError: the disk is full, or broken; what was there before is still there.
        """
        kept = [obj for group in groups for obj in group if obj.uid not in self._ended]
        secrets = orjson.dumps([obj.to_dict() for obj in kept if isinstance(obj, configmap.Secret)])
        objects = orjson.dumps([obj.to_dict() for obj in kept if not isinstance(obj, configmap.Secret)])
        digest = hashlib.sha256(objects + b"\0" + secrets).digest()  # a seal differs each time: compare what is sealed
        if digest == self._saved:
            return
        sealed = base64.b64encode(self._key.seal(secrets))
        body = b'{"objects":' + objects + b',"sealed":"' + sealed + b'"}'
        header = orjson.dumps({"format": FORMAT, "sha256": hashlib.sha256(body).hexdigest()})
        _write(self._root / "desired.json", header + b"\n" + body)
        self._saved = digest
        # The set on disk has none of them any more. The uids stay in memory: a Pod whose end the server has not yet taken
        # note of is still in the next set that is saved.
        (self._root / "ended").unlink(missing_ok=True)

    def load_desired(self) -> list[meta.Object]:
        """Return the last desired set without the Pods that have ended; empty if there is none, or it is damaged.

        Without its Secrets, if they cannot be opened: then what needs them waits for the server.
        """
        try:
            self._ended = set((self._root / "ended").read_text(errors="replace").split())
        except OSError:
            self._ended = set()
        try:
            documents = self._documents((self._root / "desired.json").read_bytes())
            found = [scheme.parse_object(document) for document in documents]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("cannot use the last desired set, waiting for the server", extra={"error": str(error)[:200]})
            return []
        return [obj for obj in found if obj.uid not in self._ended]

    def _documents(self, content: bytes) -> list[dict[str, Any]]:
        head, _, body = content.partition(b"\n")
        header: dict[str, Any] = orjson.loads(head) if head.startswith(b"{") else {"format": 1, "sha256": head.decode()}
        if header["format"] > FORMAT:
            raise ValueError(f"it has format {header['format']}, written by a newer agent; this one reads up to {FORMAT}")
        if hashlib.sha256(body).hexdigest() != header["sha256"]:
            raise ValueError("its checksum is wrong")
        if header["format"] == 1:
            return list(orjson.loads(body))
        data = orjson.loads(body)
        try:
            secrets = orjson.loads(self._key.open(base64.b64decode(data["sealed"])))
        except SealError as error:
            logger.warning("cannot open the Secrets of the last desired set, waiting for the server", extra={"error": str(error)[:200]})
            secrets = []
        return [*data["objects"], *secrets]


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)  # the new name, too, survives a power cut
    finally:
        os.close(directory)
