"""Sub-calls whose replies have a shape: asked for, checked, asked again, and in the end an error, never text."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import glob
import json
import os
import shutil
import subprocess
import sys
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Optional, Union

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

import rlm.repl
from rlm import RLM
from rlm.repl.schemas import Shape
from rlm.testing import ScriptedClient


@dataclasses.dataclass
class Person:
    name: str
    age: int
    tags: list[str] = dataclasses.field(default_factory=list)


class Row(TypedDict):
    id: int
    kind: Literal["a", "b"]


class Model(BaseModel):
    x: int
    inner: Optional[Model] = None  # noqa: UP045


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Stars(enum.IntEnum):
    ONE = 1
    TWO = 2


@dataclasses.dataclass
class Review:
    mood: Mood
    day: Optional[dt.date] = None  # noqa: UP045 - what models write
    score: Annotated[int, Field(ge=0)] = 0


Name = NewType("Name", str)


GOOD = [
    (int, "3", 3),
    (bool, " true\n", True),
    (str, '"x"', "x"),
    (float, "2", 2),
    (list[int], "[1, 2]", [1, 2]),
    (list[str], '```json\n["a"]\n```', ["a"]),
    (dict[str, int], 'Here it is: {"a": 1}. Done', {"a": 1}),
    (tuple[int, str], '[1, "a"]', [1, "a"]),
    (Optional[int], "null", None),  # noqa: UP045 - what models write
    (Union[int, str], '"a"', "a"),  # noqa: UP007
    (int | None, "4", 4),
    (Literal["yes", "no"], '"no"', "no"),
    ({"name": str, "age": int}, '{"name": "x", "age": 3}', {"name": "x", "age": 3}),
    ([{"id": int}], '[{"id": 1}]', [{"id": 1}]),
    (Person, '{"name": "x", "age": 3}', {"name": "x", "age": 3}),
    (Row, '{"id": 1, "kind": "b"}', {"id": 1, "kind": "b"}),
    (Model, '{"x": 1, "inner": {"x": 2}}', Model(x=1, inner=Model(x=2))),
    ({"type": "array", "items": {"type": "integer", "minimum": 2}}, "[2]", [2]),
]
GOOD += [
    (Mood, '"good"', Mood.GOOD),
    (Stars, "2", Stars.TWO),
    (list[Mood], '["bad", "good"]', [Mood.BAD, Mood.GOOD]),
    (Review, '{"mood": "bad", "day": "2026-01-02"}', {"mood": Mood.BAD, "day": dt.date(2026, 1, 2)}),
    (Review, '{"mood": "bad", "day": null, "score": 3}', {"mood": Mood.BAD, "day": None, "score": 3}),
    (dt.date, '"2026-01-02"', dt.date(2026, 1, 2)),
    (dt.datetime, '"2026-01-02T03:04:05Z"', dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)),
    (dt.time, '"03:04:05"', dt.time(3, 4, 5)),
    (dict[str, dt.date], '{"a": "2026-01-02"}', {"a": dt.date(2026, 1, 2)}),
    (tuple[str, Mood], '["a", "good"]', ["a", Mood.GOOD]),
    (Union[dt.date, str], '"tomorrow"', "tomorrow"),  # noqa: UP007
    (Name, '"x"', "x"),
    (Annotated[int, "how many"], "3", 3),
    (Annotated[int, Field(gt=3)], "4", 4),
    (list[Model], '[{"x": 1, "inner": {"x": 2}}]', [Model(x=1, inner=Model(x=2))]),
    ({"found": Model, "mood": Mood}, '{"found": {"x": 1}, "mood": "bad"}', {"found": Model(x=1), "mood": Mood.BAD}),
    ({"type": str, "items": list[int]}, '{"type": "a", "items": [1]}', {"type": "a", "items": [1]}),
]
WORDED = [
    (str, "plain words", "plain words"),
    (str, "two lines,\nthe second with [1] and {x}", "two lines,\nthe second with [1] and {x}"),
    (str, "4711", "4711"),
    (str, "007", "007"),
    (str, "true", "true"),
    (str, "```\nx = 1\n```", "x = 1"),
    (str, "<think>what now?</think>\nplain words", "plain words"),
    (bool, "True", True),
    (bool, "False.", False),
    (bool, "Yes", True),
    (bool, "**no**", False),
    (int, "**3**", 3),
    (int, '"3"', 3),
    (float, "`2.5`", 2.5),
    (Literal["x", "y"], "x", "x"),
    (Literal["x", "y"], "`Y`.", "y"),
    (Literal["N.Y.", "L.A."], "N.Y.", "N.Y."),
    (Literal["1", "2"], "1", "1"),
    (Literal[1, 2], "**1**", 1),
    (Mood, "GOOD", Mood.GOOD),
    (Optional[Mood], "bad", Mood.BAD),  # noqa: UP045
    (Optional[int], "None", None),  # noqa: UP045
    (Optional[str], "null", None),  # noqa: UP045
    (Optional[str], "plain words", "plain words"),  # noqa: UP045
    ({"a": int, "b": bool}, "{'a': 1, 'b': True}", {"a": 1, "b": True}),
    (list[str], "['a', 'b',]", ["a", "b"]),
    (list[str], "Found:\n```python\n['a']\n```\nThat is all.", ["a"]),
    ([int], "<think>[1]?</think>[2]", [2]),
]
GOOD += WORDED
BAD = [
    (int, "three", "not JSON"),
    (int, "about 3", "not JSON"),
    (int, "1,234", "not JSON"),
    (int, "3 or 4", "not JSON"),
    (int, "true", "should be integer"),
    (float, "3%", "not JSON"),
    (bool, "1", "should be boolean"),
    (bool, "yes, but", "not JSON"),
    (bool, "not really", "not JSON"),
    (str, '{"answer": "x"}', "should be string"),
    (str, '["x"]', "should be string"),
    (str, "null", "should be string"),
    (Literal["a", "A"], "“a”", "not JSON"),
    (Literal["ab", "AB"], "Ab", "may mean several"),
    (Literal["x", "y"], "x or y", "not JSON"),
    (Literal["x", "y"], "z", "not JSON"),
    (Union[bool, str], "yes", "may mean several"),  # noqa: UP007
    (list[int], "[1] and [2]", "not JSON"),
    (list[int], "```\n[1]\n```\nor\n```\n[2]\n```", "may mean several"),
    (list[int], "{1, 2}", "not JSON"),
    ({"a": int}, "{1: 2}", "not JSON"),
    (list[Any], "[" * 100_000, "not JSON"),
    (Mood, '"fine"', "one of"),
    (Review, '{"mood": "good", "score": -1}', "score"),
    (dt.date, '"2026-13-01"', "is no date"),
    (dt.date, '"tomorrow"', "is no date"),
    (Annotated[int, Field(gt=3)], "2", "exclusiveMinimum"),
    ({"type": "string", "minLength": 3}, "ab", "not JSON"),
    (int, "true", "should be integer"),
    (int, "3.5", "should be integer"),
    (list[int], '["a"]', r"\[0\] should be integer"),
    (Literal["yes", "no"], '"maybe"', "one of"),
    ({"name": str}, "{}", "lacks 'name'"),
    ({"name": str}, '{"name": "x", "more": 1}', "should not have 'more'"),
    (int | str, "[]", "none of the 2 choices"),
    (Model, '{"x": 1, "inner": {"x": "z"}}', "inner"),
    ({"type": "array", "maxItems": 1}, "[1, 2]", "maxItems"),
    ({"type": "string", "minLength": 3}, '"ab"', "minLength"),
]


@pytest.mark.parametrize(("schema", "reply", "value"), GOOD)
def test_a_reply_that_fits_is_its_value(schema: Any, reply: str, value: object) -> None:
    assert Shape(schema).read(reply) == value


@pytest.mark.parametrize(("schema", "reply", "problem"), BAD)
def test_a_reply_that_does_not_fit_is_an_error_that_says_why(schema: Any, reply: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Shape(schema).read(reply)


@pytest.mark.parametrize("kind", [int, list[int], dict[str, float], bool | None, Literal["a", "b"], Row])
@pytest.mark.parametrize("value", [1, 1.5, "a", None, True, [1], ["a"], {"a": 1.0}, {"id": 1, "kind": "a"}, {}])
def test_it_agrees_with_pydantic(kind: Any, value: object) -> None:
    try:
        TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
        good = True
    except ValidationError:
        good = False
    try:
        Shape(kind).read(json.dumps(value))
        assert good
    except ValueError:
        assert not good


def test_what_is_no_schema_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(TypeError, match="neither a type"):
        Shape(object)


@pytest.mark.parametrize(
    ("schema", "instead"),
    [
        (Decimal, "write str"),
        (uuid.UUID, "write str"),
        (bytes, "write str"),
        ("int", "write the type itself"),
        ({"name": "str"}, "write the type itself"),
        (enum.Enum("Odd", {"A": (1, 2)}), "values that JSON has not"),
    ],
)
def test_what_json_has_no_form_for_is_refused_with_what_to_write_instead(schema: Any, instead: str) -> None:
    with pytest.raises(TypeError, match=instead):
        Shape(schema)


PLAIN_TYPES = [Mood, Stars, dt.date, dt.time, Optional[dt.date], list[Mood], tuple[int, Mood], dict[str, dt.date]]  # noqa: UP045


@pytest.mark.parametrize("kind", PLAIN_TYPES)
@pytest.mark.parametrize(
    "value",
    ["good", "x", 1, 2, None, "2026-01-02", "03:04:05", [], ["good"], [1, "bad"], [1], {"a": "2026-01-02"}, {}],
)
def test_it_agrees_with_pydantic_on_enums_and_moments(kind: Any, value: object) -> None:
    try:
        expected = TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    except ValidationError:
        with pytest.raises(ValueError, match=r"."):
            Shape(kind).read(json.dumps(value))
    else:
        assert Shape(kind).read(json.dumps(value)) in (
            expected,
            list(expected) if type(expected) is tuple else expected,
        )


def test_the_reading_of_replies_runs_on_python_3_8() -> None:
    root = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    found = glob.glob(f"{root}/versions/3.8.*/bin/python")
    old = found[0] if found else shutil.which("python3.8") or sys.executable
    program = """
