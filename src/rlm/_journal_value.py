"""Any value that can be carried, as pieces that tell it from every other value, for a digest.

Values are taken level by level, all of one type at once: a million entries are not a million steps of Python.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

from rlm.repl.codec import DEPTH, encode

Pieces = Iterator[str | bytes]
Above = tuple[set[int], ...]


def pieces(value: object, name: str = "") -> Pieces:
    """What the value says as `str`, the rest as `bytes`: types, sizes, numbers. Equal values of equal types give the
    same, in every process; `1`, `1.0`, `True`, `"1"` and `b"1"` differ, and so do lists and tuples.

    Raises:
        CodecError: it cannot be carried; names the path and the type.
    """
    return _Walk(value, name).level([value], (), 0)


class _Other(str):
    """A date, a decimal number, …, as it is carried."""

    __slots__ = ()


class _Walk:
    def __init__(self, value: object, name: str) -> None:
        self._value = value
        self._name = name
        self._sound = False

    def level(self, items: Sequence[Any], above: Above, depth: int) -> Pieces:
        """`above` are the containers that these are in, and others of their levels, by identity."""
        kinds = set(map(type, items))
        if not kinds <= _CODES.keys():
            above = self._under(above, {id(item) for item in items if type(item) not in _CODES}, depth)
            items = [item if type(item) in _CODES else self._plain(item) for item in items]
            kinds = set(map(type, items))
        if len(kinds) == 1:
            yield f"{len(items)}{_CODES[next(iter(kinds))]}".encode()
        else:
            yield "".join(map(_CODES.__getitem__, map(type, items))).encode()
        for kind in _CODES:
            if kind in kinds:
                some = items if len(kinds) == 1 else [item for item in items if type(item) is kind]
                if kind in _LEAVES:
                    yield from _LEAVES[kind](some)
                else:
                    yield from self._below(kind, some, above, depth)

    def _below(self, kind: type, some: Sequence[Any], above: Above, depth: int) -> Pieces:
        above = self._under(above, set(map(id, some)), depth)
        yield _numbers(map(len, some))
        if kind in (set, frozenset):
            some = [self._ordered(item) for item in some]
        if below := list(chain.from_iterable(some)):
            yield from self.level(below, above, depth + 1)
        if kind is dict and below:
            yield from self.level(list(chain.from_iterable(map(dict.values, some))), above, depth + 1)

    def _under(self, above: Above, these: set[int], depth: int) -> Above:
        """Where a container turns up below itself, or seems to, a value that has no end is refused."""
        if not self._sound and (depth > DEPTH or not all(map(these.isdisjoint, above))):
            encode(self._value, self._name)
            self._sound = True
        return (*above, these)

    def _plain(self, item: Any) -> Any:
        for kind, plain in _PLAIN.items():
            if isinstance(item, kind):
                return plain(item)
        try:
            return _Other(json.dumps(encode(item)[0]))
        except TypeError:
            encode(self._value, self._name)  # which knows the path to it
            raise

    def _ordered(self, items: Iterable[Any]) -> list[Any]:
        """The members of a set in an order of their own, not of this process."""
        kinds = set(map(type, items))
        if kinds <= {str} or kinds <= {int}:
            return sorted(items)
        return sorted(items, key=lambda item: [_raw(piece) for piece in self.level([item], (), 0)])


def _texts(some: Sequence[str]) -> Pieces:
    yield _numbers(map(len, some))
    yield "".join(some)


def _datas(some: Sequence[bytes]) -> Pieces:
    yield _numbers(map(len, some))
    yield b"".join(some).decode("latin-1")  # a key in it can be hidden as in a text


def _numbers(numbers: Iterable[int]) -> bytes:
    return ",".join(map(hex, numbers)).encode()  # long numbers are slow to write out in decimal, and may be refused


def _raw(piece: str | bytes) -> bytes:
    return piece.encode("utf-8", "surrogatepass") if isinstance(piece, str) else piece


_CODES: Final[dict[type, str]] = {
    type(None): "n",
    bool: "o",
    int: "i",
    float: "f",
    str: "s",
    _Other: "x",
    bytes: "b",
    list: "l",
    tuple: "t",
    dict: "d",
    set: "e",
    frozenset: "z",
}
_LEAVES: Final[dict[type, Callable[[Sequence[Any]], Pieces]]] = {
    type(None): lambda some: iter(()),
    bool: lambda some: iter((bytes(some),)),
    int: lambda some: iter((_numbers(some),)),
    float: lambda some: iter((",".join(map(repr, some)).encode(),)),
    str: _texts,
    _Other: _texts,
    bytes: _datas,
}
_PLAIN: Final[dict[type, Callable[[Any], Any]]] = {
    int: int.__pos__,
    float: float.__pos__,
    str: str.__str__,
    list: lambda item: list(list.__iter__(item)),
    dict: lambda item: dict(dict.items(item)),
    tuple: lambda item: tuple(tuple.__iter__(item)),
    set: lambda item: set(set.__iter__(item)),
    frozenset: lambda item: frozenset(frozenset.__iter__(item)),
    bytes: lambda item: bytes.__getitem__(item, slice(None)),
}
