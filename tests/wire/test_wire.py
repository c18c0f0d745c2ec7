"""The host's end of the wire: every field of what an untrusted worker says is checked, and what it costs is bounded."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm.errors import WireError
from rlm.repl.channel import BYTES, PART, PROTOCOL, REQUESTS, Channel
from rlm.repl.codec import LIFT, encode
from rlm.wire import Asked, Printed, Ready, Returned, Wire

TOKEN = "0123456789abcdef"
LLM = {"kind": "llm", "prompt": "p", "model": None, "batch": None}


class Far:
    """The worker's end, which says what it likes."""

    def __init__(self, wire: Wire, *, raw: bool = True, greet: bool = True) -> None:
        self.wire = wire
        self.channel = Channel(TOKEN, "worker", raw, guarded=False)
        if greet:
            assert self.say(method="ready", params={"protocol": PROTOCOL, "python": "3.8.0"}) == [Ready("3.8.0")]

    def say(self, **message: Any) -> list[Any]:
        return self.wire.feed(self.channel.frame(**message))

    def ask(self, value: object, number: Any = 1, method: str = "query") -> list[Any]:
        return self.wire.feed(b"".join(self.asking(value, number, method)))

    def asking(self, value: object, number: Any = 1, method: str = "query") -> Iterator[bytes]:
        packed, blobs = self.channel.pack(*encode(value))
        for n, blob in blobs:
            yield from (piece for piece, _ in self.channel.pieces(n, blob))
        yield self.channel.frame(id=number, method=method, params={"value": packed})


def conversation(*, raw: bool = True) -> tuple[Wire, Far]:
    wire = Wire(TOKEN, raw=raw)
    return wire, Far(wire, raw=raw)


def shipped(wire: Wire, value: object) -> tuple[int, bytes]:
    number, shipment = wire.call("bind", {"name": "context"}, encode(value))
    data = b"".join(piece for n, blob in shipment.blobs for piece, _ in wire.pieces(n, blob)) + shipment.frame
    wire.know(shipment)
    return number, data


def test_a_conversation_as_it_should_be() -> None:
    wire, far = conversation()
    number, data = shipped(wire, {"a": "x" * (LIFT + 1)})
    (message, _), *_ = far.channel.feed(data)
    assert (message["id"], message["method"], message["params"]["name"]) == (number, "bind", "context")
    value, _, blobs = far.channel.unpack(message["params"]["value"])
    assert value == {"a": "x" * (LIFT + 1)}
    assert far.say(id=number, result={"value": {"v": None, "b": []}}) == [Returned(number, None)]
    assert far.ask(LLM, 5) == [Asked(5, "query", LLM)]
    assert far.say(method="output", params={"value": {"v": "text", "b": []}}) == [Printed("text")]
    (ref,) = blobs
    packed = {"v": {**LLM, "kind": "rlm", "context": {"$": "ref", "v": [ref, 10, 20]}}, "b": []}
    (asked,) = far.say(id=6, method="query", params={"value": packed})
    assert asked.params["context"] == "x" * 10
    for question in (5, 6):
        assert far.channel.feed(wire.answer(question, encode("reply")).frame)
        wire.settled(question)


def test_a_whole_bound_text_is_referred_to_without_a_copy() -> None:
    wire, far = conversation()
    text = "x" * (LIFT + 1)
    _, data = shipped(wire, text)
    (message, _), *_ = far.channel.feed(data)
    _, _, blobs = far.channel.unpack(message["params"]["value"])
    packed = {"v": {**LLM, "kind": "rlm", "context": [{"$": "ref", "v": [*blobs, 0, len(text)]}]}, "b": []}
    (asked,) = far.say(id=1, method="query", params={"value": packed})
    assert asked.params["context"][0] is text


