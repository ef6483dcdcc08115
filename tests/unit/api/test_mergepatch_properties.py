"""JSON merge patch against the algorithm of RFC 7386, section 2, written down as it stands there; and what follows from it."""

import copy
import json

from hypothesis import given
from hypothesis import strategies as st

from lattice.api import mergepatch

KEYS = st.sampled_from(["a", "b", "c", ""])
SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "x", 0.5])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12)


def by_the_rfc(target, patch):
    if isinstance(patch, dict):
        if not isinstance(target, dict):
            target = {}
        for name, value in patch.items():
            if value is None:
                if name in target:
                    del target[name]
            else:
                target[name] = by_the_rfc(target.get(name), value)
        return target
    return patch


def text(value):
    return json.dumps(value, sort_keys=True)


@given(VALUES, VALUES)
def test_does_what_the_rfc_says_and_changes_no_argument(target, patch):
    before = text((target, patch))
    result = mergepatch.apply(target, patch)
    assert text(result) == text(by_the_rfc(copy.deepcopy(target), copy.deepcopy(patch)))
    assert text((target, patch)) == before


@given(VALUES, VALUES)
def test_once_is_as_good_as_twice(target, patch):
    once = mergepatch.apply(target, patch)
    assert text(mergepatch.apply(once, patch)) == text(once)


@given(VALUES, st.dictionaries(KEYS, VALUES), st.dictionaries(KEYS, VALUES))
def test_two_patches_of_different_members_may_come_in_any_order(target, first, second):
    second = {key: value for key, value in second.items() if key not in first}
    one = mergepatch.apply(mergepatch.apply(target, first), second)
    other = mergepatch.apply(mergepatch.apply(target, second), first)
    assert text(one) == text(other)
