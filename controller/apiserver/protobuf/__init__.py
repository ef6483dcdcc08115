"""Kubernetes' protobuf form of the objects that typed clients send that way: bodies to JSON objects, JSON objects to answers.

kubectl sends ``auth can-i``, ``auth whoami``, ``create namespace`` and the like as ``application/vnd.kubernetes.protobuf`` and does not try
JSON when that is refused. Used where bodies are read and where answers are written; everything in between sees JSON objects.

:func:`decode` raises :class:`~lattice.api.errors.BadRequestError` for whatever is not a message of a known kind, in bounded time and
memory. :func:`encode` returns ``None`` for an object that it cannot render without loss: the caller then answers in JSON, which every
client that asks for protobuf accepts too.

No protobuf library stands behind it. What is needed is small (``wire.py``), and two things that libraries do not give are: Go's rule
that a zero value is written and an absent pointer is not, by which our bytes equal kube-apiserver's, and a bound on how much a body of
two-byte messages may become in memory. The tests hold it against the library.
"""

from controller.apiserver.protobuf.codec import MAX_JSON_BYTES, MEDIA_TYPE, decode, encode

__all__ = ["MAX_JSON_BYTES", "MEDIA_TYPE", "decode", "encode"]
