"""Bodies: what is accepted, what is said about what is not, fields that occur twice; never anything but a 400."""

import contextlib
import json
import tracemalloc

import orjson
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from controller.apiserver import bodies, gojson
from lattice.api import errors

PARSE = "couldn't get version/kind; json parse error: "
SYNTAX = [
    (b"", "unexpected end of JSON input"),
    (b" \n", "unexpected end of JSON input"),
    (b"{bad json", "invalid character 'b' looking for beginning of object key string"),
    (b"{", "unexpected end of JSON input"),
    (b'{"a"', "unexpected end of JSON input"),
    (b'{"a" 1}', "invalid character '1' after object key"),
    (b'{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
    (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
    (b"[1,]", "invalid character ']' looking for beginning of value"),
    (b"[1 2]", "invalid character '2' after array element"),
    (b"{} x", "invalid character 'x' after top-level value"),
    (b"nul", "unexpected end of JSON input"),
    (b"nulx", "invalid character 'x' in literal null (expecting 'l')"),
    (b"NaN", "invalid character 'N' looking for beginning of value"),
    (b"[Infinity]", "invalid character 'I' looking for beginning of value"),
    (b"-x", "invalid character 'x' in numeric literal"),
    (b"1.x", "invalid character 'x' after decimal point in numeric literal"),
    (b"1ex", "invalid character 'x' in exponent of numeric literal"),
    (b"01", "invalid character '1' after top-level value"),
    (b'"a\nb"', "invalid character '\\n' in string literal"),
    (b'"a\\xb"', "invalid character 'x' in string escape code"),
    (b'"\\u12x4"', "invalid character 'x' in \\u hexadecimal character escape"),
    (b"'a'", "invalid character '\\'' looking for beginning of value"),
    (b"\x81\xaa", "invalid character '\\u0081' looking for beginning of value"),
    (b"\x00", "invalid character '\\x00' looking for beginning of value"),
    (b"[" * 10_001, "exceeded max depth"),
    (b'{"a":[' * 20_000, "the text of 120000 bytes is not JSON"),
]


@pytest.mark.parametrize(("text", "problem"), SYNTAX)
def test_syntax_errors_are_gos(text, problem):
    assert gojson.problem_of(text) == problem
    with pytest.raises(bodies.BodyError, match="json parse error: "):
        bodies.decode_json(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_what_is_json_has_no_problem(value):
    assert gojson.problem_of(json.dumps(value).encode()) is None
    assert gojson.problem_of(orjson.dumps(json.loads(json.dumps(value, ensure_ascii=True)))) is None


@given(st.binary(max_size=40) | st.text(alphabet='{}[]",:0123eE+-.tfn\\u \n', max_size=20).map(str.encode))
def test_the_scanner_and_orjson_agree(text):
    problem = gojson.problem_of(text)
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        if problem is None:
            json.loads(text.decode(errors="replace"))  # what Go forgives: no UTF-8, halves of surrogate pairs
    else:
        assert problem is None


@pytest.mark.parametrize(
    ("body", "what", "message"),
    [
        (
            b"{bad json", "Pod",
            "{}" + PARSE + "invalid character 'b' looking for beginning of object key string ({{bad json)",
        ),
        (b"", "Pod", "{}" + PARSE + "unexpected end of JSON input (<empty>)"),
        (
            b"[]", "Pod",
            "{}" + PARSE + "json: cannot unmarshal array into Go value of type "
            'struct {{ APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }} (5b5d)',
        ),
        (b'{"kind":1}', "Pod", "{}" + PARSE + 'json: cannot unmarshal number into Go struct field .kind of type string ({{"kind":1}})'),
        (b"{bad", "", PARSE + "invalid character 'b' looking for beginning of object key string"),
        (b'{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": x}', "", PARSE + "invalid character 'x' looking for beginning of value"),
    ],
)  # fmt: skip
def test_messages(body, what, message):
    with pytest.raises(errors.BadRequestError) as caught:
        bodies.parse(body, "application/json", what=what)
    assert caught.value.message == message.format(f"the object provided is unrecognized (must be of type {what}): ")


def test_kind_missing():
    body = b'{"apiVersion": "example.dev/v1", "metadata": {"name": "r1"}}'
    text = bodies.missing_kind("Specimen", body).message
    assert text == (
        "the object provided is unrecognized (must be of type Specimen): Object 'Kind' is missing in "
        '\'{"apiVersion": "example.dev/v1", "metadata": {"name": "r1"}}\' ({"apiVersion": "example.dev/v1 ...)'
    )
    assert bodies.parse(b"null", "", what="Specimen").value is None
    assert bodies.missing_kind("Specimen", b"null").message.endswith("Object 'Kind' is missing in 'null' (6e756c6c)")


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":"\xff"}', {"a": "�"}), (b'{"a":"\\ud800"}', {"a": "�"}), (b'{"a":"\\ud83d\\ude00"}', {"a": "😀"}),
        (b'{"a":18446744073709551616}', {"a": 18446744073709551616.0}), (b'{"a":1,"a":2}', {"a": 2}),
    ],
)  # fmt: skip
def test_what_go_forgives(body, value):
    assert bodies.decode_json(body) == value


def test_a_wrong_byte_is_forgiven_in_a_large_body_too():
    assert len(bodies.decode_json(b'"' + b"x" * gojson.MAX_SCAN_BYTES + b'\xff"')) == gojson.MAX_SCAN_BYTES + 1


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        (b'{"spec":{"replicas":1,"replicas":2}}', ["spec.replicas"]),
        (b'{"a":1,"a":1,"a":1}', ["a"]),
        (b'{"l":[{"x":1},{"x":1,"x":2}],"l":[]}', ["l", "l[1].x"]),
        (b'{"a":"b:c","\\u003a":1,"d":{"e":"f"}}', []),
        (b'{"a":1, "\\u0061":2}', ["a"]),
        (b'{"\\u003a":1,"x":2,"x":3}', ["x"]),
        (b'{"a":{"k":1},"b":{"k":1}}', []),
    ],
)
def test_duplicate_fields(body, paths):
    assert bodies.duplicate_fields(body, orjson.loads(body)) == [f'duplicate field "{path}"' for path in paths]
    assert bodies.parse(body, "", what="X", strict=False).duplicates == []


