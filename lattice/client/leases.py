"""Reads and writes leases through the typed client.

The composition roots give it to :class:`lattice.machinery.leaderelection.LeaderElector`, whose ``LeaseClient`` it is. No retries here: the
elector owns them.
"""

from __future__ import annotations

from lattice.api.lease import Lease
from lattice.client.client import Client


class ClientLeases:
    """Leases of the API.

    Args:
        client: carries the requests.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def get(self, name: str, namespace: str) -> Lease:
        """Return a lease.

        Raises:
            errors.NotFoundError: there is none.
        """
        return await self._client.get(Lease, name, namespace)

    async def create(self, lease: Lease) -> Lease:
        """Store a new lease.

        Raises:
            errors.AlreadyExistsError: there is one.
        """
        return await self._client.create(lease)

    async def replace(self, lease: Lease) -> Lease:
        """Store a lease that nobody has changed since it was read.

        Raises:
            errors.ConflictError: somebody has.
        """
        return await self._client.replace(lease)
