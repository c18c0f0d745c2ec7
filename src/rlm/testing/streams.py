"""A hostile stream: what the worst place does to bytes, so that an environment is known to work everywhere.

Bytes come in pieces of seven, as text that was decoded and encoded again, with CRLF, between lines of noise; what was
sent is echoed, and the last two bytes come only with more.
"""

from __future__ import annotations

import codecs
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from rlm.environments._stream import StreamEnvironment
from rlm.protocols import ByteStream

PIECE: Final = 7
HELD: Final = 2
MUCH: Final = 10_000
"""Bytes of one message that are echoed; what is longer travels in larger pieces, so that megabytes come to an end."""
NOISE: Final = (
    "Welcome! ⚠ this image is deprecated\n",
    "$ \x1b[1mpython3\x1b[0m\r\n",
    '{"jsonrpc":"2.0","id":1,"result":{"value":{"b":[],"v":null}}}\n',
    "\n",
    "deadbeefdeadbeef<\n",
)


@dataclass(frozen=True, kw_only=True)
class HostileEnvironment(StreamEnvironment):
    """`inner`, behind a stream that treats its bytes as badly as text may be treated. `seed` decides where noise
    comes."""

    inner: StreamEnvironment
    piece: int = PIECE
    seed: int = 0
    random: random.Random = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "random", random.Random(self.seed))

    @property
    def python(self) -> tuple[str, ...]:
        return self.inner.python

    @property
    def path(self) -> tuple[str, ...]:
        return self.inner.path

    def connect(self, argv: Sequence[str]) -> AbstractAsyncContextManager[ByteStream]:
        return self._connect(argv)

    @asynccontextmanager
    async def _connect(self, argv: Sequence[str]) -> AsyncIterator[ByteStream]:
        async with self.inner.connect(argv) as stream:
            yield HostileStream(stream, self.piece, random.Random(self.random.random()))


class HostileStream:
    """Text only: no `byte_clean`, no `put`. Interrupts from outside pass, and so does the word of how it ended."""

    def __init__(self, inner: ByteStream, piece: int, chance: random.Random) -> None:
        self._inner = inner
        self._piece = piece
        self._chance = chance
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = bytearray(self._noise())
        self._echo = bytearray()
        self._ended = False

    async def send(self, data: bytes) -> None:
        """What is sent arrives with CRLF and in pieces, and comes back as an echo."""
        self._echo += data if len(data) < MUCH else data[:MUCH] + b"\n"
        arriving = data.replace(b"\n", b"\r\n")
        piece = self._piece if len(data) < MUCH else len(data) // 3
        for start in range(0, len(arriving), piece):
            await self._inner.send(arriving[start : start + piece])

    async def receive(self) -> bytes:
        while len(self._pending) <= HELD and not self._ended:
            data = await self._inner.receive()
            self._ended = not data
            for line in self._decoder.decode(data, final=not data).splitlines(keepends=True):
                self._pending += line.rstrip("\r\n").encode("utf-8")
                if line.endswith("\n"):
                    self._pending += b"\r\n" + self._noise() + self._echo
                    self._echo.clear()
        size = self._piece if len(self._pending) < MUCH else MUCH // 10 + 1
        piece = bytes(self._pending[: size if self._ended else min(size, len(self._pending) - HELD)])
        del self._pending[: len(piece)]
        return piece

    def _noise(self) -> bytes:
        return self._chance.choice(NOISE).encode("utf-8") if self._chance.random() < 0.3 else b""

    async def kill(self) -> None:
        await self._inner.kill()

    async def interrupt(self) -> None:
        interrupt = getattr(self._inner, "interrupt", None)
        if interrupt is not None:
            await interrupt()

    async def ended(self) -> str:
        ended = getattr(self._inner, "ended", None)
        return "" if ended is None else await ended()
