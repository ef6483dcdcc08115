"""Streams of Pods: ``log``, ``exec``, ``attach`` and ``portforward``, joined to what the node does (``controller.relay``)."""
