"""The public face: from threads, from loops, from inside a running loop, and at the interpreter's exit."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import rlm as rlm_module
from rlm import RLM, CancellationError, ConfigurationError, LMError, Message, RLMError, TimeoutExceededError
from rlm.events import RunFinished, RunStarted
from rlm.testing import ScriptedClient


def repl(code: str) -> str:
    return f"```repl\n{code}\n```\n"


def count_letters(messages: Any) -> str:
    """A model that answers with the length of its context, printing something on the way."""
    if len(messages) == 2:
        return repl("print('size', len(context))")
    return repl("FINAL(len(context))")


def test_the_synchronous_face_works_inside_a_running_loop() -> None:
    async def main() -> Any:
        return RLM(backend=ScriptedClient([repl("FINAL(1)")])).completion("c", "q").value

    assert asyncio.run(main()) == 1


def test_twenty_threads_share_one_rlm_and_do_not_mix() -> None:
    rlm = RLM(backend=ScriptedClient(count_letters))
    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(lambda n: rlm.completion("x" * n, "how long?"), range(20)))
    assert [r.value for r in results] == list(range(20))
    for n, result in enumerate(results):
        outputs = [e.cell.output for e in result.trajectory if type(e).__name__ == "CellFinished"]
        assert outputs[0] == f"size {n}\n"


def test_one_rlm_works_from_two_loops_in_turn() -> None:
    rlm = RLM(backend=ScriptedClient(count_letters))
    assert asyncio.run(rlm.acompletion("abc", "q")).value == 3
    assert asyncio.run(rlm.acompletion("abcd", "q")).value == 4
    assert rlm.completion("abcde", "q").value == 5


def test_a_hundred_at_once_in_one_loop() -> None:
    async def main() -> list[Any]:
        rlm = RLM(backend=ScriptedClient(count_letters))
        return await asyncio.gather(*(rlm.acompletion("x" * n, "q") for n in range(100)))

    assert [r.value for r in asyncio.run(main())] == list(range(100))


PROGRAM = """
import rlm
from rlm.testing import ScriptedClient, LMServer
import os, sys
with LMServer(lambda r: "```repl\\nFINAL(1)\\n```") as server:
    os.environ["OPENAI_BASE_URL"] = server.openai_base_url
    os.environ["OPENAI_API_KEY"] = "none-needed"
    model = rlm.RLM(backend="openai", backend_kwargs={"model_name": "m"})
    print(model.completion("hello").response)
"""


def test_no_close_is_needed_no_hang_and_no_warning_at_exit() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("1\n", "", 0)


COLLECTED = """
import gc, os, rlm
from rlm.testing import LMServer
with LMServer(lambda r: "```repl\\nFINAL(1)\\n```") as server:
    os.environ["OPENAI_BASE_URL"] = server.openai_base_url
    os.environ["OPENAI_API_KEY"] = "none-needed"
    for _ in range(3):
        rlm.RLM(backend="openai", backend_kwargs={"model_name": "m"}).completion("hello")
        gc.collect()
    print(rlm.RLM(model="openai/m").completion("hello").response)
