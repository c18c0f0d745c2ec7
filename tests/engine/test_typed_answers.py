"""Answers with a type: validated, with what is wrong going back to the model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from rlm import RLM, ConfigurationError
from rlm.testing import ScriptedClient


class Invoice(BaseModel):
    number: int
    customer: str
    lines: list[float] = []


def repl(code: str) -> str:
    return f"```repl\n{code}\n```\n"


def answer(kind: Any, *codes: str, environment: str = "local", **options: Any) -> Any:
    client = ScriptedClient([repl(code) for code in codes])
    result = RLM(backend=client, environment=environment, **options).completion("c", "q", output=kind)
    return result, client


@pytest.mark.parametrize("environment", ["local", "process"])
@pytest.mark.parametrize(
    ("kind", "code", "value"),
    [
        (int, "FINAL(3)", 3),
        (int, "FINAL('3')", 3),
        (list[str], "FINAL(['a', 'b'])", ["a", "b"]),
        (list[int], "FINAL('[1, 2]')", [1, 2]),
        (dict[str, float], "FINAL({'a': 1})", {"a": 1.0}),
        (Literal["yes", "no"], "FINAL('yes')", "yes"),
        (bool, "FINAL(False)", False),
        (Invoice, "FINAL({'number': 7, 'customer': 'x', 'lines': [1]})", Invoice(number=7, customer="x", lines=[1.0])),
        (Invoice, """FINAL('{"number": 7, "customer": "x"}')""", Invoice(number=7, customer="x")),
    ],
)
def test_the_value_has_the_type(kind: Any, code: str, value: object, environment: str) -> None:
    result, _ = answer(kind, code, environment=environment)
    assert result.value == value
    assert type(result.value) is type(value)
    assert isinstance(result.response, str)


def test_the_response_of_a_model_is_its_json() -> None:
    result, _ = answer(Invoice, "FINAL({'number': 7, 'customer': 'x'})")
    assert result.response == '{"number":7,"customer":"x","lines":[]}'


def test_what_is_wrong_goes_back_to_the_model_and_the_run_goes_on() -> None:
    result, client = answer(Invoice, "FINAL({'number': 'seven'})", "FINAL({'number': 7, 'customer': 'x'})")
    assert result.value == Invoice(number=7, customer="x")
    assert "number: Input should be a valid integer" in client.calls[1].text
    assert "customer: Field required" in client.calls[1].text


def test_the_model_is_told_the_type() -> None:
    _, client = answer(Invoice, "FINAL({'number': 7, 'customer': 'x'})")
    assert '"customer"' in client.calls[0].text
    assert "Invoice" in client.calls[0].text


def test_a_forced_draft_of_the_wrong_type_is_text_without_a_value() -> None:
    client = ScriptedClient([repl("answer['content'] = 'not a number'")])
    result = RLM(backend=client, max_iterations=1).completion("c", "q", output=int)
    assert (result.status, result.value, result.response) == ("forced", None, "not a number")


def test_a_forced_draft_of_the_right_type_has_its_value() -> None:
    client = ScriptedClient([repl("answer['content'] = '12'")])
    result = RLM(backend=client, max_iterations=1).completion("c", "q", output=int)
    assert (result.status, result.value) == ("forced", 12)


def test_a_type_that_cannot_be_checked_is_refused_before_anything_is_sent() -> None:
    client = ScriptedClient([])
    with pytest.raises(ConfigurationError, match="Pydantic"):
        RLM(backend=client).completion("c", "q", output=5)
    assert not client.calls


class Unfinished(BaseModel):
    value: Nowhere  # type: ignore[name-defined]  # noqa: F821 - which is what is tested


class Hooked:
    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        raise RuntimeError("a hook that fails")


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Unfinished, "'Nowhere' is not defined"),
        ("Nowhere", "'Nowhere' is not defined"),
        (list["Nowhere"], "'Nowhere' is not defined"),  # type: ignore[name-defined]  # noqa: F821
        ("list[", "Forward reference"),
        ("", "is not a type"),
        ({"a": int}, "is not a type"),
        (Hooked, "a hook that fails"),
        (lambda value: value, "it is a function"),
    ],
)
def test_what_no_answer_could_ever_have_is_refused_before_anything_is_paid(kind: Any, why: str) -> None:
    client = ScriptedClient([repl("FINAL(1)")])
    with pytest.raises(ConfigurationError, match=why):
        RLM(backend=client).completion("c", "q", output=kind)
    assert client.calls == []


def test_the_items_of_an_iterable_are_checked_and_can_be_read() -> None:
    result, client = answer(Iterable[int], "FINAL(['one'])", "FINAL([1, '2'])")
    assert (result.value, result.response) == ([1, 2], "[1,2]")
    assert "0: Input should be a valid integer" in client.calls[1].text
