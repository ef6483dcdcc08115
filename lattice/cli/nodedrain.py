"""``lattice node cordon|uncordon|drain|approve-removals``: what an operator does to a node through the API server, without kubectl.

The same requests as kubectl's, so that one may begin with the other and go on with this.
"""

from __future__ import annotations

from typing import Final

import click

from lattice.api import errors, names, node, pod
from lattice.cli.options import Connection, connected, run_async
from lattice.client.client import Client
from lattice.machinery.clock import Clock, SystemClock

VERBS: Final = ("approve-removals", "cordon", "drain", "uncordon")
_LOOK_S: Final = 0.5
_ENDED: Final = ("Succeeded", "Failed")


@click.command("cordon")
@click.argument("name")
@connected
def cordon(name: str, connection: Connection) -> None:
    """Let no new Pod onto a node."""
    run_async(_mark(name, connection, unschedulable=True))


@click.command("uncordon")
@click.argument("name")
@connected
def uncordon(name: str, connection: Connection) -> None:
    """Let new Pods onto a node again."""
    run_async(_mark(name, connection, unschedulable=False))


@click.command("drain")
@click.argument("name")
@click.option("--force", is_flag=True, help="Also evict Pods that nobody makes again: they are lost.")
@click.option("--delete-emptydir-data", is_flag=True, help="Also evict Pods with an emptyDir: its data is lost.")
@click.option("--grace-period", type=click.IntRange(min=0), metavar="SECONDS", help="Instead of each Pod's own.")
@click.option("--timeout", type=click.IntRange(min=1), default=600, show_default=True, metavar="SECONDS", help="How long to wait.")
@click.option("--dry-run", is_flag=True, help="Only show.")
@connected
def drain(
    name: str, force: bool, delete_emptydir_data: bool, grace_period: int | None, timeout: int, dry_run: bool, connection: Connection
) -> None:
    """Empty a node: cordon it, evict its Pods, wait until they have ended.

    A Workload's Pods are made again on other nodes, where there is room. Nothing is evicted if one of the Pods may not be.
    """
    run_async(_drain(name, connection, force, delete_emptydir_data, grace_period, timeout, dry_run))


@click.command("approve-removals")
@click.argument("name")
@connected
def approve_removals(name: str, connection: Connection) -> None:
    """Let the removals go on that a node holds back, because they were too many at once."""
    run_async(_approve(name, connection))


async def _mark(name: str, connection: Connection, *, unschedulable: bool) -> None:
    async with connection.client() as (client, _):
        await _set(client, name, unschedulable=unschedulable)


async def _set(client: Client, name: str, *, unschedulable: bool) -> None:
    word = "cordoned" if unschedulable else "uncordoned"
    found = await client.get(node.Node, name)
    if bool(found.spec.unschedulable) is unschedulable:
        click.echo(f"node {name} is {word} already")
        return
    await client.patch(node.Node, name, None, {"spec": {"unschedulable": unschedulable or None}})
    click.echo(f"node {name} {word}")


async def _drain(
    name: str, connection: Connection, force: bool, lose_scratch: bool, grace_s: int | None, timeout_s: int, dry_run: bool
) -> None:
    clock = SystemClock()
    async with connection.client() as (client, _):
        if dry_run:
            await client.get(node.Node, name)
        else:
            await _set(client, name, unschedulable=True)
        found = (await client.list(pod.Pod, field_selector=f"spec.nodeName={name}")).items
        _refuse(found, force=force, lose_scratch=lose_scratch)
        for each in found:
            click.echo(f"pod {each.namespace}/{each.name} {'would be evicted' if dry_run else 'is evicted'}")
            if not dry_run:
                await _evict(client, each, grace_s, clock, timeout_s)
        if dry_run:
            return
        await _wait(client, found, name, clock, timeout_s)
        click.echo(f"node {name} is empty; `lattice node uncordon {name}` lets Pods onto it again")


def _refuse(pods: tuple[pod.Pod, ...], *, force: bool, lose_scratch: bool) -> None:
    """Refuse before anything is evicted, as kubectl does."""
    alone = [f"{p.namespace}/{p.name}" for p in pods if not force and not _has_owner(p) and p.status.phase not in _ENDED]
    scratch = [f"{p.namespace}/{p.name}" for p in pods if not lose_scratch and _has_scratch(p) and p.status.phase not in _ENDED]
    problems = []
    if alone:
        problems.append(f"nobody would make these Pods again (--force loses them): {', '.join(alone)}")
    if scratch:
        problems.append(f"these Pods have an emptyDir (--delete-emptydir-data loses it): {', '.join(scratch)}")
    if problems:
        raise errors.UsageError(f"the node is cordoned, and no Pod was evicted: {'; '.join(problems)}")


def _has_owner(each: pod.Pod) -> bool:
    return any(ref.controller for ref in each.metadata.owner_references)


def _has_scratch(each: pod.Pod) -> bool:
    return any(volume.empty_dir is not None for volume in each.spec.volumes)


async def _evict(client: Client, each: pod.Pod, grace_s: int | None, clock: Clock, timeout_s: int) -> None:
    deadline_s = clock.monotonic() + timeout_s
    while True:
        try:
            await client.evict(each.name, each.namespace or "", uid=each.uid, grace_period_s=grace_s)
        except errors.TooManyRequestsError as error:
            if clock.monotonic() > deadline_s:
                raise
            await clock.sleep(min(5.0, max(_LOOK_S, error.retry_after_s)))
            continue
        except (errors.NotFoundError, errors.ConflictError):  # gone, or another one of its name
            return
        return


async def _wait(client: Client, evicted: tuple[pod.Pod, ...], name: str, clock: Clock, timeout_s: int) -> None:
    deadline_s = clock.monotonic() + timeout_s
    uids = {each.uid for each in evicted}
    while True:
        left = [each for each in (await client.list(pod.Pod, field_selector=f"spec.nodeName={name}")).items if each.uid in uids]
        if not left:
            return
        if clock.monotonic() > deadline_s:
            shown = ", ".join(f"{each.namespace}/{each.name}" for each in left[:10])
            raise errors.UnavailableError(f"not ended within {timeout_s} s: {shown}; the node stays cordoned, drain it again to wait on")
        await clock.sleep(_LOOK_S)


async def _approve(name: str, connection: Connection) -> None:
    async with connection.client() as (client, _):
        found = await client.get(node.Node, name)
        occasion = found.metadata.annotations.get(names.ANNOTATION_REMOVALS_HELD)
        if not occasion:
            click.echo(f"node {name} holds no removals back")
            return
        condition = next((each for each in found.status.conditions if each.type == names.CONDITION_REMOVALS_HELD), None)
        await client.patch(node.Node, name, None, {"metadata": {"annotations": {names.ANNOTATION_REMOVALS_APPROVED: occasion}}})
        click.echo(f"approved: {condition.message if condition is not None else f'node {name} goes on with what it held back'}")