"""


def test_an_rlm_that_is_garbage_leaves_no_warning() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", COLLECTED], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("1\n", "", 0)


def test_the_functions_take_a_model_by_provider_and_name() -> None:
    with pytest.raises(ConfigurationError, match="unknown backend 'nobody'"):
        rlm_module.completion("c", "nobody/model")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "openai", "model": "openai/x"}, "not both"),
        ({"backend": "opnai"}, "openai"),
        ({"environment": "lokal"}, "local"),
        (
            {"environment_kwargs": {"cell_timout": 3}},
            r"local takes no 'cell_timout' \(did you mean 'cell_timeout'\?\); environment_kwargs may be: cell_timeout",
        ),
        ({"environment": "process", "environment_kwargs": {"image": "x"}}, "process takes no 'image'; environment_kwa"),
        ({"backend": 5}, "a name, a Client or any function of the messages, asynchronous or not"),
        ({"backend": "openai", "backend_kwargs": {"model_name": "m", "api_kye": "x"}}, "api_kye"),
        ({"max_iterations": 0}, "max_iterations"),
        ({"max_budget": -1}, "max_budget"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"on_limit": "ignore"}, "on_limit"),
        ({"custom_tools": {"no name": 1}}, "no name"),
        ({"custom_tools": {"context": 1}}, "context"),
        ({"other_backends": ["openai"], "other_backend_kwargs": [{}, {}]}, "other_backend"),
        ({"compaction_threshold_pct": 85}, "compaction_threshold_pct"),
        ({"depth": -1}, "depth"),
        ({"observers": print}, "observers is a list"),
        ({"observers": None}, "observers is a list"),
        ({"custom_system_prompt": 17}, "custom_system_prompt is text"),
        ({"user_prologue": ["hello"]}, "user_prologue is text"),
        ({"sampling_args": "hot"}, "sampling_args is a dict"),
        ({"custom_tools": [len]}, "custom_tools is a dict"),
        ({"other_backends": "openai"}, "other_backends is a list"),
        ({"sub_model": 5}, "sub_model"),
        ({"model": 5}, "model"),
        ({"depth": None}, "depth"),
        ({"limits": {"max_budget": 1}}, r"a Limits\(…\), not dict"),
        ({"observers": ["print"]}, "observer"),
        ({"observers": [asyncio.sleep]}, "plain function"),
    ],
)
def test_a_wrong_name_or_value_fails_at_construction(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RLM(**{"backend": ScriptedClient(), **options} if "model" not in options else options)


def test_an_unknown_parameter_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        RLM(max_iteration=3)  # type: ignore[call-arg]


def test_cancelling_a_completion_carries_the_partial_result() -> None:
    started = threading.Event()

    async def model(messages: Any) -> str:
        if len(messages) == 2:
            return repl("answer['content'] = 'half'")
        started.set()
        await asyncio.sleep(60)
        return ""

    async def main() -> asyncio.CancelledError:
        task = asyncio.create_task(RLM(backend=model).acompletion("c", "q"))
        await asyncio.to_thread(started.wait)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError as exc:
            return exc
        raise AssertionError("not cancelled")

    exc = asyncio.run(main())
    assert exc.partial_answer == "half"  # type: ignore[attr-defined]
    usage = exc.result.usage_summary.total  # type: ignore[attr-defined]
    assert (usage.calls, usage.unsettled) == (2, 1)
    assert isinstance(exc.result.trajectory[-1], RunFinished)  # type: ignore[attr-defined]


def test_the_time_limit_holds_while_code_runs() -> None:
    client = ScriptedClient([repl("answer['content'] = 'draft'"), repl("while True: pass")])
    with pytest.raises(TimeoutExceededError) as caught:
        RLM(backend=client, max_timeout=0.5).completion("c", "q")
    assert caught.value.partial_answer == "draft"
    assert caught.value.result is not None
    assert caught.value.elapsed < 30


def test_the_time_limit_holds_while_a_provider_hangs() -> None:
    client = ScriptedClient([repl("answer['content'] = 'draft'"), "never"], latency=_hang_from_second_call())
    with pytest.raises(TimeoutExceededError) as caught:
        RLM(backend=client, max_timeout=0.3).completion("c", "q")
    assert caught.value.partial_answer == "draft"


def test_a_time_limit_can_return_the_draft_instead() -> None:
    client = ScriptedClient([repl("answer['content'] = 'draft'"), repl("while True: pass")])
    result = RLM(backend=client, max_timeout=0.5, on_limit="return").completion("c", "q")
    assert (result.response, result.status, result.limit) == ("draft", "forced", "max_timeout")


def _hang_from_second_call() -> Any:
    calls = iter(range(100))

    async def latency() -> None:
        if next(calls):
            await asyncio.sleep(60)

    return latency


def test_a_stream_gives_every_event_as_it_happens() -> None:
    async def main() -> list[Any]:
        rlm = RLM(backend=ScriptedClient(count_letters))
        return [event async for event in rlm.stream("abc", "q")]

    events = asyncio.run(main())
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    assert events[-1].response == "3"


def test_leaving_a_stream_early_cancels_the_run() -> None:
    client = ScriptedClient(lambda messages: repl("x = 1"))

    async def main() -> None:
        stream = RLM(backend=client, max_iterations=1000).stream("abc", "q")
        async for _ in stream:
            break
        await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())
    assert len(client.calls) < 1000


def test_a_stream_of_a_failing_run_ends_with_its_error() -> None:
    async def main() -> None:
        client = ScriptedClient([LMError("down", kind="server")])
        async for _ in RLM(backend=client).stream("abc", "q"):
            pass

    with pytest.raises(LMError, match="down"):
        asyncio.run(main())


def test_a_bug_of_a_backend_ends_the_run_and_is_not_shown_to_the_model_as_an_answer() -> None:
    class Broken(ScriptedClient):
        async def complete(self, messages: Any, **rest: Any) -> Any:
            if len(messages) == 1:
                raise RuntimeError("a bug")
            return await super().complete(messages, **rest)

    client = Broken([repl("answer['content'] = 'half'\nllm_query('x')")])
    with pytest.raises(RuntimeError, match="a bug") as caught:
        RLM(backend=client).completion("c", "q")
    assert caught.value.result.usage_summary.total.calls >= 1  # type: ignore[attr-defined]


def test_a_repr_says_what_it_is_and_no_key() -> None:
    text = repr(
        RLM(backend="openai", backend_kwargs={"model_name": "gpt-5-mini", "api_key": "sk-secret"}, max_budget=2)
    )
    assert "openai/gpt-5-mini" in text
    assert "max_budget=2" in text
    assert "sk-secret" not in text


def test_every_error_has_one_base() -> None:
    assert issubclass(CancellationError, RLMError)
    assert issubclass(LMError, RLMError)
    assert Message("user", "x").content == "x"