V = {"v": None, "b": []}
WRONG: list[dict[str, Any]] = [
    {"method": "ready", "params": {"protocol": PROTOCOL, "python": "3.8.0"}},
    {"method": "bind", "params": {}},
    {"method": 5, "params": {}},
    {"method": "output", "params": {"value": V}},
    {"method": "output", "params": {"value": {"v": "x" * (LIFT + 1), "b": []}}},
    {"method": "output", "id": 1, "params": {"value": {"v": "x", "b": []}}},
    {"method": "output", "params": {"value": {"v": "x", "b": []}, "more": 1}},
    {"method": "output", "params": []},
    {"method": "credit", "params": {"bytes": 1}},
    {"id": 1, "result": {"value": V}},
    {"id": "1", "result": {"value": V}},
    {"id": None, "error": {"message": "m"}},
    {"id": [], "result": {"value": V}},
    {"id": 7, "method": "query", "params": {"value": V}},
    {"id": -1, "method": "query", "params": {"value": {"v": LLM, "b": []}}},
    {"id": True, "method": "query", "params": {"value": {"v": LLM, "b": []}}},
    {"id": 1 << 60, "method": "query", "params": {"value": {"v": LLM, "b": []}}},
    {"id": "1", "method": "query", "params": {"value": {"v": LLM, "b": []}}},
    {"method": "query", "params": {"value": {"v": LLM, "b": []}}},
    {"id": 1, "method": "query", "params": {"value": {"v": LLM, "b": []}}, "extra": 1},
    {"id": 1, "method": "query", "params": {"value": {"v": {**LLM, "more": 1}, "b": []}}},
    {"id": 1, "method": "query", "params": {"value": {"v": {"kind": "llm"}, "b": []}}},
    {"id": 1, "method": "query", "params": {"value": {"v": {**LLM, "prompt": 5}, "b": []}}},
    {"id": 1, "method": "query", "params": {"value": {"v": {**LLM, "prompt": [5]}, "b": []}}},
    {"id": 1, "method": "query", "params": {"value": {"v": {**LLM, "context": {"$": "ref", "v": [1, 0, 1]}}, "b": []}}},
    {"id": 1, "method": "query", "params": {"value": {"v": {**LLM, "context": {"$": "ref", "v": [1, 0]}}, "b": []}}},
    {"id": 1, "method": "query", "params": {"value": {"v": {**LLM, "context": {"$": "blob", "v": 0}}, "b": []}}},
    {"id": 1, "method": "query", "params": {"value": {"v": {**LLM, "context": {"$": "evil", "v": 0}}, "b": []}}},
    {"id": 1, "method": "tool", "params": {"value": {"v": {"name": 5, "args": [], "kwargs": {}}, "b": []}}},
    {"id": 1, "method": "tool", "params": {"value": {"v": {"name": "f", "args": {}, "kwargs": {}}, "b": []}}},
    {"id": 1, "method": "tool", "params": {"value": {"v": {"name": "f", "args": [], "kwargs": []}, "b": []}}},
    {
        "id": 1,
        "method": "tool",
        "params": {"value": {"v": {"name": "f", "args": [], "kwargs": {"$": "dict", "v": [[1, 2]]}}, "b": []}},
    },
]


@pytest.mark.parametrize("message", WRONG, ids=lambda m: json.dumps(m)[:80])
def test_what_is_not_the_protocol_is_a_wire_error(message: dict[str, Any]) -> None:
    _, far = conversation()
    with pytest.raises(WireError):
        far.say(**message)


