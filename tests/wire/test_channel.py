"""Frames, blobs and flow control: the same on every stream, and bounded whatever comes."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm.repl import channel
from rlm.repl.channel import BLOBS, PIECE, WINDOW, Channel
from rlm.repl.codec import LIFT, encode
from rlm.repl.frames import FRAME, NOISE, FrameError, Reader, frame

TOKEN = "0123456789abcdef"


def pair(raw: bool) -> tuple[Channel, Channel]:
    return Channel(TOKEN, "host", raw, guarded=True), Channel(TOKEN, "worker", raw, guarded=False)


def sent(end: Channel, value: object) -> bytes:
    """All that goes over the stream for one value, in a message of its own."""
    packed, blobs = end.pack(*encode(value))
    data = b"".join(piece for number, blob in blobs for piece, _ in end.pieces(number, blob))
    return data + end.frame(method="m", params={"value": packed})


def received(end: Channel, data: bytes, sizes: list[int]) -> list[Any]:
    values, at = [], 0
    while at < len(data):
        size = sizes[at % len(sizes)]
        values += [end.unpack(m["params"]["value"])[0] for m, _ in end.feed(data[at : at + size])]
        at += size
    return values


@pytest.mark.parametrize("raw", [True, False])
@settings(deadline=None, max_examples=20)
@given(sizes=st.lists(st.integers(1, 5_000), min_size=1, max_size=5))
def test_values_arrive_whatever_pieces_the_stream_makes(raw: bool, sizes: list[int]) -> None:
    host, worker = pair(raw)
    values = [{"a": "é" * (LIFT + 1), "b": b"\r\n@" * LIFT}, "short", ["x" * 100] * 1_000]
    assert received(worker, b"".join(sent(host, v) for v in values), sizes) == values


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("text", ["a", "é", "€", "😀", "\ud800", "a😀"], ids=ascii)
def test_long_text_is_cut_between_characters(raw: bool, text: str) -> None:
    host, worker = pair(raw)
    for length in (PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, LIFT + 1):
        value = (text * length)[:length]
        assert received(worker, sent(host, value), [60_001]) == [value]


@pytest.mark.parametrize("raw", [True, False])
def test_no_frame_is_longer_than_the_limit_whatever_the_text(raw: bool) -> None:
    host, _ = pair(raw)
    for value in ("😀" * 200_000, b"\xff" * 500_000, ["😀" * LIFT], {"k" * LIFT: "\x01" * LIFT}):
        for line in sent(host, value).split(b"\n") if not raw else []:
            assert len(line) <= FRAME
        packed, blobs = host.pack(*encode(value))
        assert len(host.frame(method="m", params={"value": packed})) <= FRAME
        assert all(len(piece) <= FRAME for n, b in blobs for piece, _ in host.pieces(n, b))


def test_a_text_stream_carries_ascii_only() -> None:
    host, _ = pair(raw=False)
    assert sent(host, {"é": ["😀" * LIFT * 2, b"\xff" * LIFT * 2]}).isascii()


def test_lines_without_the_mark_are_noise_and_remembered_within_bounds() -> None:
    reader = Reader(b"mark<", raw=False)
    data = b"banner\r\n$ mark<" + frame(b"", {"jsonrpc": "2.0", "method": "x"}) + b"n" * 3 * FRAME + b"\nlast words"
    out = [m for i in range(0, len(data), 1000) for m, _, _ in reader.feed(data[i : i + 1000])]
    assert out == [{"jsonrpc": "2.0", "method": "x"}]
    assert len(reader._buffer) < 2 * FRAME
    assert len(reader.unread()) <= NOISE
    assert reader.unread().endswith(b"last words")


def test_noise_of_any_length_without_a_line_end_is_not_kept() -> None:
    reader = Reader(b"mark<", raw=True)
    for _ in range(40):
        assert reader.feed(b"n" * 100_000) == []
        assert len(reader._buffer) <= FRAME + 100_000


@pytest.mark.parametrize(
    "data",
    [
        b"mark<not json\n",
        b"mark<[]\n",
        b"mark<{}\n",
        b'mark<{"jsonrpc":"1.0"}\n',
        b'mark<{"jsonrpc":"2.0","x":"\xc3\xa9"}\n',
        b'mark<{"jsonrpc":"2.0","x":NaN}\n',
        b'mark<{"jsonrpc":"2.0","x":' + b"9" * 5_000 + b"}\n",
        b'mark<{"jsonrpc":"2.0","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
        b'mark<{"jsonrpc":"2.0","x":"' + b"x" * FRAME + b'"}\n',
        b'mark<{"jsonrpc":"2.0","x":"' + b"x" * FRAME * 2,
        b'mark<{"jsonrpc":"2.0","params":{"raw":-1}}\n',
        b'mark<{"jsonrpc":"2.0","params":{"raw":2000000}}\n',
        b'mark<{"jsonrpc":"2.0","params":{"raw":true}}\n',
        b'mark<{"jsonrpc":"2.0","params":{"data":5}}\n',
        b'mark<{"jsonrpc":"2.0","params":{"data":"a"}}\n',
    ],
    ids=range(15),
)
def test_a_frame_that_is_not_the_protocol_is_an_error(data: bytes) -> None:
    with pytest.raises(FrameError):
        Reader(b"mark<", raw=True).feed(data)


def test_raw_bytes_are_refused_where_the_stream_is_text() -> None:
    with pytest.raises(FrameError):
        Reader(b"mark<", raw=False).feed(b'mark<{"jsonrpc":"2.0","params":{"raw":1}}\n')


def test_a_sender_stays_within_the_window_and_the_receiver_opens_it_again() -> None:
    host, worker = pair(raw=True)
    blob = "x" * (3 * WINDOW)
    on_its_way = arrived = 0
    for piece, size in worker.pieces(1, blob):
        while not worker.has_room(size):
            acknowledgement = host.acknowledgement()
            assert acknowledgement, "the window is closed and nothing opens it"
            worker.feed(acknowledgement)
        worker.sent += size
        on_its_way = max(on_its_way, worker.sent - worker.acknowledged)
        host.feed(piece)
        arrived += size
    assert arrived == len(blob)
    assert on_its_way <= WINDOW


@pytest.mark.parametrize("total", [-1, 1, True, None, "1", 10**30])
def test_credit_for_what_was_not_sent_is_an_error(total: object) -> None:
    host, worker = pair(raw=True)
    with pytest.raises(FrameError):
        host.feed(worker.frame(method="credit", params={"bytes": total}))


def blob(sender: Channel, payload: bytes = b"", **params: object) -> bytes:
    return frame(sender.mark, {"jsonrpc": "2.0", "method": "blob", "params": {"raw": len(payload), **params}}, payload)


@pytest.mark.parametrize(
    "params",
    [
        {"id": "1", "text": True, "end": True},
        {"id": True, "text": True, "end": True},
        {"id": 1, "text": 1, "end": True},
        {"id": 1, "text": True},
        {"id": 1, "text": True, "end": True, "path": "/etc/passwd"},
    ],
    ids=range(5),
)
def test_a_piece_with_wrong_fields_is_an_error(params: dict[str, object]) -> None:
    host, worker = pair(raw=True)
    with pytest.raises(FrameError):
        host.feed(blob(worker, b"x", **params))


def test_text_that_is_not_utf8_is_an_error() -> None:
    host, worker = pair(raw=True)
    with pytest.raises(FrameError):
        host.feed(blob(worker, b"\xff", id=1, text=True, end=True))


def test_a_blob_may_not_change_its_kind_come_twice_or_be_claimed_twice() -> None:
    host, worker = pair(raw=True)
    host.feed(blob(worker, b"x", id=1, text=True, end=False))
    with pytest.raises(FrameError):
        host.feed(blob(worker, b"x", id=1, text=False, end=False))
    host.feed(blob(worker, b"x", id=2, text=True, end=True))
    with pytest.raises(FrameError):
        host.feed(blob(worker, b"x", id=2, text=True, end=True))
    assert host.unpack({"v": {"$": "blob", "v": 0}, "b": [2]})[0] == "x"
    with pytest.raises(FrameError):
        host.unpack({"v": 0, "b": [2]})


@pytest.mark.parametrize(
    "packed",
    [
        None,
        [],
        {},
        {"v": 1},
        {"b": []},
        {"b": 5, "v": 1},
        {"b": [], "v": 1, "j": 1},
        {"b": [7], "v": 1},
        {"b": [], "j": 1},
    ],
    ids=repr,
)
def test_a_value_that_was_not_packed_is_an_error(packed: object) -> None:
    host, _ = pair(raw=True)
    with pytest.raises(FrameError):
        host.unpack(packed)


@pytest.mark.parametrize("text", [b"[", b"NaN", b"[" * 100_000, b'{"$":"set","v":[[]]}', b"\xc3\xa9"], ids=range(5))
def test_a_tree_that_came_as_a_blob_is_checked_like_any_other(text: bytes) -> None:
    host, worker = pair(raw=True)
    host.feed(blob(worker, text, id=1, text=True, end=True))
    with pytest.raises(FrameError):
        host.unpack({"b": [], "j": 1})


def test_what_a_worker_can_make_the_host_hold_in_blobs_is_bounded() -> None:
    host, worker = pair(raw=True)
    piece = b"x" * (1 << 20)
    for _ in range(channel.BYTES // len(piece)):
        host.feed(blob(worker, piece, id=1, text=False, end=False))
    with pytest.raises(FrameError, match="more in blobs"):
        host.feed(blob(worker, piece, id=1, text=False, end=False))


def test_many_tiny_blobs_are_bounded_too() -> None:
    host, worker = pair(raw=True)
    for number in range(BLOBS):
        host.feed(blob(worker, b"x", id=number, text=True, end=number % 2 == 0))
    with pytest.raises(FrameError, match="more in blobs"):
        host.feed(blob(worker, b"x", id=BLOBS, text=True, end=True))


def test_dropped_blobs_take_no_room() -> None:
    host, worker = pair(raw=True)
    for number in range(3 * BLOBS):
        host.feed(blob(worker, b"x" * 1_000, id=number, text=True, end=bool(number % 2)))
        host.feed(worker.drop([number, 10**6]))
    assert host._held == 0


@settings(deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_behind_the_mark_are_messages_or_a_frame_error(data: bytes, raw: bool) -> None:
    host = Channel(TOKEN, "host", raw, guarded=True)
    mark = TOKEN.encode() + b"<"
    try:
        for message, _ in host.feed(mark + data.replace(b"@", b"\n" + mark) + b"\n"):
            host.unpack(message.get("params"))
    except FrameError:
        return


def test_a_conversation_with_random_damage_never_crashes_or_hangs() -> None:
    chance = random.Random(7)
    for _ in range(300):
        host, worker = pair(raw=chance.random() < 0.5)
        data = bytearray(b"".join(sent(worker, v) for v in ({"a": "é" * (LIFT + 5)}, [1, (2, b"x")], "t" * 300_000)))
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(data))
            match chance.randrange(3):
                case 0:
                    data[at] = chance.randrange(256)
                case 1:
                    del data[at : at + chance.randrange(1, 2_000)]
                case _:
                    data[at:at] = data[chance.randrange(len(data)) :][: chance.randrange(1, 2_000)]
        try:
            received(host, bytes(data), [chance.randrange(1, 100_000)])
        except FrameError:
            continue
