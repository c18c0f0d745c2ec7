"""Careful reading of a provider's JSON: whatever has not the expected shape counts as absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def text_of(value: object) -> str:
    return value if isinstance(value, str) else ""


def count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def number(value: object) -> float | None:
    """A number, or text that spells one."""
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except ValueError:
        return None


def joined(content: object, kind: str = "text") -> str:
    """Text of a content that is a string, or a list of typed parts of which those of one kind are wanted."""
    if isinstance(content, str):
        return content if kind == "text" else ""
    parts = content if isinstance(content, list) else ()
    return "".join(_part(mapping(part).get(kind)) for part in parts if mapping(part).get("type") == kind)


def _part(value: object) -> str:
    return joined(value) if isinstance(value, list) else text_of(value)
