"""What comes back from the store is brought into the present shape, unless it is known to be in it."""

import orjson
import pytest

from controller.apiserver.encoding import Codec
from controller.apiserver.resources import Resource

OBJECT = {"apiVersion": "example.dev/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {"size": 1}}


class Shape:
    """Fills a default in, and counts how often it is asked."""

    def __init__(self):
        self.asked = 0

    def __call__(self, obj):
        self.asked += 1
        obj["spec"].setdefault("mode", "Fast")


@pytest.fixture
def shape():
    return Shape()


def codec_for(shape):
    names = {"kind": "Thing", "singular": "thing", "plural": "things"}
    resource = Resource(group="example.dev", version="v1", namespaced=True, schema={}, custom=True, **names)
    return Codec(resource, shape)


def test_what_somebody_else_wrote_gets_the_present_shape(shape):
    value = orjson.dumps(OBJECT)
    obj, stored = codec_for(shape).read(value)
    assert obj["spec"] == orjson.loads(stored)["spec"] == {"size": 1, "mode": "Fast"}
    assert shape.asked == 1


def test_what_was_encoded_here_comes_back_as_it_is(shape):
    codec = codec_for(shape)
    value = codec.encode({**OBJECT, "spec": {"size": 1, "mode": "Slow"}})
    assert codec.read(bytes(bytearray(value))) == (orjson.loads(value), value)
    assert shape.asked == 0


def test_what_was_brought_into_shape_once_needs_it_no_more(shape):
    codec = codec_for(shape)
    _, stored = codec.read(orjson.dumps(OBJECT))
    assert codec.read(stored)[1] == stored
    assert shape.asked == 1


def test_it_does_not_remember_without_bound(shape):
    codec = codec_for(shape)
    first = codec.encode({**OBJECT, "spec": {"size": -1}})
    for size in range(3_000):
        codec.encode({**OBJECT, "spec": {"size": size}})
    codec.read(first)
    assert shape.asked == 1
