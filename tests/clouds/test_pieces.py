"""What the relay of `prime` numbers arrives whole and in order, or is known not to have."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm.environments.prime import BEAT, PIECE, RELAY, Pieces

SAID = bytes(range(256)) * 1_000
PRINT = "import sys; [sys.stdout.buffer.write(bytes(range(256))) for _ in range(1000)]; sys.exit(7)"


@pytest.fixture(scope="module")
def numbered() -> bytes:
    """What a real relay made of a real program's output."""
    done = subprocess.run([sys.executable, "-c", RELAY, sys.executable, "-c", PRINT], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (7, b"")
    return done.stdout


def received(pieces: Pieces, *parts: bytes) -> tuple[bytes, bool]:
    """What was delivered, and whether something was found to be missing."""
    out = b""
    try:
        for part in parts:
            for piece in pieces.feed(part):
                out += piece
    except ConnectionError:
        return out, True
    return out, False


@settings(max_examples=50, deadline=None)
@given(cuts=st.lists(st.integers(min_value=0, max_value=300_000), max_size=20))
def test_pieces_arrive_whole_however_they_are_cut(numbered: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(numbered)) for cut in cuts), len(numbered)]
    parts = [numbered[a:b] for a, b in itertools.pairwise(edges)]
    assert received(Pieces(), *parts) == (SAID, False)


@settings(max_examples=200, deadline=None)
@given(at=st.integers(min_value=0, max_value=300_000), size=st.integers(min_value=1, max_value=300_000))
def test_nothing_is_delivered_that_stands_behind_a_gap(numbered: bytes, at: int, size: int) -> None:
    at = min(at, len(numbered) - 1)
    out, noticed = received(Pieces(), numbered[:at], numbered[at + size :])
    assert SAID.startswith(out)
    assert noticed or len(out) < len(SAID)


def test_a_beat_tells_of_a_gap_before_it(numbered: bytes) -> None:
    lost = numbered[: numbered.index(b"\n") + 1 + min(PIECE, int(numbered.split(b" ", 2)[1]))]
    beat = b"%d 0 0\n" % len(SAID)
    assert received(Pieces(), numbered, beat) == (SAID, False)
    out, noticed = received(Pieces(), lost, beat)
    assert SAID.startswith(out)
    assert noticed == (out != SAID)


@pytest.mark.parametrize(
    "garbage", [b"x" * 65, b"\n", b"0 -1 0\n", b"0 99999999 0\n", b"0 1 0\nx", b"1 0 0\n", b"a b c\n"]
)
def test_garbage_is_a_gap(garbage: bytes) -> None:
    assert received(Pieces(), garbage) == (b"", True)


def test_a_relay_beats_while_nothing_is_said_and_passes_an_interrupt_on() -> None:
    code = "import time\ntry:\n    time.sleep(600)\nexcept KeyboardInterrupt:\n    print('stopped')"
    with subprocess.Popen([sys.executable, "-c", RELAY, sys.executable, "-c", code], stdout=subprocess.PIPE) as relay:
        assert relay.stdout is not None
        assert relay.stdout.readline() == b"0 0 0\n", BEAT
        relay.send_signal(2)
        assert received(Pieces(), relay.stdout.read()) == (b"stopped\n", False)
    assert relay.returncode == 0
