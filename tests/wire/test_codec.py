"""The codec: what goes through comes back the same to the letter, and what cannot go says why."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import socket
from contextlib import suppress
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm.repl.codec import DEPTH, LIFT, CodecError, decode, encode


def through_json(value: object) -> Any:
    tree, blobs = encode(value)
    text = json.dumps(tree, allow_nan=False)
    return decode(json.loads(text), blobs)


def letter(value: Any) -> Any:
    """What a value is to the letter: types, order, signs of zero and nan included, at any depth."""
    kind = type(value).__name__
    if isinstance(value, dict):
        return kind, [(letter(k), letter(v)) for k, v in value.items()]
    if isinstance(value, list | tuple):
        return kind, [letter(item) for item in value]
    if isinstance(value, set | frozenset):
        return kind, sorted(map(repr, map(letter, value)))
    return kind, repr(value)


def same(left: object, right: object) -> bool:
    return bool(letter(left) == letter(right))


TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
ZONES = st.one_of(
    st.none(),
    st.builds(dt.timezone, st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23))),
    st.builds(dt.timezone, st.just(dt.timedelta(hours=1)), TEXT.filter(bool)),
    st.just(ZoneInfo("Europe/Zurich")),
)
HASHABLE = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(10**400), 10**400),
        st.floats(),
        TEXT,
        st.binary(max_size=20),
        st.dates(),
        st.builds(lambda d, z, f: d.replace(tzinfo=z, fold=f), st.datetimes(), ZONES, st.sampled_from((0, 1))),
        st.times(),
        st.timedeltas(),
        st.decimals(),
        st.just(dt.UTC),
    ).filter(lambda v: not (isinstance(v, Decimal) and v.is_snan())),
    lambda inner: st.one_of(
        st.tuples(inner), st.tuples(inner, inner), st.frozensets(inner.filter(lambda v: v == v), max_size=3)
    ),
    max_leaves=5,
)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(TEXT, inner, max_size=4),
        st.dictionaries(st.sampled_from(["$", "v", "b"]), inner),
        st.dictionaries(HASHABLE.filter(lambda v: v == v), inner, max_size=4),
        st.sets(HASHABLE.filter(lambda v: v == v), max_size=4),
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(VALUES)
def test_every_value_comes_back_the_same_through_json_text(value: object) -> None:
    assert same(through_json(value), value)


TAGS = "tuple set frozenset dict blob ref float int text bytes decimal date datetime time timedelta timezone zone x"
TREES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["$", "v", "a"]), inner)
        | st.builds(lambda tag, v: {"$": tag, "v": v}, st.sampled_from(TAGS.split()), inner)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(TREES)
def test_decoding_what_nobody_encoded_gives_a_value_or_a_codec_error(tree: object) -> None:
    with suppress(CodecError):
        decode(tree, ["blob"])


@pytest.mark.parametrize(
    "text",
    ["\ud83d\ude00", "\ud83d", "a\udfffb", "\0", "\r\n", "\u2028", "😀", "'\"\\", "é" * LIFT, "\ud83d\ude00" * LIFT],
    ids=range(10),
)
def test_text_is_exact_surrogates_and_their_pairs_included(text: str) -> None:
    assert through_json({text: [text]}) == {text: [text]}


def test_a_pair_of_surrogates_and_the_character_it_stands_for_stay_two_keys() -> None:
    value = {"\ud83d\ude00": 1, "😀": 2}
    assert through_json(value) == value


def test_long_text_and_bytes_are_lifted_at_any_depth_and_never_copied() -> None:
    text, data = "x" * (LIFT + 1), b"y" * (LIFT + 1)
    tree, blobs = encode({"a": [(text, {data: text})], "b": "x" * LIFT})
    assert [id(b) for b in blobs] == [id(text), id(data)]
    assert len(json.dumps(tree)) < LIFT + 500
    back = decode(tree, blobs)
    assert back == {"a": [(text, {data: text})], "b": "x" * LIFT}
    assert back["a"][0][0] is text


class Words(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "other"


class Colour(enum.IntEnum):
    RED = 1


class Point(NamedTuple):
    x: int
    y: int


class Rows(list[int]):
    def __iter__(self) -> Any:
        raise RuntimeError("its own iteration")


class Table(dict[str, int]):
    pass


class Real(float):
    def __float__(self) -> float:
        raise RuntimeError("its own conversion")


def test_subclasses_go_as_their_base_types() -> None:
    value = [Words("w"), Colour.RED, Point(1, 2), Rows([1]), Table(a=1), Real(-0.0), type("B", (bytes,), {})(b"b")]
    back = through_json(value)
    assert same(back, ["w", 1, (1, 2), [1], {"a": 1}, -0.0, b"b"])


def test_a_dict_whose_keys_are_equal_as_plain_values_is_refused() -> None:
    class Own(str):
        __slots__ = ()
        __hash__ = object.__hash__

        def __eq__(self, other: object) -> bool:
            return self is other

    with pytest.raises(CodecError, match="equal as plain values"):
        encode({Own("a"): 1, Own("a"): 2})
    with pytest.raises(CodecError, match="equal as plain values"):
        encode({Own("a"), Own("a")})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, 2, 3, socket.socket]}, "context[\"a\"][3]: object of type 'type'"),
        ({"a": ({1: object()},)}, "context[\"a\"][0][1]: object of type 'object'"),
        ({"a": {object}}, "context[\"a\"]{an item}: object of type 'type'"),
        ({(1, object): 1}, "context[the key of type 'tuple'][1]: object of type 'type'"),
        (3j, "context: object of type 'complex'"),
        (bytearray(b"x"), "context: object of type 'bytearray'"),
        (range(3), "context: object of type 'range'"),
        (len, "context: object of type 'builtin_function_or_method'"),
    ],
    ids=range(8),
)
def test_an_error_names_the_path_and_the_type(value: object, message: str) -> None:
    with pytest.raises(CodecError) as caught:
        encode(value, "context")
    assert str(caught.value) == message
    assert isinstance(caught.value, TypeError)


def test_the_path_of_a_message_begins_with_the_name_of_its_part() -> None:
    with pytest.raises(CodecError, match=r"^args\[0\]\[\"x\"\]: object of type 'object'$"):
        encode({"name": "f", "args": [{"x": object()}]})


def test_a_value_that_contains_itself_is_an_error() -> None:
    loop: list[Any] = [1]
    loop.append({"again": loop})
    with pytest.raises(CodecError, match=r'^v\[1\]\["again"\]: a list that contains itself$'):
        encode(loop, "v")


def test_the_same_value_twice_is_no_cycle() -> None:
    inner = [1]
    assert through_json([inner, inner]) == [[1], [1]]


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = {"k": (value,)}
    return value


def test_nesting_is_bounded_with_a_clear_error() -> None:
    assert through_json(nested(DEPTH // 2)) == nested(DEPTH // 2)
    with pytest.raises(CodecError, match="nested more than 100 levels"):
        encode(nested(DEPTH // 2 + 1))
    tree: Any = 0
    for _ in range(500):
        tree = [tree]
    with pytest.raises(CodecError, match="nested"):
        decode(tree)


def test_encoding_near_the_end_of_the_stack_is_a_codec_error() -> None:
    def deep() -> None:
        try:
            deep()
        except RecursionError:
            encode(nested(40))

    with pytest.raises((CodecError, RecursionError)):
        deep()


def test_keys_made_to_collide_are_refused_before_they_are_inserted() -> None:
    prime = (1 << 61) - 1
    keys = [{"$": "int", "v": hex(i * prime)} for i in range(20_000)]
    with pytest.raises(CodecError, match="collide"):
        decode({"$": "set", "v": keys})
    with pytest.raises(CodecError, match="collide"):
        decode({"$": "dict", "v": [[key, 0] for key in keys]})
    assert through_json({(i, str(i)): i for i in range(20_000)}) == {(i, str(i)): i for i in range(20_000)}


def test_integers_of_any_size_are_exact() -> None:
    for value in (0, -1, 2**53 + 1, 10**5_000, -(7**100_000)):
        assert through_json(value) == value


def test_no_constant_beyond_json_is_used() -> None:
    tree, _ = encode([math.nan, math.inf, -math.inf])
    assert json.dumps(tree, allow_nan=False)
