"""Reviews: answers as kube-apiserver gives them, decided by the rules that judge requests."""

from datetime import UTC, datetime

import pytest

from controller.apiserver import reviews
from controller.apiserver.authn import TokenAuthenticator
from controller.apiserver.request import ANONYMOUS, User
from controller.apiserver.writing import WriteOptions
from lattice.api import errors
from lattice.testing.clock import FakeClock

ADMIN = User("admin", "u-admin", ("system:masters", "system:authenticated"))
ALICE = User("alice", "", ("system:authenticated",))
NODE = User("system:node:n1", "", ("system:nodes", "system:authenticated"))
ROWS = {row.kind: row for row in reviews.resources()}
PODS = {"verb": "list", "resource": "pods", "namespace": "default"}


@pytest.fixture
def ask():
    clock = FakeClock(datetime(2026, 11, 21, 2, 46, 49, tzinfo=UTC))
    answering = reviews.Reviews(TokenAuthenticator({"secret": ALICE}), clock)

    async def send(kind: str, user: User, body: object, namespace: str = ""):
        return await answering.create(ROWS[kind], namespace, user, body, WriteOptions(user, manager="kubectl"))

    return send


async def test_answer_is_the_question_with_owners_and_status(ask):
    spec = {"resourceAttributes": {"namespace": "default", "verb": "create", "group": "example.dev", "resource": "specimens"}}
    fields = {"f:spec": {"f:resourceAttributes": {".": {}, "f:group": {}, "f:namespace": {}, "f:resource": {}, "f:verb": {}}}}
    assert await ask("SelfSubjectAccessReview", ADMIN, {"spec": spec}) == {
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "metadata": {
            "managedFields": [
                {
                    "manager": "kubectl",
                    "operation": "Update",
                    "apiVersion": "authorization.k8s.io/v1",
                    "time": "2026-11-21T02:46:49Z",
                    "fieldsType": "FieldsV1",
                    "fieldsV1": fields,
                }
            ]
        },
        "spec": spec,
        "status": {"allowed": True},
    }


@pytest.mark.parametrize(
    ("user", "spec", "allowed"),
    [
        (ADMIN, {"resourceAttributes": PODS}, True),
        (ADMIN, {"resourceAttributes": {"verb": "*", "resource": "*"}}, True),
        (ADMIN, {"nonResourceAttributes": {"path": "/anything", "verb": "put"}}, True),
        (ALICE, {"resourceAttributes": PODS}, False),
        (ALICE, {"resourceAttributes": {}}, False),
        (
            ALICE,
            {"resourceAttributes": {"verb": "create", "group": "authorization.k8s.io", "resource": "selfsubjectaccessreviews"}},
            True,
        ),
        (ALICE, {"resourceAttributes": {"verb": "create", "group": "authorization.k8s.io", "resource": "subjectaccessreviews"}}, False),
        (ALICE, {"nonResourceAttributes": {"path": "/apis/example.dev/v1", "verb": "get"}}, True),
        (ALICE, {"nonResourceAttributes": {"path": "/healthz", "verb": "get"}}, True),
        (ALICE, {"nonResourceAttributes": {"path": "/apisx", "verb": "get"}}, False),
        (ALICE, {"nonResourceAttributes": {"path": "/healthz", "verb": "post"}}, False),
        (NODE, {"resourceAttributes": {"verb": "get", "resource": "nodes", "name": "n1"}}, True),
        (NODE, {"resourceAttributes": {"verb": "get", "resource": "nodes", "name": "n2"}}, False),
        (NODE, {"resourceAttributes": {"verb": "patch", "resource": "pods", "subresource": "status", "name": "p", "namespace": "x"}}, True),
    ],
)
async def test_decided_as_the_request_itself_would_be(ask, user, spec, allowed):
    mine = await ask("SelfSubjectAccessReview", user, {"spec": spec})
    assert mine["status"] == {"allowed": allowed}
    about = {"spec": {**spec, "user": user.name, "groups": list(user.groups)}}
    assert (await ask("SubjectAccessReview", ADMIN, about))["status"] == {"allowed": allowed}


async def test_user_without_groups_is_asked_about_without_groups(ask):
    path = {"path": "/apis", "verb": "get"}
    answer = await ask("SubjectAccessReview", ADMIN, {"spec": {"user": "alice", "nonResourceAttributes": path}})
    assert answer["status"] == {"allowed": False}


async def test_local_review_is_about_its_own_namespace(ask):
    spec = {"user": "alice", "resourceAttributes": {"verb": "get", "resource": "pods"}}
    answer = await ask("LocalSubjectAccessReview", ADMIN, {"spec": spec}, "team")
    assert answer["spec"]["resourceAttributes"]["namespace"] == "team"
    assert answer["metadata"]["namespace"] == "team"


