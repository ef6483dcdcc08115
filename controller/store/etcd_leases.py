"""Leases for keys with a time to live: few, shared by the keys that end at about the same time. Used by ``etcd.py`` alone.

A lease per key would cost one more write per key, and etcd keeps all leases in memory. So a lease is granted for a little longer than
what was asked and given to every key with the same time to live until that little is used up: a key ends not before its time, and at most
5 % (at least one second) after it. An expiry deletes all keys of a lease in one revision, so a lease is given to so many keys only.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Final

from controller.store import etcd_messages
from controller.store.etcd_channel import EtcdChannel
from lattice.machinery.clock import Clock

_SLACK: Final = 0.05
_KEYS: Final = 500


@dataclass(slots=True)
class _Lease:
    lease_id: int
    until_s: float
    """Monotonic time until which it may be given out."""
    keys: int = 0


class Leases:
    """Hands out leases, granting a new one where the last does not do any more."""

    def __init__(self, channel: EtcdChannel, clock: Clock) -> None:
        self._channel = channel
        self._clock = clock
        self._leases: dict[int, _Lease] = {}
        self._lock = asyncio.Lock()

    async def lease_for(self, ttl_s: int) -> int:
        """Return the id of a lease that lives for at least ``ttl_s`` from now.

        Raises:
            base.StoreError: it cannot be granted.
        """
        async with self._lock:
            lease = self._leases.get(ttl_s)
            if lease is None or lease.keys >= _KEYS or self._clock.monotonic() > lease.until_s:
                slack_s = max(1, math.ceil(ttl_s * _SLACK))
                asked_at_s = self._clock.monotonic()  # before it is granted, so that a slow answer errs to the safe side
                answer = await self._channel.call("LeaseGrant", etcd_messages.LeaseGrantRequest(TTL=ttl_s + slack_s), write=True)
                lease = self._leases[ttl_s] = _Lease(answer.ID, asked_at_s + slack_s / 2)
            lease.keys += 1
            return lease.lease_id

    def forget(self) -> None:
        """Grant new ones from now on: one of those known has expired, as after a long pause of this machine."""
        self._leases.clear()
