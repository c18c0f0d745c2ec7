"""Long texts as literal pieces plus spans of a source: a log holds which part of a context was read, and no copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from rlm.errors import TrajectoryError

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """`length` characters of a source from character `at`; `path` leads to the text where the source is a list or dict.

    `digest` is the first 16 hex digits of the SHA-256 of the characters as UTF-8 (lone surrogates passed through).
    """

    at: int
    length: int
    digest: str
    path: Path = ()

    def __str__(self) -> str:
        return f"⟦{place(self.path, self.at, self.length)}⟧"


class CutText(str):
    """Text of which `parts` keeps some as spans of the context of `run`. As a `str` it shows each span as its place."""

    __slots__ = ("parts", "run")
    parts: tuple[str | Span, ...]
    run: str

    def __new__(cls, parts: Sequence[str | Span], run: str) -> Self:
        self = super().__new__(cls, "".join(map(str, parts)))
        self.parts = tuple(parts)
        self.run = run
        return self

    def __getnewargs__(self) -> tuple[tuple[str | Span, ...], str]:  # type: ignore[override]
        return self.parts, self.run

    @property
    def size(self) -> int:
        """Characters of the whole text."""
        return sum(len(part) if isinstance(part, str) else part.length for part in self.parts)


def expand(text: str, context: object) -> str:
    """The exact text that a `CutText` stands for; any other text is returned as it is.

    Raises:
        TrajectoryError: the context is not the one the text was cut with.
    """
    if not isinstance(text, CutText):
        return text
    return "".join(part if isinstance(part, str) else _slice(part, context) for part in text.parts)


def _slice(span: Span, context: object) -> str:
    source = context
    for key in span.path:
        held = (
            key in source if isinstance(source, Mapping) else isinstance(source, (list, tuple)) and _within(key, source)
        )
        if not held:
            raise TrajectoryError(f"the context has nothing at {span}: it is not the one of this run")
        source = source[key]  # type: ignore[index]
    if not isinstance(source, str):
        raise TrajectoryError(f"{span} is {type(source).__name__}, not text: the context is not the one of this run")
    text = source[span.at : span.at + span.length]
    if len(text) != span.length or digest(text) != span.digest:
        raise TrajectoryError(f"{span} reads differently: the context is not the one of this run")
    return text


def place(path: Path, at: int, length: int) -> str:
    """A stretch of the context as an expression."""
    keys = "".join(f"[{key!r}]" for key in path)
    return f"context{keys}[{at}:{at + length}]"


def _within(key: str | int, items: Sequence[object]) -> bool:
    return isinstance(key, int) and 0 <= key < len(items)


def digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
