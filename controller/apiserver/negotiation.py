"""Content negotiation: from ``Accept``, ``pretty`` and the User-Agent to the form of an answer, as kube-apiserver decides it.

:func:`negotiate` is called once a request by ``handlers.py`` and ``server.py``; its result says three things that are independent of
each other: the encoding (JSON, YAML, protobuf), what the objects are turned into (nothing, ``Table``, ``PartialObjectMetadata`` or
``PartialObjectMetadataList`` of ``meta.k8s.io``) and whether the text is indented for a person. :func:`finish` brings a finished JSON
answer into that encoding. The conversions themselves are ``views.py``; gzip is the transport's.

Rules, in the order of :func:`_decide`: ranges by descending ``q``, specific ones before wildcards; each is tried against JSON, YAML and
protobuf in this order; a range with ``as`` that names a form which is not offered here is passed over. Nothing left: 406.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import orjson
import yaml

from controller.apiserver.request import JSON, TRUE, ApiRequest, ApiResponse
from lattice.api import errors

Encoding = Literal["json", "yaml", "protobuf"]
Target = Literal["", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"]

YAML: Final = "application/yaml"
PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
_MEMO_CHARACTERS: Final = 256
"""Longer Accept headers are read anew each time: some hundred of 32 KiB each would be megabytes for nobody."""
_TYPES: Final[Mapping[str, Encoding]] = {JSON: "json", YAML: "yaml", PROTOBUF: "protobuf"}
_TARGETS: Final[Mapping[str, Target]] = {
    "Table": "Table",
    "PartialObjectMetadata": "PartialObjectMetadata",
    "PartialObjectMetadataList": "PartialObjectMetadataList",
}
_VERSIONS: Final = frozenset({"v1", "v1beta1"})
_PEOPLE: Final = ("curl", "Wget", "Mozilla/5.0")
"""How the User-Agents begin for which kube-apiserver indents its answers."""
_MAX_RANGES: Final = 64
MAX_REFORMATTED_BYTES: Final = 1024 * 1024
"""Larger answers are not indented: nobody reads them, and nobody else is answered meanwhile. JSON is YAML, too."""
_BLOCK_YAML_BYTES: Final = 256 * 1024
"""Up to here YAML is written as people expect it, in about 0.1 s."""


@dataclass(frozen=True, slots=True)
class Form:
    """The form of an answer. ``version`` is of the group meta.k8s.io and says something only where ``target`` is set."""

    encoding: Encoding = "json"
    target: Target = ""
    version: str = "v1"
    pretty: bool = False

    @property
    def plain(self) -> bool:
        """Whether the bytes of an object can be sent as they are kept."""
        return self.encoding == "json" and not self.target and not self.pretty


PLAIN: Final = Form()
_PRETTY: Final = Form(pretty=True)


def negotiate(request: ApiRequest, *, stream: bool = False, listed: bool = False, protobuf: bool = True, transforms: bool = True) -> Form:
    """Return the form in which ``request`` is answered.

    Args:
        request: whose ``Accept``, ``User-Agent`` and ``pretty`` count.
        stream: the answer is a watch, which has no YAML form.
        listed: the answer is a list.
        protobuf: whether an unconverted object may be asked for as protobuf (custom resources have no such form).
        transforms: whether objects can be converted here (discovery and errors cannot).

    Raises:
        errors.NotAcceptableError: nothing that is asked for can be given.
    """
    accept = request.headers.get("accept", "")
    decide = _decide if len(accept) <= _MEMO_CHARACTERS else _decide.__wrapped__
    form = decide(accept, stream, listed, protobuf, transforms)
    if not stream and not form.pretty and wants_pretty(request):
        return _PRETTY if form is PLAIN else Form(form.encoding, form.target, form.version, pretty=True)
    return form


def wants_pretty(request: ApiRequest) -> bool:
    """Return whether a person is likely to read the answer: ``pretty`` says so, or a browser or a command line tool asks."""
    pretty = request.query.get("pretty", "")
    if pretty:
        return pretty in TRUE
    return request.headers.get("user-agent", "").startswith(_PEOPLE)


def for_document(request: ApiRequest) -> Form:
    """Return the form of an error or of discovery: never converted, and JSON where nothing else is agreed on."""
    try:
        return negotiate(request, transforms=False)
    except errors.NotAcceptableError:
        return PLAIN


@functools.lru_cache(maxsize=512)
def _decide(accept: str, stream: bool, listed: bool, protobuf: bool, transforms: bool) -> Form:
    if not accept or accept == "*/*":
        return PLAIN
    form = _form_of(accept, stream=stream, protobuf=protobuf, transforms=transforms)
    if form is not None:
        return form
    if not protobuf and not stream and _form_of(accept, protobuf=True) is not None:
        # kube-apiserver agrees to protobuf first and finds out when it encodes the object
        what = f"object *unstructured.Unstructured{'List' if listed else ''}"
        raise errors.NotAcceptableError(
            f"{what} does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message"
        )
    offered = [f"{name};stream=watch" for name in (JSON, PROTOBUF)] if stream else list(_TYPES)
    raise errors.NotAcceptableError(f"only the following media types are accepted: {', '.join(offered)}")


def _form_of(accept: str, *, protobuf: bool, stream: bool = False, transforms: bool = True) -> Form | None:
    for media, parameters in parse_accept(accept):
        for name, encoding in _TYPES.items():
            if media in {name, "application/*", "*/*"}:
                form = _form(encoding, parameters, stream=stream, protobuf=protobuf, transforms=transforms)
                if form is not None:
                    return form
    return None


def _form(encoding: Encoding, parameters: Mapping[str, str], *, stream: bool, protobuf: bool, transforms: bool) -> Form | None:
    """Return the form that one media range asks for, ``None`` where it cannot be had."""
    if parameters.get("stream", "") not in {"", "watch"} or (stream and encoding == "yaml"):
        return None
    converted = not parameters.keys().isdisjoint({"as", "g", "v"})
    if not converted:
        if encoding == "protobuf" and not protobuf:
            return None
        return Form(encoding, pretty=parameters.get("pretty") == "1")
    target = _TARGETS.get(parameters.get("as", ""))
    version = parameters.get("v", "")
    if not transforms or target is None or parameters.get("g") != "meta.k8s.io" or version not in _VERSIONS:
        return None
    if encoding == "protobuf":
        return None  # real servers have protobuf here for metadata; whoever asks for it names JSON as well
    return Form(encoding, target, version, pretty=parameters.get("pretty") == "1")


def parse_accept(accept: str) -> list[tuple[str, dict[str, str]]]:
    """Return the media ranges of an ``Accept`` header with their parameters, best first; what is no media range is left out."""
    found: list[tuple[tuple[float, bool, bool], str, dict[str, str]]] = []
    for part in accept.split(",")[:_MAX_RANGES]:
        media, *rest = (piece.strip() for piece in part.split(";"))
        if media == "*":
            media = "*/*"
        if media.count("/") != 1:
            continue
        parameters: dict[str, str] = {}
        for piece in rest:
            name, equal, value = piece.partition("=")
            if equal and "=" not in value:
                parameters[name.strip()] = value.strip()
        quality = _quality(parameters.pop("q", "1"))
        found.append(((-quality, media.startswith("*/"), media.endswith("/*")), media.lower(), parameters))
    found.sort(key=lambda item: item[0])
    return [(media, parameters) for _, media, parameters in found]


def _quality(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0.0 <= value <= 1.0 else 0.0


def finish(response: ApiResponse, form: Form) -> ApiResponse:
    """Return a JSON answer in the encoding of ``form``; anything else is returned as it is.

    Protobuf is made where the message is known (``protobuf.encode``), before this is called: what arrives here stays JSON.
    """
    if response.content_type != JSON or (form.encoding != "yaml" and not form.pretty) or not response.body:
        return response
    if response.size_bytes > MAX_REFORMATTED_BYTES:
        return replace(response, content_type=YAML if form.encoding == "yaml" else JSON)
    if form.encoding == "yaml":
        return replace(response, body=to_yaml(response.whole()), items=None, content_type=YAML)
    return replace(response, body=orjson.dumps(orjson.loads(response.whole()), option=orjson.OPT_INDENT_2), items=None)


_Base: Final[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_Base):  # type: ignore[misc]  # which of the two, the build of PyYAML decides
    """Writes every value out in full: an alias would be legal YAML and is not what kube-apiserver sends."""

    def ignore_aliases(self, _data: Any) -> bool:
        """See the base class."""
        return True


def to_yaml(body: bytes) -> bytes:
    """Return JSON as YAML, keys sorted as kube-apiserver does. A large answer stays JSON, which is YAML too and costs nothing."""
    value = orjson.loads(body)
    if len(body) > _BLOCK_YAML_BYTES:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    text: bytes = yaml.dump(value, Dumper=_Dumper, encoding="utf-8", allow_unicode=True, width=2**30)
    return text
