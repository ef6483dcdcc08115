"""Content negotiation: which form an Accept header gets, and answers for people."""

import contextlib
import json

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controller.apiserver import negotiation
from controller.apiserver.negotiation import Form
from controller.apiserver.request import ApiRequest, ApiResponse
from lattice.api import errors

KUBECTL = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"


def ask(accept="", agent="", **query):
    return ApiRequest("GET", "/", query, {"accept": accept, "user-agent": agent})


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form()), ("*/*", Form()), ("application/json", Form()), ("application/*", Form()), ("application/json, */*", Form()),
        ("text/html,application/xhtml+xml,*/*;q=0.8", Form()), ("application/yaml", Form("yaml")),
        ("application/yaml;q=0.5, application/json;q=0.9", Form()), ("*/*;q=0.1, application/yaml;q=0.1", Form("yaml")),
        ("application/vnd.kubernetes.protobuf,application/json", Form("protobuf")), ("application/json;pretty=1", Form(pretty=True)),
        ("application/json;charset=utf-8", Form()), ("application/json;stream=watch", Form()), ("application/json;sv=", Form()),
        (KUBECTL, Form("json", "Table")), ("application/json;as=Table;v=v1beta1;g=meta.k8s.io", Form("json", "Table", "v1beta1")),
        ("application/yaml;as=Table;v=v1;g=meta.k8s.io", Form("yaml", "Table")),
        ("application/json;as=Table;v=v2;g=meta.k8s.io, application/json", Form()),
        ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", Form("json", "PartialObjectMetadata")),
        (
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,"
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
            Form("json", "PartialObjectMetadataList"),
        ),
    ],
)  # fmt: skip
def test_forms(accept, form):
    assert negotiation.negotiate(ask(accept)) == form


@pytest.mark.parametrize(
    "accept", ["text/plain", "application/json;as=Nothing;v=v1;g=meta.k8s.io", "application/json;stream=other", "garbage", ";;", "a/b/c"]
)
def test_nothing_acceptable(accept):
    with pytest.raises(errors.NotAcceptableError) as caught:
        negotiation.negotiate(ask(accept))
    listed = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    assert caught.value.message == f"only the following media types are accepted: {listed}"
    assert negotiation.for_document(ask(accept)) == Form()


def test_a_watch_has_no_yaml():
    assert negotiation.negotiate(ask("application/json;stream=watch"), stream=True) == Form()
    assert negotiation.negotiate(ask("application/yaml, application/json"), stream=True) == Form()
    with pytest.raises(errors.NotAcceptableError, match=r"application/json;stream=watch, \S+protobuf;stream=watch$"):
        negotiation.negotiate(ask("application/yaml"), stream=True)


def test_custom_resources_have_no_protobuf():
    assert negotiation.negotiate(ask("application/vnd.kubernetes.protobuf,application/json"), protobuf=False) == Form()
    with pytest.raises(errors.NotAcceptableError):
        negotiation.negotiate(ask("application/vnd.kubernetes.protobuf"), protobuf=False)


@pytest.mark.parametrize(
    ("agent", "query", "pretty"),
    [
        ("curl/8.5", {}, True), ("Mozilla/5.0 (X11)", {}, True), ("Wget/1.21", {}, True), ("kubectl/v1.32.4", {}, False), ("", {}, False),
        ("kubectl/v1.32.4", {"pretty": "true"}, True), ("curl/8.5", {"pretty": "false"}, False), ("curl/8.5", {"pretty": ""}, True),
        ("curl/8.5", {"pretty": "junk"}, False),
    ],
)  # fmt: skip
def test_people_get_indented_text(agent, query, pretty):
    assert negotiation.negotiate(ask("*/*", agent, **query)).pretty is pretty
    assert negotiation.negotiate(ask("*/*", agent, **query), stream=True).pretty is False


def test_finish():
    body = orjson.dumps({"kind": "Pod", "items": [{"a": "ü", "b": None, "when": "2026-11-21T00:00:00Z", "on": "yes"}]})
    assert negotiation.finish(ApiResponse(200, body), Form()).body == body
    pretty = negotiation.finish(ApiResponse(200, body), Form(pretty=True))
    assert pretty.body.startswith(b'{\n  "kind": "Pod"')
    found = negotiation.finish(ApiResponse(200, body), Form("yaml"))
    assert (found.content_type, yaml.safe_load(found.body)) == ("application/yaml", json.loads(body))
    assert negotiation.finish(ApiResponse(404, b"404 page not found\n", "text/plain"), Form("yaml")).body == b"404 page not found\n"


def test_a_large_answer_in_yaml():
    value = {"items": [{"name": f"n{number}", "text": "x: y\n"} for number in range(10_000)]}
    found = negotiation.to_yaml(orjson.dumps(value))
    assert orjson.loads(found) == value
    assert yaml.load(found[:200_000].rpartition(b"    },")[0] + b"}]}", Loader=yaml.CSafeLoader)["items"][:5] == value["items"][:5]


@given(st.text(alphabet="abjson/*;=,q.109 v", max_size=60))
def test_no_header_does_harm(accept):
    with contextlib.suppress(errors.NotAcceptableError):
        negotiation.negotiate(ask(accept))
