"""Replies with a shape: what `llm_query(prompt, schema=…)` asks for, and the value in the reply.

A schema is a Python type (`int`, `list[str]`, `Literal["a", "b"]`, an Enum, `date`, a dataclass, a TypedDict, a
Pydantic model), a dict of names and types, or a JSON Schema. The value is what JSON has: lists, dicts, texts, numbers;
but members of an Enum, dates, times and Pydantic models are those.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import sys
from typing import Any, Callable, Union

from .json_schema import DEPTH, KEYWORDS, problems_of
from .wording import value_in

PLAIN = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null", None: "null"}
BARE = {list: "array", tuple: "array", set: "array", frozenset: "array", dict: "object"}
MOMENTS = {dt.datetime: "date-time", dt.date: "date", dt.time: "time"}
MARKS = ("Required", "NotRequired", "ReadOnly", "Final", "ClassVar")  # of fields, around the type
ASK = "\n\nReply with JSON only, nothing before or after it, that fits this JSON Schema:\n"
AGAIN = "\n\nYou replied:\n{}\n\nThat does not fit: {}. Reply again, with JSON only."

Make = Callable[[Any], Any]


class Shape:
    """A schema, ready to ask with and to check by."""

    def __init__(self, schema: Any) -> None:
        types = _Types()
        self._node = types.node(schema, 0)
        self.schema: dict[str, Any] = dict(self._node.schema)
        if types.defs:
            self.schema["$defs"] = {**types.defs, **self.schema.get("$defs", {})}
        types.root.update(self.schema)
        self.request = ASK + json.dumps(self.schema, ensure_ascii=False)

    def read(self, reply: str) -> Any:
        """The value in a reply. Raises ValueError with what is wrong."""
        value = value_in(reply, self.schema, self.schema)
        return value if self._node.make is None else self._node.make(value)


@dataclasses.dataclass(frozen=True)
class _Node:
    """A type as a JSON Schema, and what makes its value of JSON's; `None`: nothing is to be made."""

    schema: dict[str, Any]
    make: Make | None = None


