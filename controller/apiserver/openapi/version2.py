"""``/openapi/v2`` for those who cannot do without: a document that knows no kind.

kubectl validates objects by what ``/openapi/v3`` says, but two things it judges by version 2 alone, and fails where that is 404: a manifest
of kind ``List`` (what ``kubectl get -o yaml`` prints for several objects; also ``kubectl edit`` of several), and kinds that are not served
at all, for which it then says "could not find the requested resource" where "no matches for kind" is meant. GitOps tools read version 2
before they do anything. To all of them a kind that the document does not have is one they need not check themselves: the server does. So
the protobuf form, the only one they ask for, has no kinds. Any other form is 404, and a client that wants schemas uses version 3.
"""

from __future__ import annotations

from typing import Final

from controller.apiserver.request import ApiRequest, ApiResponse

_ASKED: Final = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_ANSWERED: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""The same type, spelled as an answer may spell it."""
_ETAG: Final = '"no-kinds-1"'


def _field(number: int, content: bytes) -> bytes:
    return bytes((number << 3 | 2, len(content))) + content


_DOCUMENT: Final = _field(1, b"2.0") + _field(2, _field(1, b"Lattice") + _field(2, b"v1")) + _field(8, b"")
"""``openapi.v2.Document``: swagger, info (title, version), paths without any."""


def answer(request: ApiRequest) -> ApiResponse | None:
    """Return the document in protobuf to who asks for that, ``None`` to all others."""
    accepted = {part.partition(";")[0].strip() for part in request.headers.get("accept", "").split(",")}
    if not accepted & {_ASKED, _ANSWERED}:
        return None
    headers = {"Etag": _ETAG, "Vary": "Accept", "Cache-Control": "no-cache, private"}
    if _ETAG in (given.strip().removeprefix("W/") for given in request.headers.get("if-none-match", "").split(",")):
        return ApiResponse(304, b"", "", headers)
    return ApiResponse(200, _DOCUMENT, _ANSWERED, headers)
