"""Carries out the plan of a Workload: reads caches, writes Secrets, claims, Pods and the status.

One worker calls :meth:`WorkloadReconciler.reconcile` for each Workload that changed, or whose Pods, claims or Secrets
changed. Children have deterministic names, so a create that finds its object there has succeeded. The status is written only if it differs
from the stored one.
"""

from __future__ import annotations

import base64
import logging
import random
import secrets
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, assert_never

from controller import recording
from controller.facts import INDEX_OWNER
from controller.informers import INDEX_PASSWORD_SECRET, INDEX_WORKLOAD, Informers
from controller.reconcilers.workload import naming
from controller.reconcilers.workload.model import (
    Action,
    CreateClaim,
    CreatePod,
    CreateSecret,
    DeletePod,
    NameTaken,
    Observed,
    Plan,
    SetRetention,
)
from controller.reconcilers.workload.plan import make_plan
from lattice.api import configmap, errors, meta, names, pod, storage, workload
from lattice.client.client import Client
from lattice.machinery import controller, outcome
from lattice.machinery.clock import Clock
from lattice.machinery.entry import Entry
from lattice.machinery.keys import ObjectKey
from lattice.machinery.worker import WorkerSettings

logger = logging.getLogger(__name__)


class _NameTakenError(Exception):
    def __init__(self, taken: NameTaken) -> None:
        super().__init__(f"{taken.kind} {taken.name}")
        self.taken = taken


def generate_password() -> str:
    """Return 32 characters that need no quoting anywhere; 192 bits."""
    return secrets.token_urlsafe(24)