@pytest.mark.parametrize(
    ("kind", "body", "field", "message"),
    [
        ("SelfSubjectAccessReview", {}, "spec.resourceAttributes", "Invalid value: null: exactly one of"),
        (
            "SelfSubjectAccessReview",
            {"spec": {"resourceAttributes": PODS, "nonResourceAttributes": {"path": "/"}}},
            "spec.nonResourceAttributes",
            "cannot be specified in combination with resourceAttributes",
        ),
        ("SelfSubjectAccessReview", {"metadata": {"name": "x"}, "spec": {"resourceAttributes": PODS}}, "metadata", "must be empty"),
        ("SubjectAccessReview", {"spec": {"resourceAttributes": PODS}}, "spec.user", "at least one of user or group"),
        (
            "SelfSubjectAccessReview",
            {"spec": {"resourceAttributes": {"verb": 7}}},
            "spec.resourceAttributes.verb",
            "must be of type string",
        ),
        (
            "LocalSubjectAccessReview",
            {"spec": {"user": "u", "resourceAttributes": {"namespace": "other"}}},
            "spec.resourceAttributes.namespace",
            "must match metadata.namespace",
        ),
        (
            "LocalSubjectAccessReview",
            {"spec": {"user": "u", "nonResourceAttributes": {"path": "/"}}},
            "spec.nonResourceAttributes",
            "disallowed on this kind of request",
        ),
    ],
)
async def test_question_that_is_none_is_invalid(ask, kind, body, field, message):
    with pytest.raises(errors.InvalidError) as caught:
        await ask(kind, ADMIN, body, "team" if kind.startswith("Local") else "")
    (cause,) = caught.value.causes
    assert cause.field == field
    assert message in cause.message


@pytest.mark.parametrize("body", [[], "x", None, {"apiVersion": "v2", "kind": "SelfSubjectReview"}])
async def test_body_that_is_no_review_is_a_bad_request(ask, body):
    with pytest.raises(errors.BadRequestError):
        await ask("SelfSubjectReview", ADMIN, body)


async def test_rules_of_an_admin_read_as_recorded(ask):
    answer = await ask("SelfSubjectRulesReview", ADMIN, {"spec": {"namespace": "default"}})
    assert answer == {
        "kind": "SelfSubjectRulesReview",
        "apiVersion": "authorization.k8s.io/v1",
        "metadata": {},
        "spec": {},
        "status": {
            "resourceRules": [
                {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
                {
                    "verbs": ["create"],
                    "apiGroups": ["authorization.k8s.io"],
                    "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                },
                {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]},
            ],
            "nonResourceRules": [
                {"verbs": ["*"], "nonResourceURLs": ["*"]},
                {"verbs": ["get"], "nonResourceURLs": ["/.well-known", "/.well-known/*"]},
                {
                    "verbs": ["get"],
                    "nonResourceURLs": [
                        "/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version",
                        "/version/",
                    ],
                },
                {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"]},
            ],
            "incomplete": False,
        },
    }  # fmt: skip


async def test_rules_of_a_node_and_of_nobody(ask):
    rules = (await ask("SelfSubjectRulesReview", NODE, {"spec": {"namespace": "default"}}))["status"]["resourceRules"]
    own = {"verbs": ["create", "delete", "get", "patch", "update"], "apiGroups": [""], "resources": ["nodes"], "resourceNames": ["n1"]}
    assert own in rules
    nobody = (await ask("SelfSubjectRulesReview", ANONYMOUS, {"spec": {"namespace": "default"}}))["status"]
    assert nobody["resourceRules"] == []
    assert [rule["nonResourceURLs"][0] for rule in nobody["nonResourceRules"]] == ["/healthz"]


async def test_rules_need_a_namespace(ask):
    with pytest.raises(errors.BadRequestError, match="no namespace on request"):
        await ask("SelfSubjectRulesReview", ADMIN, {})


async def test_every_caller_learns_who_they_are(ask):
    assert await ask("SelfSubjectReview", ADMIN, {}) == {
        "kind": "SelfSubjectReview",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"creationTimestamp": "2026-11-21T02:46:49Z"},
        "status": {"userInfo": {"username": "admin", "uid": "u-admin", "groups": ["system:masters", "system:authenticated"]}},
    }


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        ({"token": "secret"}, {"authenticated": True, "user": {"username": "alice", "groups": ["system:authenticated"]}}),
        ({"token": "other"}, {"user": {}, "error": "invalid bearer token"}),
        ({"token": "secret", "audiences": ["vault"]}, {"user": {}}),
    ],
)
async def test_token_is_reviewed(ask, spec, status):
    assert (await ask("TokenReview", ADMIN, {"spec": spec}))["status"] == status


async def test_token_for_us_says_so(ask):
    answer = await ask("TokenReview", ADMIN, {"spec": {"token": "secret", "audiences": ["vault", reviews.AUDIENCE]}})
    assert answer["status"]["authenticated"]
    assert answer["status"]["audiences"] == [reviews.AUDIENCE]


async def test_token_must_be_given(ask):
    with pytest.raises(errors.BadRequestError, match="token is required"):
        await ask("TokenReview", ADMIN, {"spec": {}})
