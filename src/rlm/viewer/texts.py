"""Texts of a trajectory file as the viewer needs them: whole where the file holds them, spans of the context as places.

A text is a `str`, or a list of `str` and spans (`{"at", "n", "path"}`). See docs/trajectory.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

Text = str | list[str | dict[str, Any]]
Lookup = Callable[[str], Any]
MOST_CHARACTERS: Final = 64_000_000
"""What the references of one record may repeat: a file could otherwise ask for far more than it holds."""


class Damaged(Exception):
    """A record that is not what the format says."""


class Resolver:
    """Replaces what stands for a text in one record. `look_up(name)` gives an earlier text of the same run."""

    def __init__(self, look_up: Lookup, submitted: Callable[[str, Any], None] | None = None) -> None:
        self._look_up = look_up
        self._submitted = submitted
        self._left = MOST_CHARACTERS

    def record(self, record: dict[str, Any]) -> dict[str, Any]:
        return {key: value if key in ("options", "seen") else self.value(value) for key, value in record.items()}

    def value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "same" in value:
            return self._spend(self._look_up(str(value["same"])))
        if "parts" in value:
            return self._parts(value["parts"])
        if "json" in value or "repr" in value:
            return value
        out: dict[str, Any] = {}
        for key, item in value.items():
            out[key] = self.value(item)
            # A draft may be said to be the same as the answer beside it.
            if key in ("answer", "draft") and self._submitted is not None:
                self._submitted(key, item)
        return out

    def _parts(self, written: Any) -> Text:
        parts: list[str | dict[str, Any]] = []
        for part in written if isinstance(written, list) else []:
            if isinstance(part, dict):
                at, length = part.get("at"), part.get("n")
                if not (isinstance(at, int) and isinstance(length, int) and at >= 0 and length >= 0):
                    raise Damaged("a span without a place")
                if "of" in part:
                    found = self._spend(cut(self._look_up(str(part["of"])), at, length))
                    parts += [found] if isinstance(found, str) else found
                else:
                    path = part.get("path", [])
                    parts.append({"at": at, "n": length, "path": path if isinstance(path, list) else []})
            elif isinstance(part, str):
                parts.append(part)
            else:
                raise Damaged("a part that is no text")
        return "".join(map(str, parts)) if all(isinstance(part, str) for part in parts) else parts

    def _spend(self, text: Any) -> Any:
        self._left -= literal_size(text)
        if self._left < 0:
            raise Damaged("its references would repeat far more text than a page can show")
        return text


def cut(text: Any, at: int, length: int) -> Text:
    """A slice of a text, in characters of the whole."""
    if isinstance(text, str):
        return text[at : at + length]
    parts: list[str | dict[str, Any]] = []
    for part in text if isinstance(text, list) else []:
        size = len(part) if isinstance(part, str) else part["n"]
        begin, end = max(0, at), min(size, at + length)
        if begin < end:
            parts.append(
                part[begin:end] if isinstance(part, str) else {**part, "at": part["at"] + begin, "n": end - begin}
            )
        at -= size
    return parts


def literal_size(text: Any) -> int:
    """Characters of a text that are not spans of the context."""
    if isinstance(text, str):
        return len(text)
    return sum(len(part) for part in text if isinstance(part, str)) if isinstance(text, list) else 0


def spans(text: Any) -> list[dict[str, Any]]:
    return [part for part in text if isinstance(part, dict)] if isinstance(text, list) else []


def plain(text: Any) -> str:
    """Any text or submitted value as characters, spans as their places."""
    if isinstance(text, str):
        return text
    if isinstance(text, list):
        return "".join(part if isinstance(part, str) else place(part) for part in text)
    if isinstance(text, dict):
        return str(text["repr"]) if "repr" in text else repr(text.get("json"))
    return "" if text is None else str(text)


def place(span: dict[str, Any]) -> str:
    keys = "".join(f"[{key!r}]" for key in span["path"])
    return f"⟦context{keys}[{span['at']}:{span['at'] + span['n']}]⟧"


def preview(text: Any, most: int = 80) -> str:
    """The beginning of a text on one line."""
    if isinstance(text, list):  # only as many parts as are needed
        text = "".join(part[: 4 * most] if isinstance(part, str) else place(part) for part in text[:4])
    line = " ".join(plain(text)[: 4 * most].split())
    return line if len(line) <= most else line[: most - 1] + "…"
