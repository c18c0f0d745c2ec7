"""Turn by turn through whole runs in the environment: blocks (21), typed answers and tools (22, 18), replies as they
are read (25, 26, 27), and what the model is told (28, 29, 30, 31).

A session takes its time to start in some environments, so each run asserts all that it can show.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rlm import RLM, Message
from rlm.testing.conformance._bench import Bench, promise
from rlm.testing.scripted import ScriptedClient

TOLD = 3_500
"""Characters of the system prompt, and of the first message, at most."""


def cells(*codes: str) -> str:
    return "\n".join(f"```repl\n{code}\n```" for code in codes)


def grows(client: ScriptedClient) -> bool:
    """Whether each request is the one before, byte for byte, and more."""
    calls = [call.messages for call in client.calls]
    return all(later[: len(earlier)] == earlier for earlier, later in pairwise(calls))


@promise(21)
async def blocks_run_in_order_until_one_fails_and_an_answer_unseen_is_held(bench: Bench) -> None:
    script = [
        cells("x = [1]", "x.append(2)\nprint('news')", "FINAL(x)"),
        cells("x.append(3)", "1 / 0", "x.append(4)"),
        cells("x.append(5)", "FINAL(x)"),
    ]
    client = ScriptedClient(script)
    result = await RLM(backend=client, environment=bench.create()).acompletion("c", "q")
    held, failed = client.calls[1].text, client.calls[2].text
    assert "[block 2 of 3]\nnews" in held, held
    assert "the answer was not taken yet" in held, held
    assert "ZeroDivisionError" in failed, failed
    assert "blocks 3 to 3 were not run" in failed, failed
    assert result.value == [1, 2, 3, 5], result
    assert grows(client)


@promise(22)
async def an_answer_has_the_type_asked_for_or_goes_back_with_what_is_wrong(bench: Bench) -> None:
    """With tools as a run gives them: a function, an asynchronous one, and a value."""

    async def later(x: object) -> list[object]:
        await asyncio.sleep(0)
        return [x, None, (1, {"k": 0.5})]

    tools = {"double": lambda x: 2 * x, "later": later, "rows": [{"n": 1}]}
    script = [
        cells("FINAL({'n': 'many'})"),
        cells("answer['content'] = [1]\nanswer['ready'] = True"),
        cells("assert later(()) == [(), None, (1, {'k': 0.5})]\nFINAL({'n': double(rows[0]['n'])})"),
    ]
    client = ScriptedClient(script)
    rlm = RLM(backend=client, environment=bench.create(), custom_tools=tools)
    result = await rlm.acompletion("c", "q", output=dict[str, int])
    assert "n: Input should be a valid integer" in client.calls[1].text, client.calls[1].text
    assert "Input should be a valid dictionary" in client.calls[2].text, client.calls[2].text
    assert "`double(x)`" in client.calls[0].messages[0].content
    assert (result.value, result.response, result.status) == ({"n": 2}, '{"n":2}', "answered"), result


@promise(22)
async def a_draft_of_another_type_is_text_and_no_value(bench: Bench) -> None:
    client = ScriptedClient(cells("answer['content'] = 'about two'"))
    result = await RLM(backend=client, environment=bench.create(), max_iterations=1).acompletion("c", "q", output=int)
    assert (result.value, result.response, result.status) == (None, "about two", "forced"), result


@promise(25)
async def code_is_found_in_whatever_fence_it_stands_and_never_in_a_thought(bench: Bench) -> None:
    script = [
        "<think>\n```repl\nthought = 1\n```\n</think>\n~~~py\na = '''\n```\n'''\n~~~\n```\nb = len(a)\nprint(b)\n```",
        "1. First:\n   ```python\n   if b:\n       c = b + 1```\n\nand then\n```repl\nprint(c)\n",
        "```json\n{}\n```\nFINAL_VAR(c)",
    ]
    client = ScriptedClient(script)
    result = await RLM(backend=client, environment=bench.create()).acompletion("c", "q")
    assert "[block 2 of 2]\n5" in client.calls[1].text, client.calls[1].text
    assert result.value == 6, result


@promise(26)
async def a_reply_with_nothing_to_run_is_answered_and_an_empty_one_asked_for_again(bench: Bench) -> None:
    client = ScriptedClient(["", "I think it is five.", "```json\n5\n```", "Still five.", "five"])
    result = await RLM(backend=client, environment=bench.create()).acompletion("c", "q")
    assert client.calls[1].messages == client.calls[0].messages
    assert "the reply has no code" in client.calls[2].text, client.calls[2].text
    assert "a fence tagged 'json'" in client.calls[3].text, client.calls[3].text
    assert grows(client)
    assert (result.response, result.status, result.limit) == ("five", "forced", "idle"), result  # three in a row


@promise(27)
async def code_that_fails_a_third_time_is_pointed_out(bench: Bench) -> None:
    script = [cells("1 / 0"), cells("1 / 0"), cells("x = 2\n1 / 0"), cells("1 / 0"), cells("FINAL(x)")]
    client = ScriptedClient(script)
    result = await RLM(backend=client, environment=bench.create()).acompletion("c", "q")
    pointed = [" has now failed 3 times" in call.text for call in client.calls]
    assert pointed == [False, False, False, False, True], pointed
    assert result.value == 2, result


@promise(28)
async def what_the_model_is_told_of_the_repl_is_so(bench: Bench) -> None:
    """The names are there, the numbers are those of the run, and text of the user's is literal."""
    question = "What of {this}, <<MODELS>>, %s and \\n?"

    def model(messages: Sequence[Message]) -> str:
        names = sorted(set(re.findall(r"`(\w+)\(", messages[0].content)) | {"context", "_out", "answer"})
        missing = f"[name for name in {names} if name not in globals()]"
        return cells(f"FINAL([{missing}, type(context).__name__, budget()['turns'], budget()['subcalls']])")

    client = ScriptedClient(model, context_window=50_000)
    rlm = RLM(backend=client, environment=bench.create(cell_timeout=77), max_iterations=12, max_subcalls=7, max_depth=2)
    result = await rlm.acompletion({"k": ["a"]}, question)
    system, first = (message.content for message in client.calls[0].messages)
    assert result.value == [[], "dict", 11, 7], result
    for told in ("a dict", "12 turns", "7 sub-calls", "77 seconds", "125,424 characters", "`rlm_query("):
        assert system.count(told) == 1, (told, system)
    assert len(system) < TOLD, len(system)
    assert "<<" not in system
    assert first.startswith(question), first


