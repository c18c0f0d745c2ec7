"""Careful reading of a provider's JSON: whatever has not the expected shape counts as absent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def text_of(value: object) -> str:
    return value if isinstance(value, str) else ""


def count(value: object) -> int:
    return value if told(value) else 0


def told(value: object) -> TypeGuard[int]:
    """Whether it is a number that tokens can have."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53


def odd(*values: object) -> bool:
    """Whether one of them is there and no number that tokens can have."""
    return any(value is not None and not told(value) for value in values)


def number(value: object) -> float | None:
    """An amount, or text that spells one."""
    try:
        amount = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        return None
    return amount if amount is not None and 0 <= amount < math.inf else None


def joined(content: object, kind: str = "text") -> str:
    """Text of a content that is a string, or a list of typed parts of which those of one kind are wanted."""
    if isinstance(content, str):
        return content if kind == "text" else ""
    parts = content if isinstance(content, list) else ()
    return "".join(_part(mapping(part).get(kind)) for part in parts if mapping(part).get("type") == kind)


def _part(value: object) -> str:
    return joined(value) if isinstance(value, list) else text_of(value)
