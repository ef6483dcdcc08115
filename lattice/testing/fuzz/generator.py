"""A seed to an endless list of requests over every way to write, and the ways to read that take parameters.

It never looks at answers: the same seed and number of a worker give the same requests for ever. What a correct request would have to know
of an answer (a resourceVersion, a uid) is written as a mark, which the sender replaces by what it saw last (:data:`VERSION_MARK`).
Each worker has names of its own, so that two of them meet only at odd names and at whole collections.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from random import Random
from typing import Any, Final
from urllib.parse import quote

import yaml

from lattice.testing.fuzz import mutation, protobuf
from lattice.testing.fuzz.subjects import (
    BUILT_IN,
    CUSTOM,
    DEFINITIONS,
    GROUP,
    HOSTILE_PATTERNS,
    HOSTILE_RULES,
    NAMESPACE,
    REVIEWS,
    Subject,
    definition,
)
from lattice.testing.fuzz.wire import Framing, Request

VERSION_MARK: Final = "999999990999999"
UID_MARK: Final = "00000000-f055-0000-0000-000000000000"

_JSON: Final = "application/json"
_PATCHES: Final = (
    "application/merge-patch+json", "application/merge-patch+json", "application/merge-patch+json", "application/json-patch+json",
    "application/json-patch+json", "application/strategic-merge-patch+json", "application/strategic-merge-patch+json",
    "application/apply-patch+yaml", "application/apply-patch+yaml", "application/apply-patch+yaml",
)  # fmt: skip
_TYPES: Final = (
    "application/json; charset=utf-8", "application/json; charset=latin-1", "application/yaml", "text/plain", "", ";;;", "*/*",
    "application/",
    "application/vnd.kubernetes.protobuf", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/cbor",
    "APPLICATION/JSON", "application/merge-patch+json", "text/yaml", "application/json,application/yaml",
)  # fmt: skip
_ACCEPTS: Final = (
    "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "text/html", ";q=,,",
    "*/*;q=x", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf",
    "application/vnd.kubernetes.protobuf,application/json", "application/yaml", "application/json;as=Nothing;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/json;as=Table;v=v9;g=x", "," * 2000, "",
    "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io", "application/json;stream=watch", "é",
)  # fmt: skip
_PARAMETERS: Final = (
    "limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector", "timeoutSeconds", "watch", "dryRun",
    "fieldManager", "fieldValidation", "force", "propagationPolicy", "gracePeriodSeconds", "orphanDependents", "allowWatchBookmarks",
    "sendInitialEvents", "includeObject", "pretty", "shardSelector", "ignoreStoreReadErrorWithClusterBreakingPotential", "timeout", "",
)  # fmt: skip


def _token(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


_VALUES: Final = (
    "", "0", "1", "-1", "²", "true", "TRUE", "abc", "NaN", "1e9", "9" * 40, "-" + "9" * 20, "18446744073709551616", "2147483648", "1.5",
    "\0", "\u0661", " 1", "a=b", "a in (", "a in (b,c", "a in (b,c)", "a notin ()", "a>1", "!a", "!", "==", "a=b,,", "metadata.name=\0",
    "metadata.name!=x", "spec.nodeName=", "spec.image=x", "status.phase\\=x", "a=\\", "x" * 5_000, "a=b," * 2_000 + "a", "All", "None",
    "Strict", "Ignore", "Warn", "Exact", "NotOlderThan", "Background", "Foreground", "Orphan", "Metadata", "Object", "====", "é", "_w",
    _token({"v": "meta.k8s.io/v1", "rv": 2**62, "start": "a\0"}), _token([]), _token({"v": "meta.k8s.io/v1", "rv": True, "start": "\0"}),
    _token({"v": "meta.k8s.io/v1", "rv": 1, "start": "/../\0"}), _token({"v": "meta.k8s.io/v1", "rv": -1, "start": "fuzz\0"}),
    _token({"v": "meta.k8s.io/v1", "rv": 1e308, "start": {"a": 1}}), VERSION_MARK, "manager\n", "m" * 200, "999999999999",
)  # fmt: skip
_GOOD: Final = {
    "dryRun": "All", "fieldManager": "fuzz", "fieldValidation": "Strict", "force": "true", "propagationPolicy": "Background", "limit": "2",
    "gracePeriodSeconds": "0", "labelSelector": "fuzz=yes", "fieldSelector": "metadata.name=w0-a", "pretty": "true",
}  # fmt: skip
_ODD_NAMES: Final = (
    "%2F", "..%2F..", "%00", "%ff", "%C0%80", "A", "x" * 300, "%20", "a%2Fstatus", "%F0%9F%98%80", "a;b", "%25", "..", ".", "a/b/c", "%",
    "%zz", "a%0d%0aX:1", "status", "?x", "#f", "a:b", "-", "%E2%80%AE", "w0-a/", "/", "a..b", "x" * 5000,
)  # fmt: skip
_ODD_PATHS: Final = (
    "/", "//", "/api", "/api/", "/api/v1", "/api/v2/pods", "/apis", "/apis/", "/apis/%2F", "/apis//v1", "/apis/apps/v1/deployments",
    "/api/v1/",
    "/api/v1/namespaces/fuzz", "/api/v1/namespaces//pods", "/api/v1/namespaces/%00/pods", "/api/v1/nonesuch", "/api/v1/watch/pods/x/y",
    "/api/v1/namespaces/fuzz/pods/a/proxy/x", "/apis/fuzz.example", "/apis/fuzz.example/v1/", "/apis/fuzz.example/v9/gears", "/../../etc",
    "/openapi/v3/apis/fuzz.example/v1?hash=x", "/openapi/v3/%2e%2e", "/openapi/v2", "/version/", "/healthz/x", "/livez?verbose=%zz", "*",
    "/metrics?x[]=1", "/api/v1/pods?" + "a=b&" * 5000, "/" + "a/" * 3000, "/" + "x" * 20_000, "http://x/api/v1/pods", "/api/v1/pods#x",
    "/api/v1/namespaces/fuzz/configmaps/w0-a/status/x", "/\xff", "/api/v1/namespaces/fuzz/pods/w0-a/exec?command=x", "/logs",
    "/lattice/v1/x",
)  # fmt: skip
_METHODS: Final = ("HEAD", "OPTIONS", "TRACE", "PROPFIND", "get", "CONNECT", "QUERY", "X" * 50)
_HEADERS: Final = (
    ("X-Long", "a" * 20_000), ("X-Long", "a" * 40_000), ("Accept-Encoding", "gzip;q=x"), ("Accept-Encoding", "gzip"), ("Range",
    "bytes=0-1"),
    ("If-None-Match", '"' * 50), ("If-Modified-Since", "never"), ("Impersonate-User", "alice"), ("Impersonate-Group", "x"),
    ("Impersonate-Extra-\xe9", "x"), ("Connection", "close"), ("Upgrade", "websocket"), ("Cookie", "a=" + "b" * 4000),
    ("X-Forwarded-For", "\xff"),
    ("Authorization", "Bearer x"), ("User-Agent", "/" * 300), ("User-Agent", ""), ("User-Agent", "curl/8"), ("Content-Encoding", "br"),
    ("X-HTTP-Method-Override", "DELETE"), ("Host", "evil"), ("Transfer-Encoding", "identity"), ("Content-Length", "abc"), ("A" * 500, "b"),
    ("Audit-Id", "x" * 100), ("Kubectl-Command", "\x80"),
)  # fmt: skip
_FRAMINGS: Final[tuple[Framing, ...]] = ("chunked", "chunk-extension", "trailer", "tiny-chunks", "bad-chunk", "negative", "both", "twice")
_POINTERS: Final = (
    "", "/", "/metadata/name", "/metadata/labels/a", "/metadata/labels/-", "/spec", "/spec/image", "/spec/tags/-", "/spec/tags/0",
    "/spec/ports/1",
    "/spec/ports/99", "/a/-", "/metadata/finalizers", "/metadata/finalizers/0", "/metadata/finalizers/-", "/~2", "/~0~1", "/status",
    "/data/a",
    "/metadata/resourceVersion", "/metadata/managedFields", "/metadata/managedFields/0", "/metadata/uid", "/spec/containers/0/env/-", "x",
    "/metadata/annotations/example.com~1a", "/spec/plain/007", "/spec/plain/-1", "/" + "a/" * 500, "/metadata/annotations", "/kind",
    "/apiVersion",
)  # fmt: skip


class Generator:
    """See the module's docstring.

    Args:
        seed: of the run.
        worker: which of the senders.
        subjects: what to attack.
    """

    def __init__(
        self,
        seed: int,
        worker: int,
        subjects: Sequence[Subject] = (*BUILT_IN, *BUILT_IN, *CUSTOM, *CUSTOM, *CUSTOM, DEFINITIONS, DEFINITIONS, *REVIEWS),
    ) -> None:
        self._random = Random(f"{seed}/{worker}")  # noqa: S311 - it has to be repeatable
        self._subjects = subjects
        self._names = tuple(f"w{worker}-{letter}" for letter in "abc")
        self._plurals = tuple(f"w{worker}x{number}" for number in range(3))

    def seeds(self) -> list[Request]:
        """Return correct requests that make what the attacks are aimed at."""
        found = []
        for subject in {subject.collection: subject for subject in self._subjects if subject.stored}.values():
            if subject is not DEFINITIONS:
                for name in self._names:
                    body = mutation.render(subject.valid(name))
                    found.append(Request(method="POST", target=subject.collection, headers=(("Content-Type", _JSON),), body=body))
        return found

    def request(self) -> Request:
        """Return the next request."""
        random = self._random
        if random.random() < 0.03:
            return self._odd()
        subject = random.choice(self._subjects)
        method = random.choice(("POST",) * 6 + ("PUT",) * 4 + ("PATCH",) * 8 + ("GET",) * 3 + ("DELETE",))
        if not subject.stored:
            method = "POST" if random.random() < 0.9 else method
        name = random.choice(self._names) if random.random() < 0.9 else random.choice(_ODD_NAMES)
        target, subresource = self._target(subject, method, name)
        query = self._query(method, collection=target in {subject.collection, subject.everywhere}, apply=False)
        content_type = self._content_type(method)
        if content_type == "application/apply-patch+yaml" and random.random() < 0.9:
            query["fieldManager"] = random.choice(("fuzz", "other", "third"))
            if random.random() < 0.5:
                query["force"] = "true"
        if method == "DELETE" and target == subject.collection and not subject.namespaced:
            query["labelSelector"] = (
                f"fuzz=yes,metadata.name={name}" if random.random() < 0.1 else f"worker={name}"
            )  # never what is not ours
        headers = [("Content-Type", content_type)] if content_type else []
        if random.random() < 0.1:
            headers.append(("Accept", random.choice(_ACCEPTS)))
        if random.random() < 0.02:
            headers.append(random.choice(_HEADERS))
        body = b"" if method == "GET" and random.random() < 0.95 else self._body(subject, method, content_type, name, subresource)
        if body and random.random() < 0.01:
            body = gzip.compress(body) if random.random() < 0.8 else body
            headers.append(("Content-Encoding", "gzip"))
        text = "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in query.items())
        return Request(
            method=method,
            target=f"{target}?{text}" if text else target,
            headers=tuple(headers),
            body=body,
            framing=random.choice(_FRAMINGS) if body and random.random() < 0.03 else "length",
            watch="watch" in target or "watch" in query,
        )

    def _odd(self) -> Request:
        """A path, method or header that fits to nothing."""
        random = self._random
        method = random.choice(_METHODS) if random.random() < 0.5 else random.choice(("GET", "POST", "PUT", "PATCH", "DELETE"))
        target = random.choice(_ODD_PATHS)
        if method == "DELETE":
            target = target.partition("/namespaces/fuzz")[0] + "/nonesuch"
        headers = (random.choice(_HEADERS), ("Content-Type", random.choice((*_TYPES, _JSON))))
        body = random.choice(mutation.BODIES) if method in {"POST", "PUT", "PATCH"} else b""
        return Request(method=method, target=target, headers=headers, body=body, watch="watch" in target)

    def _target(self, subject: Subject, method: str, name: str) -> tuple[str, str]:
        random = self._random
        if subject is DEFINITIONS:
            name = f"{random.choice(self._plurals)}.{GROUP}"
        collection = subject.collection
        share = random.random()
        if (
            (method == "POST" and share < 0.85)
            or (method == "GET" and share < 0.5)
            or (method == "DELETE" and share < 0.08)
            or share < 0.01
        ):
            if random.random() < 0.04 or (method == "GET" and share < 0.1):
                return subject.everywhere, ""
            return collection, ""
        if share > 0.75:
            subresource = random.choice(
                (*subject.subresources, *subject.subresources, "nonesuch", "status", "scale", "status/status", "%2F")
            )
            return f"{collection}/{name}/{subresource}", subresource
        return f"{collection}/{name}", ""

    def _query(self, method: str, *, collection: bool, apply: bool) -> dict[str, str]:
        random = self._random
        query: dict[str, str] = {}
        if random.random() < 0.25:
            for _ in range(random.randint(1, 3)):
                key = random.choice(_PARAMETERS)
                query[key] = _GOOD[key] if key in _GOOD and random.random() < 0.5 else random.choice(_VALUES)
        if method == "GET" and collection and random.random() < 0.1:
            query |= {"watch": "true", "timeoutSeconds": "1"}
        return query

    def _content_type(self, method: str) -> str:
        random = self._random
        if method == "PATCH":
            return (
                random.choice(_PATCHES)
                if random.random() < 0.95
                else random.choice(("", "application/json", "application/apply-patch+cbor"))
            )
        return random.choice(_TYPES) if random.random() < 0.1 else _JSON

    def _body(self, subject: Subject, method: str, content_type: str, name: str, subresource: str) -> bytes:
        random = self._random
        if random.random() < 0.04:
            return random.choice(mutation.BODIES)
        if content_type == "application/vnd.kubernetes.protobuf":
            return protobuf.message(subject.api_version, subject.kind, random, mutation.render(subject.valid(name)))
        tree: Any = self._tree(subject, method, content_type, name, subresource)
        for _ in range(random.choice((0, 0, 0, 0, 1, 1, 1, 1, 2, 3))):
            tree = mutation.damage(tree, random)
        if random.random() < 0.004:
            tree = self._huge(tree)
        if content_type.endswith("yaml") and not mutation.has_raw(tree) and random.random() < 0.5:
            return str(yaml.safe_dump(tree, default_flow_style=random.random() < 0.3, allow_unicode=True)).encode("utf-8", "surrogatepass")
        body = mutation.render(tree)
        return mutation.corrupt(body, random) if random.random() < 0.08 else body

    def _tree(self, subject: Subject, method: str, content_type: str, name: str, subresource: str) -> Any:
        random = self._random
        if method == "DELETE":
            options = {
                "kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": random.choice((0, 1)), "dryRun": ["All"],
                "preconditions": {"uid": random.choice((UID_MARK, "x")), "resourceVersion": random.choice((VERSION_MARK, "1"))},
                "propagationPolicy": random.choice(("Background", "Foreground", "Orphan")), "orphanDependents": True,
            }  # fmt: skip
            return {key: value for key, value in options.items() if random.random() < 0.2}
        if content_type == "application/json-patch+json":
            return self._operations(subject, name)
        if subject is DEFINITIONS:
            return self._definition()
        if subresource == "scale":
            own = {"name": name, "namespace": NAMESPACE, "resourceVersion": VERSION_MARK}
            return {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": own, "spec": {"replicas": random.choice((0, 1, 3))}}
        if subresource == "binding":
            target = {"apiVersion": "v1", "kind": "Node", "name": random.choice(self._names)}
            return {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        if subresource == "eviction":
            return {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        if subresource == "token":
            return {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"audiences": ["a"], "expirationSeconds": 600},
            }
        tree = subject.valid(name)
        if not subject.stored:
            return tree
        metadata: dict[str, Any] = tree["metadata"]
        if method == "PUT" and random.random() < 0.9:
            metadata["resourceVersion"] = VERSION_MARK
        if method == "POST" and random.random() < 0.1:
            metadata["generateName"] = metadata.pop("name")
        if random.random() < 0.1:
            metadata["finalizers"] = ["example.com/fuzz"]
        if random.random() < 0.15:
            metadata["labels"]["n"] = str(random.randrange(50))
        if method == "PATCH" and content_type != "application/apply-patch+yaml":
            keep = random.random()
            tree = {key: value for key, value in tree.items() if random.random() < keep}
        return tree

    def _operations(self, subject: Subject, name: str) -> list[dict[str, Any]]:
        random = self._random
        found = []
        for _ in range(random.choice((1, 1, 2, 4))):
            operation = random.choice(("add", "add", "remove", "replace", "replace", "move", "copy", "test", "x"))
            value = random.choice((*mutation.SCALARS[:20], VERSION_MARK, "b", subject.body.get("spec"), {"a": "b"}, ["example.com/x"]))
            found.append({"op": operation, "path": random.choice(_POINTERS), "from": random.choice(_POINTERS), "value": value})
        return found * (4000 if random.random() < 0.003 else 1)

    def _definition(self) -> dict[str, Any]:
        random = self._random
        plural = random.choice(self._plurals)
        made = definition(plural, plural.upper(), namespaced=random.random() < 0.5)
        version = made["spec"]["versions"][0]
        if random.random() < 0.6:
            nodes = {
                "type": "object",
                "x-kubernetes-validations": [{"rule": random.choice(HOSTILE_RULES)}],
                "properties": {
                    "name": {"type": "string", "pattern": random.choice(HOSTILE_PATTERNS)},
                    "count": {"type": "integer"},
                    "items": {"type": "array", "items": {"type": "integer"}},
                },
            }
            schema = {"type": "object", "properties": {"spec": nodes}}
            made["spec"]["versions"] = [{**version, "schema": {"openAPIV3Schema": schema}}]
        if random.random() < 0.5:
            made["metadata"]["resourceVersion"] = VERSION_MARK
        return made

    def _huge(self, tree: Any) -> Any:
        """Something at one of the limits: annotations, the store's object, the body."""
        size = self._random.choice((250_000, 270_000, 1_000_000, 1_700_000, 3_000_000, 3_300_000))
        if isinstance(tree, dict) and isinstance(tree.get("metadata"), dict):
            return {**tree, "metadata": {**tree["metadata"], "annotations": {"example.com/big": "x" * size}}}
        return {"big": "x" * size}
