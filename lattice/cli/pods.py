"""Which Pods a command of a person is about: ``NAME``, ``pod/NAME`` or ``workload/NAME``."""

from __future__ import annotations

from urllib.parse import quote

from lattice.api import errors, names, pod, workload
from lattice.cli import kinds
from lattice.client.client import Client


async def find(client: Client, namespace: str, target: str) -> list[pod.Pod]:
    """Return the Pods, those of a Workload in the order of their names.

    Raises:
        errors.NotFoundError: there is none.
        errors.UsageError: it names another kind.
    """
    word, slash, name = target.partition("/")
    kind = kinds.find(word) if slash else pod.Pod
    if kind is pod.Pod:
        return [await client.get(pod.Pod, name or word, namespace)]
    if kind is not workload.Workload or not name:
        raise errors.UsageError(f"{target}: name a Pod, such as `web-0` or `pod/web-0`, or a Workload: `workload/web`")
    found = await client.list(pod.Pod, namespace, label_selector=f"{names.LABEL_WORKLOAD}={name}")
    if not found.items:
        await client.get(workload.Workload, name, namespace)
        raise errors.NotFoundError(f'the workload "{name}" has no Pods now; `lattice describe workload {name}` says why')
    return sorted(found.items, key=lambda each: each.name)


async def find_one(client: Client, namespace: str, target: str) -> pod.Pod:
    """Return the Pod; of a Workload the first that runs."""
    found = await find(client, namespace, target)
    return next((each for each in found if each.status.phase == "Running"), found[0])


def path_of(found: pod.Pod, subresource: str) -> str:
    """Return the path of a Pod's subresource."""
    return f"/api/v1/namespaces/{quote(found.metadata.namespace or 'default')}/pods/{quote(found.name)}/{subresource}"
