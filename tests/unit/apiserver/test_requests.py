"""Paths, tokens, roles, token files: who asks for what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.apiserver import authn, authz
from controller.apiserver.request import ANONYMOUS, ApiRequest, ApiResponse, RequestInfo, User, flag, parse_path
from lattice.api import errors

PATHS = [
    ("GET", "/api/v1/pods", ("list", "", "v1", "pods", "", "", "")),
    ("GET", "/api/v1/pods?watch=true", ("watch", "", "v1", "pods", "", "", "")),
    ("GET", "/api/v1/watch/namespaces/a/pods/x", ("watch", "", "v1", "pods", "", "a", "x")),
    ("GET", "/api/v1/namespaces", ("list", "", "v1", "namespaces", "", "", "")),
    ("GET", "/api/v1/namespaces/a", ("get", "", "v1", "namespaces", "", "a", "a")),
    ("PUT", "/api/v1/namespaces/a/finalize", ("update", "", "v1", "namespaces", "finalize", "a", "a")),
    ("GET", "/api/v1/namespaces/a/pods", ("list", "", "v1", "pods", "", "a", "")),
    ("DELETE", "/api/v1/namespaces/a/pods", ("deletecollection", "", "v1", "pods", "", "a", "")),
    ("POST", "/api/v1/namespaces/a/pods/x/binding", ("create", "", "v1", "pods", "binding", "a", "x")),
    ("PATCH", "/apis/lattice.dev/v1/namespaces/a/workloads/x/status", ("patch", "lattice.dev", "v1", "workloads", "status", "a", "x")),
    ("GET", "/api/v1/nodes/n/desired?watch=1", ("get", "", "v1", "nodes", "desired", "", "n")),
    ("GET", "/api/v1/nodes/a%2Fb", ("get", "", "v1", "nodes", "", "", "a/b")),
    ("GET", "/apis/lattice.dev/v1", ("get", "", "", "", "", "", "")),
    ("GET", "/readyz", ("get", "", "", "", "", "", "")),
]


@pytest.mark.parametrize(("method", "target", "expected"), PATHS)
def test_parse_path(method, target, expected):
    path, _, query = target.partition("?")
    info = parse_path(ApiRequest(method, path, dict(part.split("=") for part in query.split("&") if part)))
    found = (info.verb, info.group, info.version, info.resource, info.subresource, info.namespace, info.name)
    assert found == expected


@given(st.text())
def test_parse_path_never_fails(path):
    parse_path(ApiRequest("GET", "/" + path))


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ({}, False),
        ({"x": "true"}, True),
        ({"x": "1"}, True),
        ({"x": ""}, True),
        ({"x": "0"}, False),
        ({"x": "False"}, False),
        ({"x": "no"}, True),
    ],
)
def test_flags(query, value):
    assert flag(query, "x") is value


ADMIN = User("root", groups=("system:masters",))
ALICE = User("alice", groups=("system:authenticated",))
NODE = User("system:node:n1", groups=("system:nodes",))
FALSE_NODE = User("system:node:n1", groups=())

RULES = [
    # user, verb, resource, subresource, namespace, name, allowed
    (ADMIN, "delete", "secrets", "", "a", "x", True),
    (ALICE, "list", "pods", "", "a", "", False),
    (ANONYMOUS, "list", "pods", "", "a", "", False),
    (FALSE_NODE, "get", "nodes", "", "", "n1", False),
    (NODE, "get", "nodes", "", "", "n1", True),
    (NODE, "get", "nodes", "", "", "n2", False),
    (NODE, "list", "nodes", "", "", "", False),
    (NODE, "watch", "nodes", "", "", "", False),
    (NODE, "create", "nodes", "", "", "", True),
    (NODE, "delete", "nodes", "", "", "n1", True),
    (NODE, "delete", "nodes", "", "", "n2", False),
    (NODE, "patch", "nodes", "status", "", "n1", True),
    (NODE, "patch", "nodes", "status", "", "n2", False),
    (NODE, "get", "nodes", "desired", "", "n1", True),
    (NODE, "get", "nodes", "desired", "", "n2", False),
    (NODE, "get", "nodes", "line", "", "n1", True),
    (NODE, "get", "nodes", "line", "", "n2", False),
    (NODE, "get", "nodes", "streams", "", "n2", False),
    (NODE, "patch", "pods", "status", "a", "x", True),
    (NODE, "delete", "pods", "", "a", "x", True),
    (NODE, "deletecollection", "pods", "", "a", "", False),
    (NODE, "get", "pods", "", "a", "x", False),
    (NODE, "create", "pods", "binding", "a", "x", False),
    (NODE, "create", "events", "", "a", "", True),
    (NODE, "list", "events", "", "a", "", False),
    (NODE, "get", "secrets", "", "a", "x", False),
    (NODE, "get", "configmaps", "", "a", "x", False),
    (NODE, "patch", "persistentvolumes", "", "", "v", True),
    (NODE, "patch", "persistentvolumes", "status", "", "v", False),
    (NODE, "delete", "persistentvolumes", "", "", "v", False),
]


@pytest.mark.parametrize(("user", "verb", "resource", "subresource", "namespace", "name", "allowed"), RULES)
def test_roles(user, verb, resource, subresource, namespace, name, allowed):
    info = RequestInfo(verb, "/api/v1/x", "", "v1", resource, subresource, namespace, name)
    if allowed:
        authz.authorize(user, info)
    else:
        with pytest.raises(errors.ForbiddenError):
            authz.authorize(user, info)


@pytest.mark.parametrize(
    ("namespace", "name", "allowed"), [("kube-node-lease", "n1", True), ("kube-node-lease", "n2", False), ("kube-system", "n1", False)]
)
def test_a_node_has_one_lease(namespace, name, allowed):
    info = RequestInfo("update", "/", "coordination.k8s.io", "v1", "leases", "", namespace, name)
    if allowed:
        authz.authorize(NODE, info)
    else:
        with pytest.raises(errors.ForbiddenError):
            authz.authorize(NODE, info)


@pytest.mark.parametrize(
    ("user", "verb", "path", "allowed"),
    [
        (ANONYMOUS, "get", "/readyz", True),
        (ANONYMOUS, "head", "/version/", True),
        (ANONYMOUS, "post", "/version", False),
        (ANONYMOUS, "get", "/apis", False),
        (ALICE, "get", "/apis", True),
        (ALICE, "get", "/apis/", True),
        (ALICE, "get", "/apis/example.dev/v1", True),
        (ALICE, "get", "/openapi/v3/api/v1", True),
        (ALICE, "get", "/apisx", False),
        (ALICE, "get", "/", False),
        (ALICE, "delete", "/apis", False),
        (ADMIN, "get", "/", True),
        (User("somebody"), "get", "/apis", False),  # in no group, so not known to have shown credentials
    ],
)
def test_paths(user, verb, path, allowed):
    info = RequestInfo(verb, path)
    if allowed:
        authz.authorize(user, info)
    else:
        with pytest.raises(errors.ForbiddenError, match=f"cannot {verb} path"):
            authz.authorize(user, info)


def test_token_file(tmp_path):
    path = tmp_path / "tokens"
    path.write_text('# comment\n\nt1,admin,1,"system:masters,dev"\nt2,bob,2\n')
    users = authn.load_token_file(path)
    assert users["t1"] == User("admin", "1", ("system:masters", "dev", "system:authenticated"))
    known = authn.TokenAuthenticator(users)
    assert known.authenticate({"authorization": "Bearer t2"}).name == "bob"
    assert known.authenticate({}) is ANONYMOUS
    for header in ("Bearer nope", "Bearer", "", "Basic t1", "Bearer t1 x"):
        with pytest.raises(errors.UnauthorizedError):
            known.authenticate({"authorization": header})


@pytest.mark.parametrize("text", ["secret-token\n", "secret-token,a,1\nsecret-token,b,2\n", ",a,1\n"])
def test_bad_token_files_are_explained_without_showing_tokens(tmp_path, text):
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(errors.UsageError, match="line") as caught:
        authn.load_token_file(path)
    assert "secret-token" not in str(caught.value)


@given(items=st.lists(st.binary(max_size=40), max_size=20), most=st.integers(1, 100))
def test_a_list_is_the_same_in_pieces_and_in_one(items, most):
    response = ApiResponse(200, b'{"items":[', items=items)
    assert response.whole() == b'{"items":[' + b",".join(items) + b"]}"
    assert b"".join(response.pieces(most)) == response.whole()
    assert response.size_bytes == len(response.whole())


def test_a_body_without_items_is_one_piece():
    response = ApiResponse(200, b"ok")
    assert (response.whole(), list(response.pieces(1)), response.size_bytes) == (b"ok", [b"ok"], 2)