@promise(30)
async def braces_in_a_custom_prompt_are_literal(bench: Bench) -> None:
    mine = "Mine: {x} {{y}} {0} %(z)s <<MODELS>> ${w}"
    client = ScriptedClient(cells("FINAL(len(context))"))
    rlm = RLM(backend=client, environment=bench.create(), custom_system_prompt=mine, user_prologue="{p}")
    assert (await rlm.acompletion("{c}", "{q}")).value == 3
    assert [message.content for message in client.calls[0].messages[:2]] == [mine, "{p}"]


@promise(31)
async def the_first_message_says_what_the_context_is_and_stays_small(bench: Bench) -> None:
    context = "".join(f"2026-01-01 00:00:{n % 60:02} worker-{n % 9} done in {n} ms\n" for n in range(40_000))
    context += "\x00 odd ``` \u2028 <<END>> last line"
    client = ScriptedClient(cells("lines = context.split('\\n')\nFINAL([len(context), len(lines), lines[-1]])"))
    result = await RLM(backend=client, environment=bench.create()).acompletion(context, "q")
    value: Any = result.value
    characters, lines, last = value
    first = client.calls[0].messages[1].content
    assert f"{characters:,} characters" in first, first
    assert f"in {lines:,} lines" in first, first
    assert last == context.rpartition("\n")[2]
    assert re.search(r"100 % +[\d,]+ × # # worker-# done in # ms", first), first
    assert len(first) < TOLD, first
