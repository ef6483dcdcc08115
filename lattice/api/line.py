"""The language between API server and node agent on their own WebSockets: the control line and the streams. Pure values.

**Control line** (``GET /api/v1/nodes/<name>/line``, one per node, opened by the agent, text messages of JSON). The server asks, the agent
answers, in any order:

    server → agent   {"id": 7, "question": {"kind": "dial", ...}}
    agent → server   {"id": 7, "answer": ...}   or   {"id": 7, "error": <Status>}

**Streams** (``GET /api/v1/nodes/<name>/streams?id=<id>``, one WebSocket each, opened by the agent when it is asked to ``dial``, or ahead
of time without an id: a warm one). First come two text messages: the server's question, such as ``{"kind": "exec", ...}``, and the
agent's answer ``{"answer": {}}`` or ``{"error": <Status>}``. Then binary messages: one byte that names the channel, then data. The
channels are those of Kubernetes' ``v5.channel.k8s.io``, so that exec and attach pass through a server as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from lattice.api import errors

STDIN: Final = 0
"""To the program; of a port-forward: to the port, and from it."""
STDOUT: Final = 1
STDERR: Final = 2
STATUS: Final = 3
"""From the node, once, at the end: a Status in JSON. A stream without it broke off."""
RESIZE: Final = 4
"""To the program: ``{"Width": 80, "Height": 24}``."""
CLOSE: Final = 255
"""The byte that follows names a channel on which nothing more comes."""

DIAL: Final = "dial"
"""Question: open a stream with the id ``stream``."""
LOGS: Final = "logs"
EXEC: Final = "exec"
ATTACH: Final = "attach"
FORWARD: Final = "forward"

FAILURES: Final = "failures"
"""Question: the record of failures of the Pod ``podUid``: ``{"failures": [record, …]}``, the oldest first."""
USAGE: Final = "usage"
"""Question on the control line: what do this node and its Pods use? Answered by ``nodeagent.usage``."""

MAX_STREAMS: Final = 64
"""Streams of one node at a time. The agent's connections to the server are 100, and its watch and writes need some."""
MAX_QUESTIONS: Final = 64
"""Questions on a control line that are not answered yet."""


class MessageError(errors.LatticeError):
    """The other end sent what is no message of this language."""


def encode_question(number: int, question: Mapping[str, Any]) -> str:
    """Return a control line's question."""
    return orjson.dumps({"id": number, "question": dict(question)}).decode()


def encode_answer(number: int | None, answer: Any) -> str:
    """Return an answer; ``number`` is ``None`` on a stream."""
    return orjson.dumps({**_numbered(number), "answer": answer}).decode()


def encode_error(number: int | None, error: errors.LatticeError) -> str:
    """Return the answer that says an error."""
    said = error if isinstance(error, errors.ApiError) else errors.InternalError(str(error)[:4096])
    return orjson.dumps({**_numbered(number), "error": said.to_status()}).decode()


def parse(message: bytes | str | None) -> dict[str, Any]:
    """Return a text message's object.

    Raises:
        MessageError: it is none.
    """
    if not isinstance(message, str):
        raise MessageError("expected a text message with a JSON object")
    try:
        found = orjson.loads(message)
    except orjson.JSONDecodeError as error:
        raise MessageError(f"a text message is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise MessageError("a text message is no JSON object")
    return found


def answer_of(message: Mapping[str, Any]) -> Any:
    """Return what an answer says.

    Raises:
        errors.ApiError: it says an error.
        MessageError: it is no answer.
    """
    if isinstance(status := message.get("error"), dict):
        raise errors.from_status(status)
    if "answer" not in message:
        raise MessageError("a message is neither an answer nor an error")
    return message["answer"]


def _numbered(number: int | None) -> dict[str, int]:
    return {} if number is None else {"id": number}