@given(st.lists(st.tuples(st.sampled_from(["a", "b", ":", "é"]), json_values), max_size=5), st.booleans())
def test_a_field_is_reported_exactly_if_it_occurs_twice(pairs, ascii_only):
    text = ",".join(f"{json.dumps(name, ensure_ascii=ascii_only)}:{json.dumps(value, ensure_ascii=True)}" for name, value in pairs)
    body = f"{{{text}}}".encode()
    twice = {name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return  # half of a surrogate pair
    assert {json.loads(text.removeprefix("duplicate field ")) for text in bodies.duplicate_fields(body, value)} == twice


def test_yaml():
    found = bodies.parse(b"a: 1\nb:\n  c: yes\n  d: 2026-11-21\n1: x\n", "application/yaml", what="Pod")
    assert (found.value, found.duplicates) == ({"a": 1, "b": {"c": True, "d": "2026-11-21"}, "1": "x"}, [])
    twice = bodies.parse(b"a: 1\nb: {c: 1}\na: 2\n", "application/yaml", what="Pod")
    assert (twice.value["a"], twice.duplicates) == (2, ['yaml: unmarshal errors:\n  line 3: key "a" already set in map'])
    for text in (
        b"a: b: c",
        b"a: &x 1\nb: *x\n",
        b"- a\n",
        b"\xff\xfe\x00",
        b"a: .nan",
        b"{" * 300_000,
        b"- " * 100_000,
        b"a: 1\n---\nb: 2",
        b"? [a]\n: 1",
        b"x" * 600_000,
    ):
        with pytest.raises(errors.BadRequestError, match="must be of type Pod"):
            bodies.parse(text, "application/yaml", what="Pod")


@pytest.mark.parametrize(
    ("body", "array", "message"),
    [
        (b"[{}]", False, "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"),
        (b"{}", True, "error decoding patch: json: cannot unmarshal object into Go value of type []interface {}"),
        (b"{x", False, "error decoding patch: invalid character 'x' looking for beginning of object key string"),
    ],
)
def test_patches_that_are_none(body, array, message):
    with pytest.raises(errors.BadRequestError) as caught:
        bodies.parse_patch(body, array=array)
    assert caught.value.message == message


def test_patches():
    assert bodies.parse_patch(b'{"a":1,"a":2}', array=False).duplicates == ['duplicate field "a"']
    assert bodies.parse_patch(b'[{"op":"add","op":"test"}]', array=True).duplicates == ['json patch duplicate field "[0].op"']
    assert bodies.parse_patch(b"null", array=False).value == {}


def test_unknown_types_are_refused():
    with pytest.raises(errors.UnsupportedMediaTypeError):
        bodies.parse(b"{}", "text/plain", what="Pod")


@given(st.binary(max_size=60), st.sampled_from(["", "application/yaml"]))
def test_no_body_does_harm(body, kind):
    try:
        bodies.parse(body, kind, what="Pod")
    except errors.BadRequestError as error:
        orjson.dumps(error.to_status())


@pytest.mark.parametrize(
    ("body", "value", "duplicates"),
    [
        (b'{"a":{"b":1}}', {"a": {"b": 1}}, []),
        (b"a:\n  b: 1\n", {"a": {"b": 1}}, []),
        (b"", {}, []),
        (b"null", {}, []),
        (b'{"a":1,\n"a":2}', {"a": 2}, ['error converting YAML to JSON: yaml: unmarshal errors:\n  line 2: key "a" already set in map']),
    ],
)
def test_bodies_of_server_side_apply(body, value, duplicates):
    found = bodies.parse_apply(body)
    assert (found.value, found.duplicates) == (value, duplicates)
    assert bodies.parse_apply(body, strict=False).duplicates == []


@pytest.mark.parametrize("body", [b"[]", b"a: b: c", b"{", b"3"])
def test_bodies_that_cannot_be_applied(body):
    with pytest.raises(errors.BadRequestError, match=r"^error decoding YAML: "):
        bodies.parse_apply(body)


def test_protobuf_is_for_built_in_kinds():
    with pytest.raises(errors.UnsupportedMediaTypeError):
        bodies.parse(b"k8s\0", "application/vnd.kubernetes.protobuf", what="Pod", typed=False)
    with pytest.raises(errors.BadRequestError):
        bodies.parse(b"k8s\0", "application/vnd.kubernetes.protobuf", what="Pod")


yaml_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=12,
)