class WorkloadReconciler:
    """See the module."""

    def __init__(self, client: Client, informers: Informers, *, clock: Clock, recorder: recording.Recorder) -> None:
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self._workloads = informers.of(workload.Workload).cache
        self._pods = informers.of(pod.Pod).cache
        self._claims = informers.of(storage.PersistentVolumeClaim).cache
        self._secrets = informers.of(configmap.Secret).cache

    async def reconcile(self, key: ObjectKey) -> outcome.Result:
        """Make the Workload's children what its spec says. See ``lattice.machinery.outcome.Reconciler``."""
        entry = self._workloads.get(key)
        if entry is None or entry.projection.deleting:
            return outcome.Done()
        owner = entry.decode(workload.Workload)
        observed = self._observe(owner)
        plan = make_plan(observed)
        try:
            for action in plan.actions:
                await self._execute(owner, action)
        except _NameTakenError as error:
            plan = make_plan(replace(observed, name_taken=error.taken))
        except errors.InvalidError as error:
            plan = make_plan(replace(observed, rejected=error.message))
        await self._write_status(owner, plan)
        return outcome.RequeueAfter(plan.requeue_after_s) if plan.requeue_after_s is not None else outcome.Done()

    def _observe(self, owner: workload.Workload) -> Observed:
        index = f"{owner.namespace}/{naming.label_value(owner.name)}"
        claims = {e.key: e.decode(storage.PersistentVolumeClaim) for e in self._claims.by_index(INDEX_WORKLOAD, index)}
        for ordinal in range(owner.spec.replicas):
            key = ObjectKey(owner.namespace, naming.claim(owner.name, ordinal))
            entry = self._claims.get(key)
            if entry is not None and key not in claims:
                claims[key] = entry.decode(storage.PersistentVolumeClaim)
        return Observed(
            workload=owner,
            now=self._clock.now(),
            generated_password=generate_password(),
            pods=tuple(e.decode(pod.Pod) for e in self._pods.by_index(INDEX_OWNER, owner.uid)),
            claims=tuple(claims.values()),
            credentials=self._secret(owner.namespace, naming.credentials(owner.name)),
            given_password=self._given_password(owner),
        )

    def _secret(self, namespace: str, name: str) -> configmap.Secret | None:
        entry = self._secrets.get(ObjectKey(namespace, name))
        return entry.decode(configmap.Secret) if entry is not None else None

    def _given_password(self, owner: workload.Workload) -> str | None:
        source = owner.spec.preset.password_secret_ref if owner.spec.preset is not None else None
        secret = self._secret(owner.namespace, source.name) if source is not None else None
        if source is None or secret is None or source.key not in secret.data:
            return None
        try:
            return base64.b64decode(secret.data[source.key], validate=True).decode()
        except ValueError:
            return None  # the condition goes on saying that the key is waited for

    async def _execute(self, owner: workload.Workload, action: Action) -> None:
        match action:
            case CreateSecret(secret):
                await self._create(owner, secret)
            case CreateClaim(claim):
                await self._create(owner, claim)
            case CreatePod(new):
                if await self._create(owner, new):
                    self._tell(owner, "SuccessfulCreate", f"Created pod {new.name}")
            case DeletePod(name, uid, why):
                try:
                    await self._client.delete(pod.Pod, name, owner.namespace, uid=uid)
                except errors.NotFoundError:
                    return
                self._tell(owner, "SuccessfulDelete", f"Deleted pod {name}: {why}")
            case SetRetention():
                await self._set_retention(owner, action)
            case _:
                assert_never(action)

    async def _create(self, owner: workload.Workload, obj: meta.Object) -> bool:
        """Create a child; return whether it was not there yet.

        Raises:
            _NameTakenError: the name is somebody else's.
            ConflictError: it is one of ours that is going, or that we cannot see yet.
        """
        try:
            await self._client.create(obj)
            return True
        except errors.AlreadyExistsError:
            found = await self._client.get(type(obj), obj.name, owner.namespace)
        ours = any(reference.uid == owner.uid for reference in found.metadata.owner_references)
        labelled = found.metadata.labels.get(names.LABEL_WORKLOAD) == naming.label_value(owner.name)
        kept_data = not isinstance(obj, pod.Pod) and labelled and not found.metadata.owner_references
        if found.metadata.deletion_timestamp is not None or (labelled and not ours and not kept_data):
            raise errors.ConflictError(f"{found.kind} {found.name} is being deleted; its successor has to wait")
        if not ours and not kept_data:
            raise _NameTakenError(NameTaken(found.kind, found.name))
        return False

    async def _set_retention(self, owner: workload.Workload, action: SetRetention) -> None:
        metadata: dict[str, Any] = {
            "uid": action.uid,
            "resourceVersion": action.resource_version,
            "ownerReferences": [action.owner.to_dict()] if action.owner is not None else None,
        }
        if action.reclaim_policy is not None:
            metadata["annotations"] = {names.ANNOTATION_RECLAIM_POLICY: action.reclaim_policy}
        await self._client.patch(action.kind, action.name, owner.namespace, {"metadata": metadata})

    async def _write_status(self, owner: workload.Workload, plan: Plan) -> None:
        wanted = plan.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        stored = owner.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        if wanted == stored:
            return
        patch = {**dict.fromkeys(stored.keys() - wanted.keys()), **wanted}  # null takes a field away
        change = {"metadata": {"uid": owner.uid}, "status": patch}
        try:
            await self._client.patch(workload.Workload, owner.name, owner.namespace, change, subresource="status")
        except errors.NotFoundError:
            return
        if plan.status.phase != owner.status.phase and plan.status.phase in ("Running", "Failed", "Stopped"):
            progress = next((c.message for c in plan.status.conditions if c.type == "Progressing"), "")
            self._tell(owner, plan.status.phase, progress, warning=plan.status.phase == "Failed")

    def _tell(self, owner: workload.Workload, reason: str, message: str, *, warning: bool = False) -> None:
        regarding = recording.reference(workload.Workload, owner.namespace, owner.name, owner.uid)
        self._recorder.event(regarding, "Warning" if warning else "Normal", reason, message)


def build(
    client: Client, informers: Informers, *, clock: Clock, rng: random.Random, recorder: recording.Recorder
) -> controller.Controller[ObjectKey]:
    """Return the controller of Workloads."""
    workloads = informers.of(workload.Workload)

    def of_child(entry: Entry[Any]) -> Iterable[ObjectKey]:
        """Return the Workloads that an object is labelled for, or controlled by."""
        for owner in entry.projection.owners:
            if owner.controller and owner.kind == workload.Workload.KIND:
                yield ObjectKey(entry.key.namespace, owner.name)
        label = (entry.document()["metadata"].get("labels") or {}).get(names.LABEL_WORKLOAD)
        if label:
            yield ObjectKey(entry.key.namespace, label)

    def of_secret(entry: Entry[Any]) -> Iterable[ObjectKey]:
        yield from of_child(entry)
        for user in workloads.cache.by_index(INDEX_PASSWORD_SECRET, str(entry.key)):
            yield user.key

    return controller.Controller(
        "workload",
        WorkloadReconciler(client, informers, clock=clock, recorder=recorder),
        (
            controller.Source(informer=workloads, keys=controller.own_key),
            controller.Source(informer=informers.of(pod.Pod), keys=of_child, resync=False),
            controller.Source(informer=informers.of(storage.PersistentVolumeClaim), keys=of_child, resync=False),
            controller.Source(informer=informers.of(configmap.Secret), keys=of_secret, resync=False),
        ),
        clock=clock,
        rng=rng,
        settings=WorkerSettings(concurrency=8),
    )
