"""Digests tell every two values apart that are not the same, and are the same in every process."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from collections import OrderedDict, defaultdict
from decimal import Decimal
from enum import IntEnum
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm._journal_digest import Digester
from rlm.repl.codec import CodecError


def digest(value: object) -> str:
    return Digester().value(value, "it")


DAY = dt.date(2026, 11, 25)
LONG = "x" * 70_000
ALL_DIFFERENT: list[object] = [
    *(None, True, 1, 1.0, "1", b"1", Decimal(1), "true", "None", "", b"", 0, -0.0, 0.0, False, 2**200, "é", "e\u0301"),
    *([1], ["1"], [b"1"], (1,), {1}, frozenset({1}), {1: 1}, {"1": 1}, [[1]], [1, 1], [[], 1], [(), 1], [{}, 1]),
    *([LONG], [LONG.encode()], (LONG,), LONG, LONG.encode(), ["x" * 69_999, "x"], ["x", "x" * 69_999]),
    *(
        {"a": 1, "b": 2},
        {"b": 2, "a": 1},
        {"a": [1, 2]},
        {"a": (1, 2)},
        [["a", 1], ["b", 2]],
        {"ab": 1},
        ["a", "b"],
        ["ab"],
    ),
    *(
        [[1], [2]],
        [[1, 2], []],
        [[], [1, 2]],
        [[[1]], 2],
        [None, [None]],
        [[None], None],
        ["\ud800", "\udc00"],
        ["\U00010000"],
    ),
    *(
        DAY,
        [DAY],
        dt.datetime(2026, 11, 25),
        "2026-11-25",
        {"$": "date", "v": [2026, 11, 25]},
        float("nan"),
        [float("inf")],
    ),
    *({(1, 2): 3}, {(1, "2"): 3}, {frozenset({1}): 3}, {"a", "b"}, {"a", b"b"}, {1, 2}, {1, "2"}, {(1,)}, {(1, 2)}),
]


def test_values_that_differ_in_anything_have_different_digests() -> None:
    digests = [digest(value) for value in ALL_DIFFERENT]
    assert [ALL_DIFFERENT[i] for i, d in enumerate(digests) if digests.index(d) != i] == []


VALUES: Any = st.recursive(
    st.sampled_from([None, False, True, 0, 1, 0.0, 1.0, "", "0", "1", "10", b"", b"1", DAY]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from(["", "0", "1", 0, 2.0, b"1", (), (1,)]), inner, max_size=3),
        st.sets(st.sampled_from(["0", "1", 2, 2.5, b"1", None, (1,), frozenset({1})]), max_size=3),
    ),
    max_leaves=6,
)


def shape(value: Any) -> Any:
    """A value with all its types, comparable."""
    if isinstance(value, dict):
        return "dict", [(shape(key), shape(item)) for key, item in value.items()]
    if isinstance(value, set | frozenset):
        return type(value).__name__, sorted(map(repr, map(shape, value)))
    if isinstance(value, list | tuple):
        return type(value).__name__, [shape(item) for item in value]
    return type(value).__name__, repr(value)


@settings(max_examples=300, deadline=None)
@given(VALUES, VALUES)
def test_two_values_have_one_digest_exactly_when_they_are_the_same(one: Any, other: Any) -> None:
    assert (digest(one) == digest(other)) == (shape(one) == shape(other))


class Level(IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    y: str


def test_a_value_of_a_derived_type_is_what_it_is_carried_as() -> None:
    given: Any = [OrderedDict(a=1), defaultdict(list, b=[Level.LOW]), Point(1, "y"), type("Text", (str,), {})("t")]
    assert digest(given) == digest([{"a": 1}, {"b": [1]}, (1, "y"), "t"])


def test_the_digest_of_a_value_is_the_same_in_every_process() -> None:
    """A recording made elsewhere is compared with these digests: another one needs another version of the format."""
    program = """
import datetime
from rlm._journal_digest import Digester, task_digest
day = datetime.date(2026, 11, 25)
value = {"a": [1, -2.5, None, True, b"x", ("t", "é")], 3: {"s", "t", "u", "v"}, "set": {1, "a", (2,), 2.5}, "day": day}
print(task_digest(value, "q", Digester()))
"""
    for seed in ("0", "1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout == "1c9109c842db1911f36e75445f93e27c\n"


@pytest.mark.parametrize("inside", [[], {}, OrderedDict(), type("Items", (list,), {})()])
def test_a_value_that_contains_itself_is_refused(inside: Any) -> None:
    value = [1, inside]
    if isinstance(inside, dict):
        inside.update(a=value, b=value)
    else:
        inside.extend([value, value])
    with pytest.raises(CodecError, match="contains itself"):
        digest(value)


def test_what_is_in_a_value_twice_is_no_circle() -> None:
    shared = [1, [2]]
    assert digest([shared, [shared, shared]]) == digest([[1, [2]], [[1, [2]], [1, [2]]]])


@pytest.mark.parametrize(
    "value", [[{"a": [object()]}], {"a": bytearray(b"x")}, [memoryview(b"x")], {1: {2: complex(1)}}]
)
def test_what_cannot_be_carried_is_refused_with_the_path_to_it(value: Any) -> None:
    with pytest.raises(CodecError, match=r"^it\[.*: object of type"):
        digest(value)


def test_a_value_nested_too_deeply_is_refused() -> None:
    value: list[Any] = []
    for _ in range(200):
        value = [value]
    with pytest.raises(CodecError, match="nested"):
        digest(value)
