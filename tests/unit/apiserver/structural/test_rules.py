# ruff: noqa: E501 - tables: one case, one row
"""``x-kubernetes-validations``: what rules can say, when they run, what they answer, and that none can hang the server."""

from typing import Any

import pytest

from controller.apiserver.structural import cost, expressions, rules
from controller.apiserver.structural.structural import Structural
from lattice.testing import schemas
from lattice.testing.schemas import INTEGER, STRING, make_list, make_object

FIELDS = make_object(
    count=INTEGER,
    ratio={"type": "number"},
    name=STRING,
    url=STRING,
    address=STRING,
    size=schemas.int_or_string(),
    numbers=make_list(INTEGER),
    words=make_list(STRING),
    labels={"type": "object", "additionalProperties": STRING},
    ports=make_list(make_object(name=STRING, port=INTEGER), keys=("name",)),
    **{"for": STRING, "my-name": STRING, "nothing": {**STRING, "nullable": True}},
)
VALUE: dict[str, Any] = {
    "count": 3, "ratio": 2, "name": "aBc", "url": "https://user@example.com:80/path?a=b", "address": "10.1.2.3", "size": "500m",
    "numbers": [3, 1, 2], "words": ["a", "b"], "labels": {"a.b": "x"}, "ports": [{"name": "http", "port": 80}, {"name": "https", "port": 443}],
    "for": "y", "my-name": "z", "nothing": None,
}  # fmt: skip


def run(rule: Any, value: Any = None, old: Any = None, schema: dict[str, Any] | None = None) -> list[str]:
    rule = {"rule": rule} if isinstance(rule, str) else rule
    node = {**(schema or FIELDS), "x-kubernetes-validations": [rule]}
    before = {"spec": old} if old is not None else None
    causes = rules.Rules(make_object(spec=node)).check({"spec": VALUE if value is None else value}, before)
    return [f"{cause.field}: {cause.message}" for cause in causes]