import enum, sys, types, datetime
from typing import *
package = types.ModuleType("rlm_repl"); package.__path__ = [sys.argv[1]]; sys.modules["rlm_repl"] = package
from rlm_repl.schemas import Shape
class Mood(enum.Enum):
    GOOD = "good"
class Row(TypedDict):
    mood: Mood
    day: Optional[datetime.date]
print(Shape(List[Row]).read('[{"mood": "good", "day": "2026-01-02"}]'))
print(Shape(Literal["x", "y"]).read("Y."), Shape(Tuple[int, str]).read('[1, "a"]'), Shape(bool).read("True"))
"""
    path = str(Path(rlm.repl.__path__[0]))
    done = subprocess.run([old, "-W", "error", "-c", program, path], capture_output=True, text=True, check=True)
    assert done.stdout == ("[{'mood': <Mood.GOOD: 'good'>, 'day': datetime.date(2026, 1, 2)}]\ny [1, 'a'] True\n")


def repl(code: str) -> str:
    return f"```repl\n{code}\n```\n"


@pytest.mark.parametrize("environment", ["local", "process"])
def test_what_is_wrong_goes_back_to_the_model_and_then_it_fits(environment: str) -> None:
    client = ScriptedClient([repl("FINAL(llm_query('how many?', schema=int))"), "about three", "3"])
    assert RLM(backend=client, environment=environment).completion("c", "q").value == 3
    assert "JSON Schema" in client.calls[1].text
    assert "about three" in client.calls[2].text
    assert "not JSON" in client.calls[2].text


@pytest.mark.parametrize("environment", ["local", "process"])
def test_after_three_tries_it_is_an_error(environment: str) -> None:
    client = ScriptedClient([repl("llm_query('x', schema=int)"), "a", "b", "c", repl("FINAL('told')")])
    assert RLM(backend=client, environment=environment).completion("c", "q").value == "told"
    assert len(client.calls) == 5
    assert "does not fit the schema" in client.calls[-1].text


@pytest.mark.parametrize("environment", ["local", "process"])
def test_types_of_the_cell_and_bare_words_cost_one_call_each(environment: str) -> None:
    code = """