class _Types:
    """Types as nodes. `defs` are the definitions that they refer to, `root` is the schema that will have them."""

    def __init__(self) -> None:
        self.defs: dict[str, Any] = {}
        self.root: dict[str, Any] = {}

    def node(self, kind: Any, depth: int) -> _Node:
        if depth > DEPTH:
            raise TypeError("schema: nested too deep")
        if isinstance(kind, dict):
            if _is_json_schema(kind):
                return _Node(kind)
            return self._object(kind, list(kind), depth)
        if kind is Any:
            return _Node({})
        if isinstance(kind, list) and len(kind) == 1:
            return self._list(kind[0], depth)
        if kind is None or isinstance(kind, type):
            if kind in PLAIN:
                return _Node({"type": PLAIN[kind]})
            if kind in BARE:
                return _Node({"type": BARE[kind]})
            if kind in MOMENTS:
                return _Node({"type": "string", "format": MOMENTS[kind]}, _moment(kind))
            return self._class(kind, depth)
        return self._generic(kind, depth)

    def _list(self, item: Any, depth: int) -> _Node:
        node = self.node(item, depth + 1)
        make = node.make
        return _Node(
            {"type": "array", "items": node.schema},
            None if make is None else lambda values: [make(value) for value in values],
        )

    def _object(self, fields: dict[str, Any], required: list[str], depth: int) -> _Node:
        nodes = {name: self.node(kind, depth + 1) for name, kind in fields.items()}
        makers = {name: node.make for name, node in nodes.items() if node.make is not None}
        return _Node(
            {
                "type": "object",
                "properties": {name: node.schema for name, node in nodes.items()},
                "required": required,
                "additionalProperties": False,
            },
            (lambda values: {n: makers[n](v) if n in makers else v for n, v in values.items()}) if makers else None,
        )

    def _class(self, kind: Any, depth: int) -> _Node:
        if hasattr(kind, "model_validate_json") and hasattr(kind, "model_json_schema"):
            return self._checked(kind.model_json_schema(), kind.model_validate_json)
        if getattr(kind, "__origin__", None) is not None:  # `list[int]` is a type for Python 3.9 and 3.10
            return self._generic(kind, depth)
        if issubclass(kind, enum.Enum):
            return _Node({"enum": _json_values([member.value for member in kind], kind)}, kind)
        if dataclasses.is_dataclass(kind):
            hints, missing = _hints(kind), dataclasses.MISSING
            fields = [f for f in dataclasses.fields(kind) if f.init]
            needed = [f.name for f in fields if f.default is missing and f.default_factory is missing]
            return self._object({f.name: hints[f.name] for f in fields}, needed, depth)
        if hasattr(kind, "__total__"):  # a TypedDict
            hints = _hints(kind)
            return self._object(hints, list(getattr(kind, "__required_keys__", hints)), depth)
        raise _no_schema(kind)

    def _generic(self, kind: Any, depth: int) -> _Node:
        origin: Any = getattr(kind, "__origin__", None)
        args: Any = getattr(kind, "__args__", ())
        if hasattr(kind, "__supertype__"):  # a NewType
            return self.node(kind.__supertype__, depth + 1)
        if hasattr(kind, "__metadata__"):
            return self._annotated(kind, depth)
        if getattr(origin, "_name", None) in MARKS:
            return self.node(args[0], depth + 1)
        if origin in (list, set, frozenset) and args:
            return self._list(args[0], depth)
        if origin is tuple:
            if len(args) == 2 and args[1] is Ellipsis:
                return self._list(args[0], depth)
            return self._tuple([self.node(arg, depth + 1) for arg in args if arg != ()])
        if origin is dict:
            value = self.node(args[1], depth + 1)
            make = value.make
            return _Node(
                {"type": "object", "additionalProperties": value.schema},
                None if make is None else lambda values: {k: make(v) for k, v in values.items()},
            )
        if origin is Union or type(kind).__name__ == "UnionType":
            return self._union([self.node(arg, depth + 1) for arg in args])
        if type(kind).__name__ == "_LiteralGenericAlias" or str(origin) == "typing.Literal":
            return _Node({"enum": _json_values(list(args), kind)})
        raise _no_schema(kind)

    def _tuple(self, nodes: list[_Node]) -> _Node:
        size = len(nodes)
        items = [node.schema for node in nodes]
        makers = [node.make or _as_it_is for node in nodes]
        return _Node(
            {"type": "array", "prefixItems": items, "minItems": size, "maxItems": size},
            None if all(node.make is None for node in nodes) else lambda v: [m(one) for m, one in zip(makers, v)],
        )

    def _union(self, nodes: list[_Node]) -> _Node:
        def make(value: Any) -> Any:
            problem = ValueError("it fits none of the choices")
            for node in nodes:
                if not problems_of(value, node.schema, self.root):
                    try:
                        return value if node.make is None else node.make(value)
                    except ValueError as exc:
                        problem = exc
            raise problem

        made = any(node.make is not None for node in nodes)
        return _Node({"anyOf": [node.schema for node in nodes]}, make if made else None)

    def _annotated(self, kind: Any, depth: int) -> _Node:
        owners = {type(mark).__module__.partition(".")[0] for mark in kind.__metadata__}
        if not owners & {"pydantic", "annotated_types"}:
            return self.node(kind.__origin__, depth + 1)
        pydantic: Any = sys.modules.get("pydantic")
        if pydantic is None:
            raise TypeError(f"schema: who checks {kind!r}? Import pydantic, or give its bounds as a JSON Schema")
        adapter = pydantic.TypeAdapter(kind)
        return self._checked(adapter.json_schema(), adapter.validate_json)

    def _checked(self, schema: dict[str, Any], validate: Make) -> _Node:
        """A type that Pydantic checks."""
        schema = dict(schema)
        for name, definition in schema.pop("$defs", {}).items():
            if self.defs.setdefault(name, definition) != definition:
                raise TypeError(f"schema: two types are named {name}")
        return _Node(schema, lambda value: validate(json.dumps(value)))


def _is_json_schema(kind: dict[Any, Any]) -> bool:
    """It has words of JSON Schema, and nothing but JSON: else it has names and types."""
    if not KEYWORDS & set(kind):
        return False
    try:
        json.dumps(kind)
    except TypeError:
        return False
    return True


def _json_values(values: list[Any], kind: Any) -> list[Any]:
    if not all(value is None or type(value) in (str, int, float, bool) for value in values):
        raise TypeError(f"schema: {kind!r} has values that JSON has not; give their names, as Literal['a', 'b']")
    return values


def _moment(kind: Any) -> Make:
    def make(text: str) -> Any:
        try:
            return kind.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)
        except ValueError:
            raise ValueError(f"{text[:60]!r} is no {kind.__name__} as ISO 8601 writes it") from None

    return make


def _as_it_is(value: Any) -> Any:
    return value


def _hints(kind: Any) -> dict[str, Any]:
    from typing import get_type_hints

    try:
        return get_type_hints(kind, include_extras=True)
    except TypeError:  # Python 3.8 has no extras
        return get_type_hints(kind)


def _no_schema(kind: Any) -> TypeError:
    what = f"the text {kind!r}" if isinstance(kind, str) else repr(kind)
    instead = "write the type itself" if isinstance(kind, str) else "write str and make it of the text yourself"
    return TypeError(
        f"schema: {what} is neither a type that JSON has, nor a dict of names and types, nor a JSON Schema: {instead}"
    )
