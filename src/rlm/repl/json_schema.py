"""Whether a value has the shape that a JSON Schema describes.

The parts that describe data are checked: type, enum, const, properties, required, additionalProperties, items,
prefixItems, anyOf, oneOf and allOf, the bounds of numbers, texts and lists, and local `$ref`s.
"""

from __future__ import annotations

import json
from typing import Any

JSON_TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
}
KEYWORDS = frozenset(
    ["type", "properties", "items", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "$defs", "prefixItems"]
)
PROBLEMS = 6
DEPTH = 40


def problems_of(value: Any, schema: Any, root: dict[str, Any]) -> list[str]:
    """What is wrong with a value, in words; nothing where it fits. `root` is the schema that `$ref`s lead into."""
    problems: list[str] = []
    _check(value, schema, root, "the value", problems, 0)
    return problems[:PROBLEMS]


def same(value: Any, other: Any) -> bool:
    """Equal as JSON, where `true` is not 1."""
    return json.dumps(value, sort_keys=True) == json.dumps(other, sort_keys=True)


def resolved(schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """What a schema that is a reference refers to; any other is itself."""
    node: Any = schema
    for _ in range(DEPTH):
        if not isinstance(node, dict) or "$ref" not in node:
            break
        steps = node["$ref"].lstrip("#/").split("/")
        node = root
        for step in steps:
            node = node.get(step, {}) if isinstance(node, dict) and step else node
    return node


def _check(value: Any, schema: Any, root: dict[str, Any], where: str, problems: list[str], depth: int) -> None:
    if not isinstance(schema, dict) or len(problems) >= PROBLEMS:
        return
    if depth > DEPTH:
        problems.append(f"{where} is nested too deep")
        return
    if "$ref" in schema:
        _check(value, resolved(schema, root), root, where, problems, depth + 1)
        return
    wanted = schema.get("type")
    kinds = [wanted] if isinstance(wanted, str) else wanted or []
    if kinds and not any(_is(value, kind) for kind in kinds):
        problems.append(f"{where} should be {' or '.join(kinds)}, not {json.dumps(value, ensure_ascii=False)[:60]}")
        return
    if "enum" in schema and not any(same(value, one) for one in schema["enum"]):
        problems.append(f"{where} should be one of {json.dumps(schema['enum'], ensure_ascii=False)}")
    if "const" in schema and not same(value, schema["const"]):
        problems.append(f"{where} should be {json.dumps(schema['const'], ensure_ascii=False)}")
    for part in schema.get("allOf", ()):
        _check(value, part, root, where, problems, depth + 1)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices and not any(_fits(value, choice, root, where, depth) for choice in choices):
        problems.append(f"{where} fits none of the {len(choices)} choices")
    _check_bounds(value, schema, where, problems)
    if isinstance(value, dict):
        _check_object(value, schema, root, where, problems, depth)
    if isinstance(value, list):
        first = schema.get("prefixItems", [])
        for i, item in enumerate(value):
            _check(
                item, first[i] if i < len(first) else schema.get("items"), root, f"{where}[{i}]", problems, depth + 1
            )


def _check_object(
    value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], where: str, problems: list[str], depth: int
) -> None:
    properties = schema.get("properties", {})
    problems.extend(f"{where} lacks {name!r}" for name in schema.get("required", ()) if name not in value)
    rest = schema.get("additionalProperties", True)
    for name, item in value.items():
        if name in properties:
            _check(item, properties[name], root, f"{where}.{name}", problems, depth + 1)
        elif rest is False:
            problems.append(f"{where} should not have {name!r}")
        else:
            _check(item, rest, root, f"{where}.{name}", problems, depth + 1)


def _check_bounds(value: Any, schema: dict[str, Any], where: str, problems: list[str]) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    size = len(value) if isinstance(value, (str, list)) else None
    suffix = "Length" if isinstance(value, str) else "Items"
    rules: Any = (
        ("minimum", value if number else None, lambda a, b: a >= b),
        ("maximum", value if number else None, lambda a, b: a <= b),
        ("exclusiveMinimum", value if number else None, lambda a, b: a > b),
        ("exclusiveMaximum", value if number else None, lambda a, b: a < b),
        ("min" + suffix, size, lambda a, b: a >= b),
        ("max" + suffix, size, lambda a, b: a <= b),
    )
    for keyword, measured, good in rules:
        if keyword in schema and measured is not None and not good(measured, schema[keyword]):
            problems.append(f"{where}: {keyword} is {schema[keyword]}, this is {measured}")


def _fits(value: Any, schema: Any, root: dict[str, Any], where: str, depth: int) -> bool:
    problems: list[str] = []
    _check(value, schema, root, where, problems, depth + 1)
    return not problems


def _is(value: Any, kind: str) -> bool:
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, JSON_TYPES.get(kind, object))