import enum
from dataclasses import dataclass
from typing import Literal
class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"
@dataclass
class Row:
    mood: Mood
asked = {"str": str, "bool": bool, "literal": Literal["x", "y"], "enum": Mood, "row": Row}
found = {name: llm_query(name, schema=schema) for name, schema in asked.items()}
FINAL([found["str"], found["bool"], found["literal"], found["enum"] is Mood.BAD, found["row"]["mood"] is Mood.GOOD])
"""
    replies = {"str": "plain words", "bool": "True", "literal": "x", "enum": "bad", "row": "{'mood': 'good'}"}

    def model(messages: Any) -> str:
        return repl(code) if len(messages) > 1 else replies[messages[0].content.partition("\n")[0]]

    client = ScriptedClient(model)
    result = RLM(backend=client, environment=environment).completion("c", "q")
    assert result.value == ["plain words", True, "x", True, True]
    assert len(client.calls) == 6


def test_in_a_batch_only_what_did_not_fit_is_asked_again() -> None:
    def model(messages: Any) -> str:
        text = messages[-1].content
        if len(messages) > 1:
            return repl("r = llm_query_batched(['a', 'b', 'bad'], schema={'n': int})\nFINAL([str(x) for x in r])")
        if text.startswith("bad") or (text.startswith("b") and "Reply again" not in text):
            return "no"
        return '{"n": 1}'

    client = ScriptedClient(model)
    value = RLM(backend=client).completion("c", "q").value
    assert value[:2] == ["{'n': 1}", "{'n': 1}"]  # type: ignore[index]
    assert "does not fit" in value[2]  # type: ignore[index]
    assert len(client.calls) == 1 + 3 + 2 + 1
