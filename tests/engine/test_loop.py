"""The loop, seen through the public face: scripted replies in, a result out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rlm import RLM, Completion, LMError
from rlm.testing import ScriptedClient
from rlm.types import Message, Reply, Usage


def answer(*replies: Any, prompt: object = "the context", question: str | None = "q?", **options: Any) -> Completion:
    return RLM(backend=ScriptedClient(list(replies)), **options).completion(prompt, question)


def repl(code: str) -> str:
    return f"```repl\n{code}\n```\n"


SUBMIT = 'answer["content"] = {}; answer["ready"] = True'


def shown_after(replies: Sequence[str], **options: Any) -> list[str]:
    """The messages the model was shown after its replies; the last reply submits."""
    client = ScriptedClient([*replies, repl("FINAL('end')")])
    RLM(backend=client, **options).completion("the context", "q?")
    return [m.content for m in client.calls[-1].messages if m.role == "user"][1:]


def test_an_answer_is_a_value_out_of_the_repl() -> None:
    result = answer(repl(SUBMIT.format("context.upper()")))
    assert (result.response, result.value, result.status, result.limit) == (
        "THE CONTEXT",
        "THE CONTEXT",
        "answered",
        None,
    )


@pytest.mark.parametrize("value", ["0", "False", "''", "None", "[]"])
def test_a_falsy_value_is_an_answer(value: str) -> None:
    result = answer(repl(SUBMIT.format(value)))
    assert result.value == eval(value)
    assert result.response == str(eval(value))
    assert result.status == "answered"


@pytest.mark.parametrize(
    "reply",
    [
        repl("FINAL('yes')"),
        repl("x = 'yes'\nFINAL_VAR('x')"),
        repl("answer.update(ready=True, content='yes')"),
        repl("answer = {'ready': True, 'content': 'yes'}"),
        repl("answer['ready'] = True\nanswer['content'] = 'yes'"),
        repl("FINAL('no')\nFINAL('yes')"),
        "FINAL(yes)",
        'FINAL("yes")',
        "I am sure.\n\nFINAL(yes)",
        repl("x = 'yes'") + "\nFINAL_VAR(x)",
        repl("x = 'yes'") + '\nFINAL_VAR("x")',
    ],
)
def test_every_spelling_of_a_submission_takes_one_path(reply: str) -> None:
    assert answer(reply).response == "yes"


def test_final_records_and_the_cell_goes_on() -> None:
    client = ScriptedClient([repl("FINAL('first')\nafter = 1\nFINAL(after)")])
    assert RLM(backend=client).completion("c", "q").value == 1


def test_an_answer_of_a_failing_cell_does_not_count_and_the_model_is_told() -> None:
    shown = shown_after([repl("FINAL('wrong')\n1/0")])
    assert "ZeroDivisionError" in shown[0]
    assert "does not count" in shown[0]


def test_a_failed_submission_is_not_remembered_by_the_next_cell() -> None:
    result = answer(repl("answer['content'] = 'a'; answer['ready'] = True; 1/0"), repl("x = 1"), repl("FINAL('b')"))
    assert result.response == "b"


def test_final_var_of_an_unknown_name_is_an_error_the_model_sees() -> None:
    shown = shown_after([repl("FINAL_VAR('nothing')")])
    assert "there is no variable 'nothing'" in shown[0]


def test_blocks_run_in_order_until_one_fails() -> None:
    shown = shown_after([repl("print('one')") + repl("1/0") + repl("print('three')")])
    assert "one" in shown[0]
    assert "ZeroDivisionError" in shown[0]
    assert "three" not in shown[0]
    assert "3 to 3 were not run" in shown[0]


def test_an_answer_after_output_the_model_has_not_seen_is_held() -> None:
    shown = shown_after([repl("print(len(context))") + "\n" + repl("FINAL('imagined')")])
    assert "11" in shown[0]
    assert "not taken yet" in shown[0]


def test_an_answer_after_a_silent_block_is_taken() -> None:
    assert answer(repl("x = 'y' * 3") + "\n" + repl("FINAL(x)")).response == "yyy"


def test_a_held_answer_is_still_the_draft() -> None:
    result = answer(repl("print(1)") + repl("FINAL('draft')"), max_iterations=1)
    assert (result.response, result.status, result.limit) == ("draft", "forced", "max_iterations")


def test_the_draft_is_preferred_to_another_call_at_the_turn_limit() -> None:
    client = ScriptedClient([repl("answer['content'] = 'so far'"), repl("x = 1")])
    result = RLM(backend=client, max_iterations=2).completion("c", "q")
    assert (result.response, result.status, result.limit) == ("so far", "forced", "max_iterations")
    assert len(client.calls) == 2


def test_without_a_draft_one_last_call_asks_for_the_best_answer() -> None:
    client = ScriptedClient([repl("x = 1"), "it is 42"])
    result = RLM(backend=client, max_iterations=1).completion("c", "q")
    assert (result.response, result.status) == ("it is 42", "forced")
    assert "final answer" in client.calls[-1].text


def test_a_model_that_never_runs_anything_ends_as_forced() -> None:
    result = answer("I think it is 42.", "It is 42.", "Still 42.", "42")
    assert (result.status, result.limit, result.response) == ("forced", "idle", "42")


def test_a_reply_with_nothing_to_run_is_told_so_once_and_then_shortly() -> None:
    shown = shown_after(["I would look at it.", "I would look at it."])
    assert "```repl" in shown[0]
    assert len(shown[1]) < len(shown[0])


def test_an_empty_reply_is_asked_again_without_using_a_turn() -> None:
    client = ScriptedClient(["", "  \n", repl("FINAL(1)")])
    result = RLM(backend=client, max_iterations=1).completion("c", "q")
    assert result.status == "answered"
    assert client.calls[0].messages == client.calls[1].messages == client.calls[2].messages


def test_the_same_failing_code_a_third_time_is_pointed_out() -> None:
    shown = shown_after([repl("1/0")] * 3)
    assert "failed 3 times" in shown[2]
    assert "failed" not in shown[1]


def test_history_is_append_only() -> None:
    client = ScriptedClient([repl("print(1)"), repl("print(2)"), repl("FINAL(3)")])
    RLM(backend=client).completion("c", "q")
    for before, after in zip(client.calls, client.calls[1:], strict=False):
        assert after.messages[: len(before.messages)] == before.messages


def test_output_is_capped_with_a_way_to_the_rest() -> None:
    shown = shown_after([repl("print('a' * 30_000 + 'END')")])
    assert len(shown[0]) < 11_000
    assert "characters omitted" in shown[0]
    assert "_out[1]" in shown[0]
    assert "END" in shown[0]


def test_a_reply_cut_by_its_token_limit_is_pointed_out() -> None:
    cut = Reply(text=repl("print(1)"), model="m", usage=Usage(calls=1), finish="length")
    assert "cut by its token limit" in shown_after([cut])[0]  # type: ignore[list-item]


def test_the_model_sees_where_it_stands() -> None:
    assert (
        "[turn 1 of 7 done; 2 sub-calls so far"
        in shown_after([repl("llm_query('a'); llm_query('b')"), "sub", "sub"], max_iterations=7)[0]
    )


def test_a_short_context_without_a_question_is_the_request_and_shown_whole() -> None:
    client = ScriptedClient([repl("FINAL(2**16)")])
    RLM(backend=client).completion("Calculate 2^(2^(2^2)) using Python.")
    assert "Calculate 2^(2^(2^2)) using Python." in client.calls[0].text
    assert "context" in client.calls[0].text


@pytest.mark.parametrize("size", [10_000, 1_000_000])
def test_the_first_message_is_constant_in_size(size: int) -> None:
    client = ScriptedClient([repl("FINAL(1)")])
    RLM(backend=client).completion("a line of the log\n" * (size // 18), "how many lines?")
    assert "how many lines?" in client.calls[0].text
    assert len(client.calls[0].text) < 3_500


def test_braces_in_a_custom_prompt_are_literal() -> None:
    client = ScriptedClient([repl("FINAL(1)")])
    RLM(backend=client, custom_system_prompt="use {curly} and {} and <<TOOLS>>").completion("c", "q")
    assert client.calls[0].messages[0] == Message("system", "use {curly} and {} and <<TOOLS>>")


def test_a_prologue_stands_before_the_first_message() -> None:
    client = ScriptedClient([repl("FINAL(1)")])
    RLM(backend=client, user_prologue="be brief").completion("c", "q")
    assert client.calls[0].messages[1] == Message("user", "be brief")


def test_the_system_prompt_is_short_and_states_each_number_once() -> None:
    client = ScriptedClient([repl("FINAL(1)")], context_window=100_000)
    RLM(backend=client, max_iterations=12).completion("c", "q")
    system = client.calls[0].messages[0].content
    assert len(system) < 3_500
    assert "<<" not in system
    assert system.count("12 turns") == 1
    assert "275,424 characters" in system
    assert "recursion is off" in system


def test_a_root_call_that_fails_ends_the_run_with_what_it_had() -> None:
    client = ScriptedClient([repl("answer['content'] = 'half'"), LMError("overloaded", kind="server")])
    with pytest.raises(LMError) as caught:
        RLM(backend=client).completion("c", "q")
    assert caught.value.partial_answer == "half"
    assert caught.value.result is not None
    assert caught.value.result.usage_summary.total.calls == 1
    assert caught.value.result.trajectory


def test_a_refusal_of_a_subcall_is_an_error_not_an_answer() -> None:
    refusal = Reply(text="I cannot", model="m", usage=Usage(calls=1), finish="refusal")
    shown = shown_after([repl("llm_query('x')"), refusal])  # type: ignore[list-item]
    assert "[refusal]" in shown[0]


def test_an_empty_reply_to_a_subcall_is_an_error() -> None:
    assert "[empty]" in shown_after([repl("llm_query('x')"), ""])[0]


def test_a_prompt_that_cannot_fit_fails_before_it_is_sent_with_both_numbers() -> None:
    client = ScriptedClient([repl("llm_query('x' * 100_000)"), repl("FINAL(1)")], context_window=10_000)
    RLM(backend=client).completion("c", "q")
    assert len(client.calls) == 2
    text = client.calls[1].text
    assert "[context_length]" in text
    assert "12,500 tokens" in text
    assert "10,000 tokens" in text


def test_a_model_that_is_not_configured_is_an_error_that_lists_those_that_are() -> None:
    text = shown_after([repl("llm_query('x', model='gpt-9')")])[0]
    assert "[unknown_model]" in text
    assert "'scripted'" in text


def test_usage_counts_root_and_sub_calls() -> None:
    client = ScriptedClient([repl("llm_query_batched(['a', 'b', 'c'])"), "1", "2", "3", repl("FINAL(1)")])
    result = RLM(backend=client).completion("c", "q")
    assert result.usage_summary.model_usage_summaries["scripted"].total_calls == 5
    assert result.usage_summary.total_input_tokens > 0


def test_unknown_cost_is_unknown_not_zero() -> None:
    assert answer(repl("FINAL(1)")).usage_summary.total_cost is None


def test_a_callable_is_a_backend() -> None:
    async def model(messages: Sequence[Message]) -> str:
        return repl("FINAL(len(context))")

    assert RLM(backend=model).completion("abc", "q").value == 3


def test_an_observer_that_raises_is_dropped_and_the_run_goes_on() -> None:
    seen: list[str] = []

    def broken(event: object) -> None:
        raise RuntimeError("observer")

    result = RLM(
        backend=ScriptedClient([repl("FINAL(1)")]), observers=[broken, lambda e: seen.append(type(e).__name__)]
    ).completion("c", "q")
    assert result.value == 1
    assert seen.count("Warned") == 1
    assert seen[-1] == "RunFinished"


def test_the_reference_callbacks_are_called() -> None:
    seen: list[tuple[Any, ...]] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *args: seen.append((name, *args))

    answer(
        repl("llm_query('hello')"),
        "hi",
        repl("FINAL(1)"),
        on_subcall_start=note("start"),
        on_subcall_complete=note("done"),
        on_iteration_start=note("turn"),
        on_iteration_complete=note("turn done"),
    )
    assert [row[0] for row in seen] == ["turn", "start", "done", "turn done", "turn", "turn done"]
    assert seen[1] == ("start", 1, "scripted", "hello")
    assert seen[2][:3] == ("done", 1, "scripted")
    assert seen[0] == ("turn", 0, 0)