@given(yaml_values, st.booleans())
def test_yaml_says_what_it_was_made_from(value, flow):
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)
    assume("\x85" not in text)  # PyYAML takes it for a blank where it writes it
    assert bodies.decode_yaml(text.encode()).value == json.loads(json.dumps(value))


@given(st.text(alphabet="ab:-{}[]&*!?|>'\"# \n01.~%", max_size=30))
def test_no_yaml_does_harm(text):
    with contextlib.suppress(bodies.BodyError):
        bodies.decode_yaml(text.encode())


def test_fields_twice_cost_no_more_than_the_body():
    """A path for each of many values below a field with a long name would be the square of the body."""
    name = "k" * 50_000
    body = b'{"a":1,"a":2,"%b":[%b[{"b":1,"b":2}]]}' % (name.encode(), b"[]," * 50_000)
    tracemalloc.start()
    try:
        found = bodies.parse(body, "", what="ConfigMap").duplicates
        assert tracemalloc.get_traced_memory()[1] < 100 * len(body)
    finally:
        tracemalloc.stop()
    assert found == ['duplicate field "a"', f'duplicate field "{"k" * 1_000}…"']


def test_where_a_field_occurs_twice():
    body = b'{"spec":{"l":[[0,{"x":1,"x":2}],{"y":{"z":1,"z":1,"z":2}}]},"spec":{"x":1}}'
    assert bodies.parse(body, "", what="ConfigMap").duplicates == [
        'duplicate field "spec"',
        'duplicate field "spec.l[0][1].x"',
        'duplicate field "spec.l[1].y.z"',
    ]


def test_numbers_to_the_base_of_60_are_text():
    """As for Kubernetes' parser; and a long one would take PyYAML seconds."""
    assert bodies.decode_yaml(b"a: 22:22\nb: 1:30.5\nc: [22]").value == {"a": "22:22", "b": "1:30.5", "c": [22]}
    assert bodies.decode_yaml(b"x: 1" + b":01" * 100_000).value == {"x": "1" + ":01" * 100_000}
    with pytest.raises(bodies.BodyError, match="is not of the type"):
        bodies.decode_yaml(b"x: !!int 1:30")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"a: b: c", "yaml: mapping values are not allowed in this context"),
        (b"a: 1\nb: c: d\n", "yaml: line 2: mapping values are not allowed in this context"),
        (b"{bad", "yaml: line 1: did not find expected ',' or '}'"),
        (b"a: 1\nb: 2\n- c\n", "yaml: line 2: did not find expected key"),
    ],
)
def test_broken_yaml_is_told_as_by_gos_parser(text, told):
    with pytest.raises(bodies.BodyError) as error:
        bodies.decode_yaml(text)
    assert str(error.value) == told
