"""Docker as a :class:`nodeagent.runtime.base.Runtime`.

Called by the agent. Put together from parts, one for each kind of thing on the engine, which share one connection (``docker_engine.py``).
Translation is in ``docker_create.py`` and ``docker_values.py``, the meaning of errors in ``docker_errors.py``.
"""

from __future__ import annotations

from nodeagent.runtime.docker_containers import DockerContainers
from nodeagent.runtime.docker_disk import DockerDisk
from nodeagent.runtime.docker_engine import DockerEngine
from nodeagent.runtime.docker_images import DockerImages
from nodeagent.runtime.docker_networks import DockerNetworks
from nodeagent.runtime.docker_streams import DockerStreams
from nodeagent.runtime.docker_volumes import DockerVolumes


class DockerRuntime(DockerContainers, DockerDisk, DockerImages, DockerNetworks, DockerStreams, DockerVolumes):
    """Implements ``Runtime`` on a Docker engine.

    Args:
        host: ``unix:///path`` or ``tcp://host:port``; ``None``: as the ``docker`` command would choose.
    """

    def __init__(self, host: str | None = None) -> None:
        self._engine = DockerEngine(host)
        self._digests = {}

    async def close(self) -> None:
        """See ``Runtime``."""
        await self._engine.close()