@pytest.mark.parametrize(
    "message",
    [
        {"method": "output", "params": {"value": {"v": "x", "b": []}}},
        {"method": "ready", "params": {"protocol": PROTOCOL + 1, "python": "3"}},
        {"method": "ready", "params": {"protocol": PROTOCOL, "python": 3}},
        {"method": "ready", "params": {"protocol": PROTOCOL, "python": "3" * 1_000}},
        {"method": "ready", "params": 5},
        {"method": "ready"},
    ],
    ids=range(6),
)
def test_a_worker_says_first_that_it_is_ready_and_with_which_protocol(message: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        Far(Wire(TOKEN, raw=True), greet=False).say(**message)


def test_a_question_with_the_number_of_an_open_one_is_an_error_and_after_its_answer_it_is_not() -> None:
    wire, far = conversation()
    far.ask(LLM, 1)
    wire.settled(1)
    far.ask(LLM, 1)
    with pytest.raises(WireError):
        far.ask(LLM, 1)


def test_a_call_is_answered_once() -> None:
    wire, far = conversation()
    number, _ = wire.call("ping", {})
    far.say(id=number, result={"value": V})
    with pytest.raises(WireError):
        far.say(id=number, result={"value": V})


def test_open_questions_are_bounded_in_number() -> None:
    _, far = conversation()
    for number in range(REQUESTS):
        far.ask(LLM, number)
    with pytest.raises(WireError):
        far.ask(LLM, REQUESTS)


def test_open_questions_are_bounded_in_bytes() -> None:
    _, far = conversation()
    prompt = "x" * (BYTES // 8)
    for number in range(7):
        far.ask({**LLM, "prompt": prompt}, number)
    with pytest.raises(WireError):
        far.ask({**LLM, "prompt": prompt}, 8)


def test_slices_of_bound_text_cannot_be_multiplied_without_bound() -> None:
    wire, far = conversation()
    _, data = shipped(wire, "x" * 10_000_000)
    (message, _), *_ = far.channel.feed(data)
    _, _, blobs = far.channel.unpack(message["params"]["value"])
    context = [{"$": "ref", "v": [*blobs, 1, 10_000_000]}] * 1_000
    packed = {"v": {**LLM, "kind": "rlm", "context": context}, "b": []}
    (asked,) = far.say(id=1, method="query", params={"value": packed})
    assert "too large" in asked.problem
    wire.settled(1)
    assert far.ask(LLM, 2) == [Asked(2, "query", LLM)]


def test_output_made_of_slices_of_bound_text_without_bound_is_a_wire_error() -> None:
    wire, far = conversation()
    _, data = shipped(wire, "x" * 10_000_000)
    (message, _), *_ = far.channel.feed(data)
    _, _, blobs = far.channel.unpack(message["params"]["value"])
    slices = [{"$": "ref", "v": [*blobs, 1, 10_000_000]}] * 1_000
    with pytest.raises(WireError):
        far.say(method="output", params={"value": {"v": slices, "b": []}})


def tree_as_blob(far: Far, tree: str) -> dict[str, Any]:
    for piece, _ in far.channel.pieces(1, tree):
        assert far.wire.feed(piece) == []
    return {"value": {"j": 1, "b": []}}


@pytest.mark.parametrize("parts", ["[],", "0,"])
def test_a_value_of_too_many_parts_is_refused_before_it_is_read(parts: str) -> None:
    wire, far = conversation()
    number, _ = wire.call("execute", {})
    tree = "[" + parts * (BYTES // PART) + '"' + r"\"" * 1_000  # no JSON, as reading it would tell
    (returned,) = far.say(id=number, result=tree_as_blob(far, tree))
    assert isinstance(returned, Returned)
    assert "parts" in returned.error
    (asked,) = far.say(id=1, method="tool", params=tree_as_blob(far, tree))
    assert "parts" in asked.problem


def test_commas_and_brackets_inside_of_text_are_no_parts() -> None:
    wire, far = conversation()
    number, _ = wire.call("execute", {})
    lines = [r"a,{[\",," * 5_000] * (BYTES // PART // 25_000)
    assert far.say(id=number, result=tree_as_blob(far, json.dumps(lines))) == [Returned(number, lines)]


def test_open_questions_are_bounded_in_parts() -> None:
    _, far = conversation()
    many = {"value": {"v": {"name": "f", "args": [[0] * 400_000], "kwargs": {}}, "b": []}}
    most = BYTES // PART // 400_000
    for number in range(most - 1):
        far.say(id=number, method="tool", params=many)
    with pytest.raises(WireError, match="more questions"):
        far.say(id=most, method="tool", params=many)


def test_noise_is_kept_for_whoever_asks_why_there_is_no_worker() -> None:
    wire = Wire(TOKEN, raw=False)
    assert wire.feed("sh: python3: not found ⚠\r\n".encode()) == []
    assert wire.noise == "sh: python3: not found ⚠".encode().decode("utf-8", "backslashreplace")


def test_failures_of_any_size_fit_a_frame() -> None:
    wire, far = conversation()
    far.ask(LLM, 1)
    shipment = wire.fail(
        1, {"message": "😀" * 10_000_000, "kind": "server", "hint": "\x00" * 10_000_000, "model": None}
    )
    data = b"".join(piece for n, blob in shipment.blobs for piece, _ in wire.pieces(n, blob)) + shipment.frame
    (answer, _), *_ = far.channel.feed(data)
    value, _, _ = far.channel.unpack(answer["error"]["data"])
    assert value["message"].startswith("😀😀")
    assert len(data) < 1_000_000


MEMBERS = ["value", "v", "b", "j", "$", "id", "raw", "data", "text", "end"]
NUMBERS = st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=4),
    max_leaves=8,
)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(-1, 4) | JSON,
        "method": st.sampled_from(["ready", "query", "tool", "output", "blob", "drop", "credit", "bind"]) | JSON,
        "params": JSON,
        "result": JSON,
        "error": JSON,
    },
)


@settings(deadline=None, max_examples=300)
@given(st.lists(MESSAGES, max_size=6), st.booleans())
def test_any_messages_are_events_or_a_wire_error(messages: list[dict[str, Any]], raw: bool) -> None:
    wire, far = conversation(raw=raw)
    wire.call("execute", {}, encode("x"))
    for message in messages:
        try:
            far.say(**message)
        except WireError:
            return


@settings(deadline=None, max_examples=200)
@given(st.lists(st.binary(max_size=200), max_size=5), st.booleans())
def test_any_bytes_are_noise_or_a_wire_error(chunks: list[bytes], raw: bool) -> None:
    wire, _ = conversation(raw=raw)
    mark = TOKEN.encode() + b"<"
    for chunk in chunks:
        try:
            wire.feed(chunk)
            wire.feed(mark + chunk + b"\n")
        except WireError:
            return


def test_a_damaged_conversation_never_crashes_or_hangs() -> None:
    chance = random.Random(3)
    for _ in range(200):
        raw = chance.random() < 0.5
        wire, far = conversation(raw=raw)
        numbers = [wire.call("execute", {}, encode("x"))[0] for _ in range(3)]
        data = bytearray()
        for number in numbers:
            data += b"".join(far.asking({**LLM, "prompt": "é" * (LIFT + 9)}, number, chance.choice(["query", "tool"])))
            data += far.channel.frame(id=number, result={"value": {"v": {"$": "set", "v": [1, 2]}, "b": []}})
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(data))
            data[at : at + chance.randrange(50)] = chance.randbytes(chance.randrange(50))
        try:
            while data:
                size = chance.randrange(1, 50_000)
                wire.feed(bytes(data[:size]))
                del data[:size]
        except WireError:
            continue
