"""Values in a model's reply: as JSON, as Python writes them, or as the bare word, number or text that was asked for.

Liberal in how a value is written, never in what it is: where a reply could mean two things it means nothing.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any, Iterator

from .json_schema import DEPTH, problems_of, resolved, same

LITERAL = 200_000  # characters read as Python
_FENCE = re.compile(r"```[a-zA-Z]*[ \t]*\n(.*?)\n?```", re.DOTALL)
_WHOLE = re.compile(r"```[a-zA-Z]*[ \t]*\n((?:(?!```).)*?)\n?```", re.DOTALL)
_THOUGHT = re.compile(r"\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_WORDS = {"true": True, "yes": True, "false": False, "no": False}
_CONSTANTS = {"True": True, "False": False, "None": None}
_SCALARS = (str, int, float, bool, type(None))


def value_in(reply: str, schema: Any, root: dict[str, Any]) -> Any:
    """The one value that a reply has of that schema. Raises ValueError with what is wrong."""
    thought = _THOUGHT.match(reply)
    text = (reply if thought is None else reply[thought.end() :]).strip()
    fence = _WHOLE.fullmatch(text)
    text = text if fence is None else fence[1].strip()
    found = list(_values(text))
    fitting = _distinct([value for value in found if not problems_of(value, schema, root)])
    if not fitting:
        fitting = [value for value in _worded(text, schema, root, 0) if not problems_of(value, schema, root)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ValueError("it may mean several values: " + " or ".join(json.dumps(one)[:60] for one in fitting[:3]))
    raise ValueError("; ".join(problems_of(found[0], schema, root)) if found else "it is not JSON")


def _values(text: str) -> Iterator[Any]:
    """What the whole text says, or else the lists and dicts that are fenced in it, or the one that stands in it."""
    whole = list(_read(text))
    if whole:
        yield from whole
        return
    inner = [value for match in _FENCE.findall(text) for value in _read(match.strip())]
    if not inner:
        opening = min((i for i in (text.find("{"), text.find("[")) if i >= 0), default=-1)
        closing = max(text.rfind("}"), text.rfind("]"))
        if 0 <= opening < closing:
            inner = list(_read(text[opening : closing + 1]))
    yield from (value for value in inner if isinstance(value, (dict, list)))


def _read(text: str) -> Iterator[Any]:
    """The text's value, if it is one."""
    try:
        yield json.loads(text)
        return
    except (ValueError, RecursionError):
        pass
    if text in _CONSTANTS:
        yield _CONSTANTS[text]
    elif text[:1] in ("{", "[") and len(text) <= LITERAL and "\\" not in text:  # odd escapes would warn
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return
        if _is_json(value, 0):
            yield value


def _is_json(value: Any, depth: int) -> bool:
    if isinstance(value, list):
        return depth < DEPTH and all(_is_json(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return depth < DEPTH and all(type(k) is str and _is_json(v, depth + 1) for k, v in value.items())
    return isinstance(value, _SCALARS)


def _worded(text: str, schema: Any, root: dict[str, Any], depth: int) -> list[Any]:
    """What the bare text may mean where a word, a number or a text is wanted."""
    schema = resolved(schema, root)
    if not isinstance(schema, dict) or depth > DEPTH:
        return []
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return _distinct([value for choice in choices for value in _worded(text, choice, root, depth + 1)])
    bare = text.strip("`*_\"' ").rstrip(".").rstrip("`*_\"' ")
    if "enum" in schema or "const" in schema:
        return _member(text, bare, schema["enum"] if "enum" in schema else [schema["const"]])
    wanted = schema.get("type")
    means: list[Any] = []
    for kind in [wanted] if isinstance(wanted, str) else wanted or []:
        if kind == "boolean" and bare.lower() in _WORDS:
            means.append(_WORDS[bare.lower()])
        elif kind in ("integer", "number"):
            means += [value for value in _read(bare) if type(value) in (int, float)]
        elif kind == "string" and _is_text(text):
            means.append(text)
    return _distinct(means)


def _member(text: str, bare: str, members: list[Any]) -> list[Any]:
    """The one of the values that the text names, its case apart where only one has that name then."""
    names = [member for member in members if isinstance(member, str)]
    for said in (text, bare):
        if said in names:
            return [said]
    numbers = [value for value in _read(bare) if type(value) in (int, float)]
    return [name for name in names if name.lower() == bare.lower()] or numbers


def _is_text(text: str) -> bool:
    """Whether it is no JSON but a number or a word: a list, an object or a quoted text would be something else."""
    try:
        return isinstance(json.loads(text), (int, float))
    except (ValueError, RecursionError):
        return bool(text)


def _distinct(values: list[Any]) -> list[Any]:
    out: list[Any] = []
    for value in values:
        if not any(same(value, other) for other in out):
            out.append(value)
    return out
