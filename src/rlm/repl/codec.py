"""Values to JSON-able trees and back, exactly, the same for everything that crosses the wire.

Plain JSON stands for itself: `None`, bool, int, finite float, str, list, and dict with text keys. Whatever JSON
cannot hold exactly is an object {"$": tag, "v": …}. Long text and bytes are left out of the tree, as blobs, and never
copied here.
"""

from __future__ import annotations

import binascii
import datetime as dt
import decimal
import math
from typing import Any, Callable, Iterator, Sequence

LIFT = 65_536  # characters of text, or bytes, above which they travel as a blob
DEPTH = 100  # of nested values; a level is up to three levels of JSON, and JSON readers recurse
SAFE_INT = 1 << 128  # larger ones go as hex: reading long decimal numbers is quadratic, and refused by new Pythons
COLLISIONS = 1_000
_TAG = "$"
_EXACT = frozenset((type(None), bool, int, float, str, bytes, tuple, frozenset))


Refer = Callable[[Any], Any]
Resolve = Callable[[int, int, int], str]


class CodecError(TypeError):
    """A value cannot be carried; the message names the path to it and its type."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message

    def under(self, step: str) -> CodecError:
        self.path = step + self.path
        return self


def encode(value: Any, name: str = "", refer: Refer | None = None) -> tuple[Any, list[str | bytes]]:
    """(tree, blobs) of a value. `name` begins the path in errors; `refer(text)` may give [blob, start, stop] known to
    the far side."""
    encoder = _Encoder(refer)
    try:
        return encoder.encode(value, 0), encoder.blobs
    except CodecError as exc:
        if not name and exc.path.startswith('["'):  # the names of a message's own parts are no subscripts
            part, _, rest = exc.path[2:].partition('"]')
            raise CodecError(exc.message, part + rest) from None
        raise exc.under(name) from None
    except RecursionError:
        raise CodecError("nested too deeply for the stack it was sent from", name) from None


class _Encoder:
    def __init__(self, refer: Refer | None) -> None:
        self.blobs: list[str | bytes] = []
        self._refer = refer
        self._lifted: dict[int, int] = {}
        self._open: set[int] = set()

    def encode(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return self._text(value)
        if value is None or kind is bool:
            return value
        if isinstance(value, int):
            value = int.__pos__(value)
            return value if -SAFE_INT < value < SAFE_INT else _tagged("int", self._text(hex(value)))
        if isinstance(value, float):
            value = float.__pos__(value)
            return value if math.isfinite(value) else _tagged("float", repr(value))
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if isinstance(value, (list, dict, tuple, set, frozenset)):
            return self._container(value, depth)
        if isinstance(value, bytes):
            return self._bytes(bytes.__getitem__(value, slice(None)))
        return self._other(value, depth)

    def _text(self, text: str) -> Any:
        if len(text) > LIFT:
            return self._lift(text)
        if text.isascii() or not _has_surrogate(text):
            return text
        return _tagged("text", _base64(text.encode("utf-8", "surrogatepass")))

    def _bytes(self, data: bytes) -> Any:
        return self._lift(data) if len(data) > LIFT else _tagged("bytes", _base64(data))

    def _lift(self, value: str | bytes) -> Any:
        known = None if self._refer is None else self._refer(value)
        if known is not None:
            return _tagged("ref", known)
        at = self._lifted.get(id(value))
        if at is None:
            at = self._lifted[id(value)] = len(self.blobs)
            self.blobs.append(value)  # which also keeps the id its own
        return _tagged("blob", at)

    def _container(self, value: Any, depth: int) -> Any:
        if id(value) in self._open:
            raise CodecError(f"a {type(value).__name__} that contains itself")
        if depth >= DEPTH:
            raise CodecError(f"nested more than {DEPTH} levels deep")
        self._open.add(id(value))
        try:
            if isinstance(value, dict):
                return self._dict(value, depth + 1)
            if isinstance(value, list):
                return self._items(list.__iter__(value), depth + 1)
            if isinstance(value, tuple):
                return _tagged("tuple", self._items(tuple.__iter__(value), depth + 1))
            kind = set if isinstance(value, set) else frozenset
            return _tagged(kind.__name__, self._members(value, kind, depth + 1))
        finally:
            self._open.discard(id(value))

    def _items(self, values: Iterator[Any], depth: int) -> list[Any]:
        out: list[Any] = []
        append, encode = out.append, self.encode
        for value in values:
            try:
                append(encode(value, depth))
            except CodecError as exc:
                raise exc.under(f"[{len(out)}]") from None
        return out

    def _members(self, value: Any, kind: Any, depth: int) -> list[Any]:
        out = []
        for item in kind.__iter__(value):
            try:
                out.append(self.encode(item, depth))
            except CodecError as exc:
                raise exc.under("{an item}") from None
        return _distinct(out, value)

    def _dict(self, value: Any, depth: int) -> Any:
        pairs, plain = [], True
        for key, item in dict.items(value):
            try:
                coded = self.encode(key, depth)
            except CodecError as exc:
                raise exc.under(f"[the key {_shown(key)}]") from None
            plain = plain and type(coded) is str and coded != _TAG
            try:
                pairs.append([coded, self.encode(item, depth)])
            except CodecError as exc:
                raise exc.under(f"[{_shown(key)}]") from None
        _distinct([pair[0] for pair in pairs], value)
        return dict(pairs) if plain else _tagged("dict", pairs)

    def _other(self, value: Any, depth: int) -> Any:
        if isinstance(value, dt.datetime):
            parts = [value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond]
            return _tagged("datetime", [parts, value.fold, self._zone(value.tzinfo, depth)])
        if isinstance(value, dt.date):
            return _tagged("date", [value.year, value.month, value.day])
        if isinstance(value, dt.time):
            parts = [value.hour, value.minute, value.second, value.microsecond]
            return _tagged("time", [parts, value.fold, self._zone(value.tzinfo, depth)])
        if isinstance(value, dt.timedelta):
            return _tagged("timedelta", [value.days, value.seconds, value.microseconds])
        if isinstance(value, dt.tzinfo):
            return self._zone(value, depth)
        if isinstance(value, decimal.Decimal):
            return _tagged("decimal", self._text(decimal.Decimal.__str__(value)))
        raise CodecError(f"object of type {type(value).__name__!r}")

    def _zone(self, zone: Any, depth: int) -> Any:
        if zone is None:
            return None
        if isinstance(zone, dt.timezone):
            args = zone.__getinitargs__()  # type: ignore[attr-defined]
            return _tagged("timezone", [self._other(args[0], depth), self._text(args[1]) if len(args) > 1 else None])
        key = getattr(zone, "key", None)
        if type(zone).__name__ == "ZoneInfo" and isinstance(key, str):
            return _tagged("zone", self._text(key))
        raise CodecError(f"time zone of type {type(zone).__name__!r}")


def decode(tree: Any, blobs: Sequence[str | bytes] = (), resolve: Resolve | None = None) -> Any:
    """The value of a tree. Raises CodecError for whatever `encode` does not make: the tree may come from anyone."""
    try:
        return _Decoder(blobs, resolve).decode(tree, 0)
    except CodecError:
        raise
    except RecursionError:
        raise CodecError("nested too deeply") from None
    except (ValueError, TypeError, KeyError, IndexError, ArithmeticError, AttributeError, ImportError, OSError) as exc:
        raise CodecError(f"not an encoded value ({type(exc).__name__}: {str(exc)[:200]})") from None


class _Decoder:
    def __init__(self, blobs: Sequence[str | bytes], resolve: Resolve | None) -> None:
        self._blobs = blobs
        self._resolve = resolve

    def decode(self, tree: Any, depth: int) -> Any:
        kind = type(tree)
        if kind is str or tree is None or kind in (bool, int, float):
            return tree
        if depth > DEPTH:
            raise CodecError("nested too deeply")
        if kind is list:
            return [self.decode(item, depth + 1) for item in tree]
        if kind is not dict:
            raise CodecError("not JSON")
        if _TAG not in tree:
            return {key: self.decode(item, depth + 1) for key, item in tree.items()}
        tag = tree[_TAG]
        reader = _READERS.get(tag) if type(tag) is str else None
        if reader is None or len(tree) != 2:
            raise CodecError("no such tag")
        return reader(self, tree["v"], depth)

    def _list(self, v: Any, depth: int) -> list[Any]:
        if type(v) is not list:
            raise CodecError("a list was expected")
        return [self.decode(item, depth + 1) for item in v]

    def _tuple(self, v: Any, depth: int) -> tuple[Any, ...]:
        return tuple(self._list(v, depth))

    def _set(self, v: Any, depth: int) -> set[Any]:
        return set(_spread(self._list(v, depth)))

    def _frozenset(self, v: Any, depth: int) -> frozenset[Any]:
        return frozenset(_spread(self._list(v, depth)))

    def _dict(self, v: Any, depth: int) -> dict[Any, Any]:
        keys = _spread([self.decode(key, depth + 1) for key, _ in v])
        return {key: self.decode(pair[1], depth + 1) for key, pair in zip(keys, v)}

    def _blob(self, v: Any, _depth: int) -> str | bytes:
        return self._blobs[_natural(v)]

    def _ref(self, v: Any, _depth: int) -> str:
        blob, start, stop = v
        if self._resolve is None:
            raise CodecError("a reference where none is known")
        return self._resolve(_natural(blob), _natural(start), _natural(stop))

    def _float(self, v: Any, _depth: int) -> float:
        return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[v]

    def _int(self, v: Any, depth: int) -> int:
        return int(_typed(self.decode(v, depth + 1), str), 16)

    def _text(self, v: Any, _depth: int) -> str:
        return binascii.a2b_base64(_typed(v, str)).decode("utf-8", "surrogatepass")

    def _bytes(self, v: Any, _depth: int) -> bytes:
        return binascii.a2b_base64(_typed(v, str))

    def _decimal(self, v: Any, depth: int) -> decimal.Decimal:
        return decimal.Decimal(_typed(self.decode(v, depth + 1), str))

    def _date(self, v: Any, _depth: int) -> dt.date:
        return dt.date(*_ints(v))

    def _datetime(self, v: Any, depth: int) -> dt.datetime:
        parts, fold, zone = v
        return dt.datetime(*_ints(parts)).replace(fold=fold, tzinfo=self._tzinfo(zone, depth))

    def _time(self, v: Any, depth: int) -> dt.time:
        parts, fold, zone = v
        return dt.time(*_ints(parts)).replace(fold=fold, tzinfo=self._tzinfo(zone, depth))

    def _timedelta(self, v: Any, _depth: int) -> dt.timedelta:
        return dt.timedelta(*_ints(v))

    def _tzinfo(self, v: Any, depth: int) -> Any:
        return None if v is None else self.decode(v, depth + 1)

    def _timezone(self, v: Any, depth: int) -> dt.timezone:
        offset, name = (self.decode(part, depth + 1) for part in v)
        return dt.timezone(offset) if name is None else dt.timezone(offset, name)

    def _zone(self, v: Any, depth: int) -> Any:
        import zoneinfo  # Python 3.9+; an older far side says so by the error

        return zoneinfo.ZoneInfo(_typed(self.decode(v, depth + 1), str))


_READERS: dict[str, Callable[[_Decoder, Any, int], Any]] = {
    name: getattr(_Decoder, "_" + name)
    for name in [
        "tuple",
        "set",
        "frozenset",
        "dict",
        "blob",
        "ref",
        "float",
        "int",
        "text",
        "bytes",
        "decimal",
        "date",
        "datetime",
        "time",
        "timedelta",
        "timezone",
        "zone",
    ]
}


def _tagged(tag: str, value: Any) -> dict[str, Any]:
    return {_TAG: tag, "v": value}


def _distinct(coded: list[Any], originals: Any) -> list[Any]:
    """The codes of keys; a class with its own idea of equality may have keys that are one and the same as plain
    values."""
    if any(type(key) not in _EXACT for key in originals) and len({repr(code) for code in coded}) != len(coded):
        raise CodecError(f"a {type(originals).__name__} whose keys are equal as plain values")
    return coded


def _has_surrogate(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _shown(key: Any) -> str:
    if isinstance(key, str):
        return '"{}"'.format(key if len(key) <= 60 else key[:60] + "…")
    if type(key) in (int, float, bool, type(None)):
        return repr(key)[:60]
    return f"of type {type(key).__name__!r}"


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise CodecError(f"{kind.__name__} expected")
    return value


def _ints(values: Any) -> Any:
    """Checked, because `datetime` also takes its pickled state, unchecked."""
    if type(values) is not list or any(type(value) is not int for value in values):
        raise CodecError("whole numbers expected")
    return values


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise CodecError("a natural number was expected")
    return value


def _spread(keys: list[Any]) -> list[Any]:
    """The keys of a set or dict, refused where they are made to collide: a million of those would take hours to
    insert."""
    if len(keys) > COLLISIONS and len(keys) - len(set(map(hash, keys))) > COLLISIONS:
        raise CodecError("keys that collide")
    return keys