@pytest.mark.parametrize("rule", [
    "has(self.count) && !has(self.missing)",
    "self.ports.all(p, p.port > 0) && self.ports.exists(p, p.name == 'http') && self.ports.exists_one(p, p.port == 80)",
    "self.ports.map(p, p.name) == ['http', 'https'] && self.ports.filter(p, p.port > 100).size() == 1",
    "size(self.numbers) == 3 && self.name.size() == 3",
    "self.name.lowerAscii() == 'abc' && self.name.upperAscii() == 'ABC' && self.name.matches('^a[A-Z]c$')",
    "self.name.startsWith('a') && self.name.endsWith('c') && self.name.contains('B')",
    "self.name.split('B') == ['a', 'c'] && self.name.replace('B', 'x') == 'axc' && self.name.indexOf('B') == 1 && self.name.substring(1, 2) == 'B'",
    "' x '.trim() == 'x' && self.words.join('-') == 'a-b' && self.name.charAt(1) == 'B'",
    "'%s has %d'.format([self.name, self.count]) == 'aBc has 3'",
    "'a.b' in self.labels && self.count in [1, 2, 3] && !(9 in self.numbers)",
    "(self.count > 2 ? 'many' : 'few') == 'many'",
    "self.count / 2 == 1 && self.count % 2 == 1 && double(self.count) / 2.0 == 1.5",
    "self.ratio / 4.0 == 0.5 && self.ratio == 2.0 && type(self.ratio) == double && type(self.count) == int",
    "type(self.size) == string && (type(self.size) == int ? self.size > 0 : self.size != '')",
    "self.__for__ == 'y' && self.my__dash__name == 'z'",
    "self.nothing == null",
    "self.?count.orValue(5) == 3 && self.?missing.orValue(5) == 5 && !self.?missing.hasValue()",
    "cel.bind(n, self.count, n + n == 6) && math.greatest(self.numbers) == 3",
    "duration('1h') > duration('30m') && timestamp('2026-01-01T00:00:00Z').getFullYear() == 2026",
    "self.numbers.sum() == 6 && self.numbers.min() == 1 && self.numbers.max() == 3 && !self.numbers.isSorted() && self.words.isSorted()",
    "sets.contains(self.numbers, [1, 2]) && sets.equivalent([1, 2], [2, 1, 1]) && !sets.intersects(self.words, ['z'])",
    "'a12b3'.find('[0-9]+') == '12' && 'a12b3'.findAll('[0-9]+') == ['12', '3'] && 'a12b3'.findAll('[0-9]', 1) == ['1']",
    "isURL(self.url) && url(self.url).getScheme() == 'https' && url(self.url).getHost() == 'example.com:80' && !isURL('not a url')",
    "url(self.url).getHostname() == 'example.com' && url(self.url).getPort() == '80' && url(self.url).getEscapedPath() == '/path'",
    "url(self.url).getQuery()['a'] == ['b']",
    "isIP(self.address) && ip(self.address).family() == 4 && !ip(self.address).isLoopback() && ip('::1').isLoopback() && !isIP('1.2.3')",
    "cidr('10.0.0.0/8').containsIP(self.address) && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.0.0.0/8').prefixLength() == 8",
    "ip.isCanonical('::1') && !ip.isCanonical('0:0:0:0:0:0:0:1') && cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')",
    "quantity('1Gi') == quantity('1024Mi') && quantity(self.size).isLessThan(quantity('1')) && isQuantity('50k') && !isQuantity('x')",
    "quantity('1').add(quantity('2')).sub(1).asInteger() == 2 && quantity('-1').sign() == -1 && quantity('1').compareTo(quantity('2')) == -1",
    "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('v1', true) == semver('1.0.0') && semver('1.0.0').isGreaterThan(semver('1.0.0-rc.1'))",
])  # fmt: skip
def test_rules_can_say_what_they_can_in_kubernetes(rule: str) -> None:
    assert run(rule) == []


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("self.count < 2", 'spec: Invalid value: "object": failed rule: self.count < 2'),
        ({"rule": "self.count < 2", "message": " too many "}, 'spec: Invalid value: "object": too many'),
        ({"rule": "self.count < 2", "messageExpression": "'got ' + string(self.count)"}, 'spec: Invalid value: "object": got 3'),
        ({"rule": "self.count < 2", "message": "m", "messageExpression": "self.labels['no']"}, 'spec: Invalid value: "object": m'),
        ({"rule": "self.count < 2", "reason": "FieldValueForbidden", "message": "no"}, "spec: Forbidden: no"),
        ({"rule": "self.count < 2", "reason": "FieldValueRequired", "message": "no"}, "spec: Required value: no"),
        ({"rule": "self.count < 2", "reason": "FieldValueDuplicate", "message": "no"}, 'spec: Duplicate value: "object"'),
        ({"rule": "self.count < 2", "fieldPath": ".count", "message": "no"}, 'spec.count: Invalid value: "object": no'),
        ("self.numbers[7] == 1", 'spec: Invalid value: "object": index out of bounds: 7 evaluating rule: self.numbers[7] == 1'),
        ("self.labels['x'] == ''", "spec: Invalid value: \"object\": no such key: x evaluating rule: self.labels['x'] == ''"),
        ("1 / (self.count - 3) == 1", 'spec: Invalid value: "object": division by zero evaluating rule: 1 / (self.count - 3) == 1'),
        ("self.size > 5", "spec: Invalid value: \"object\": 'no such overload': call arguments did not match a supported operator, function "
                          "or macro signature for rule: self.size > 5"),
        ("quantity(self.name) == quantity('1')", "spec: Invalid value: \"object\": 'aBc' is not a quantity: write a number with an optional "
         "suffix, such as 500m, 1.5, 512Mi or 10G evaluating rule: quantity(self.name) == quantity('1')"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_told_as_kubernetes_tells_it(rule: Any, expected: str) -> None:
    assert run(rule) == [expected]


@pytest.mark.parametrize("rule", ["self.", "nonsense(1)", "self.count + ", "'a' + 1", "1 + 2", "self.all(x, y)", ""])
def test_what_is_no_rule_does_not_compile(rule: str) -> None:
    with pytest.raises(expressions.CompileError):
        run(rule)


def test_rules_stand_at_every_depth_and_inside_of_all_of() -> None:
    port = {**make_object(port={**INTEGER, "x-kubernetes-validations": [{"rule": "self < 100"}]}), "allOf": [
        {"x-kubernetes-validations": [{"rule": "self.port != 50"}]}]}  # fmt: skip
    schema = make_object(
        ports=make_list(port),
        more={"type": "object", "additionalProperties": {**STRING, "x-kubernetes-validations": [{"rule": "self != 'x'"}]}},
    )
    obj = {"ports": [{"port": 1}, {"port": 200}, {"port": 50}], "more": {"k": "x"}}
    assert [f"{cause.field}: {cause.message}" for cause in rules.Rules(schema).check(obj)] == [
        'ports[1].port: Invalid value: "integer": failed rule: self < 100',
        'ports[2]: Invalid value: "object": failed rule: self.port != 50',
        "more[k]: Invalid value: \"string\": failed rule: self != 'x'",
    ]


def test_a_rule_of_the_root_sees_the_name_and_has_no_field() -> None:
    schema = {
        **schemas.specimen_schema(),
        "x-kubernetes-validations": [{"rule": "self.metadata.name == 'other' && self.kind == 'Specimen'"}],
    }
    (cause,) = Structural(schema).check({**schemas.specimen(), "spec": {"image": "x"}})
    assert cause.field == "<nil>"


def test_a_transition_rule_runs_only_where_there_is_an_old_value() -> None:
    rule = {"rule": "self.name == oldSelf.name", "message": "name is immutable"}
    assert run(rule) == []
    assert run(rule, old=VALUE) == []
    assert run(rule, old={**VALUE, "name": "other"}) == ['spec: Invalid value: "object": name is immutable']


def test_an_optional_old_value_runs_always() -> None:
    rule = {"rule": "oldSelf.hasValue() ? oldSelf.value().count <= self.count : self.count == 3", "optionalOldSelf": True}
    assert run(rule) == []
    assert run(rule, old={**VALUE, "count": 2}) == []
    assert len(run(rule, old={**VALUE, "count": 4})) == 1


def test_items_of_a_list_map_meet_their_old_selves_by_key() -> None:
    item = make_object(name=STRING, port={**INTEGER, "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]})
    schema = make_object(ports=make_list(item, keys=("name",)))
    old = {"ports": [{"name": "a", "port": 5}, {"name": "b", "port": 1}]}
    new = {"ports": [{"name": "new", "port": 0}, {"name": "b", "port": 1}, {"name": "a", "port": 4}]}
    assert [cause.field for cause in rules.Rules(schema).check(new, old)] == ["ports[2].port"]


def test_a_rule_that_was_broken_before_is_tolerated_unless_it_is_about_the_change() -> None:
    assert run("self.count < 2", old=VALUE) == []
    assert len(run("self.count < 2", old={**VALUE, "name": "x"})) == 1
    assert len(run("self.count < 2 && oldSelf.count == 3", old=VALUE)) == 1


def test_rules_wait_until_the_types_are_right() -> None:
    schema = schemas.specimen_schema()
    schema["properties"]["spec"]["x-kubernetes-validations"] = [{"rule": "self.image == 'x'"}]
    messages = [(cause.field, cause.message) for cause in Structural(schema).check(schemas.specimen(mode="Bad"))]
    assert messages == [
        ("spec.mode", 'Unsupported value: "Bad": supported values: "Fast", "Slow"'),
        ("<nil>", "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing "
                  "errors to complete validation"),
    ]  # fmt: skip


@pytest.mark.timeout(10)
@pytest.mark.parametrize("rule", [
    "self.words.all(x, self.words.exists(y, y == x))",
    "self.words.map(x, x + x).size() > 0",
    "self.words.all(x, x in self.words)",
    "self.words.all(x, self.words == self.words)",
    "self.words.map(x, self.words.map(y, self.words.map(z, z))).size() > 0",
    "self.name.replace('x', self.name).size() > 0",
    "self.name.matches('(x+x+)+y')",
    "self.words.join(self.name).size() > 0",
    "self.words.isSorted() && sets.equivalent(self.words, self.words)",
])  # fmt: skip
def test_no_rule_can_hang_the_server(rule: str) -> None:
    run(rule, {"words": [str(i) for i in range(100_000)], "name": "x" * 1_000_000})


def test_small_objects_stay_far_below_the_budget() -> None:
    work = cost.Work(expressions.Expression("self.ports.all(p, self.ports.exists(q, q.name == p.name))"))
    assert work.units(cost.measure(VALUE)) < cost.OBJECT_BUDGET / 1000
