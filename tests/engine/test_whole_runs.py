"""Whole runs over real HTTP and real processes: twenty at once, a killed worker, a provider that answers garbage."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlm import RLM, LMError
from rlm.events import CellFinished
from rlm.testing import LMServer, Request, Scripted, empty_body, html_page, malformed_json


def repl(code: str) -> str:
    return f"```repl\n{code}\n```\n"


def rlm_on(server: LMServer, **options: Any) -> RLM:
    kwargs = {"model_name": "m", "base_url": server.openai_base_url, "api_key": "k", "max_retries": 0}
    return RLM(backend="openai", backend_kwargs=kwargs, **options)


def agent(request: Request) -> str:
    """Prints its context, asks a sub-call about it, and submits both."""
    turns = sum(role == "assistant" for role, _ in request.messages)
    if not any("REPL" in text for _, text in request.messages):
        return f"about {request.text}"
    return repl("print('mine:', context)") if turns == 0 else repl("FINAL(context + ' / ' + llm_query(context))")


def children() -> set[str]:
    found: set[str] = set()
    for path in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread ended meanwhile
            found.update(path.read_text().split())
    return found


@pytest.mark.parametrize("environment", ["local", "process"])
def test_twenty_runs_at_once_are_right_and_mix_nothing(environment: str) -> None:
    async def main(server: LMServer, count: int) -> list[Any]:
        async with rlm_on(server, environment=environment) as rlm:
            return await asyncio.gather(*(rlm.acompletion(f"context {n}", "q") for n in range(count)))

    with LMServer(agent) as server:
        asyncio.run(main(server, 1))  # what one run starts for all later ones, the warm parent, stays
        before = children()
        results = asyncio.run(main(server, 20))
    for n, result in enumerate(results):
        assert result.response == f"context {n} / about context {n}"
        outputs = [e.cell.output for e in result.trajectory if isinstance(e, CellFinished)]
        assert outputs[0] == f"mine: context {n}\n"
    assert children() == before


def test_a_worker_that_crashes_costs_its_names_and_not_the_run() -> None:
    def script(request: Request) -> str:
        match sum(role == "assistant" for role, _ in request.messages):
            case 0:
                return repl("kept = 1")
            case 1:
                return repl("import ctypes\nctypes.string_at(0)")
            case _:
                return repl("FINAL(context)")

    with LMServer(script) as server, rlm_on(server, environment="process") as rlm:
        result = rlm.completion("the context", "q")
        shown = server.requests[2].text
    assert result.response == "the context"
    assert "kept" in shown
    assert "gone" in shown


@pytest.mark.parametrize("garbage", [malformed_json, html_page, empty_body, lambda: Scripted(text="half", cut=True)])
def test_a_provider_that_answers_garbage_fails_the_run_with_what_it_had(garbage: Callable[[], Scripted]) -> None:
    replies = [Scripted(text=repl("answer['content'] = 'draft'")), garbage()]
    with LMServer(replies) as server, rlm_on(server) as rlm:
        with pytest.raises(LMError) as caught:
            rlm.completion("c", "q")
    assert caught.value.kind in ("malformed", "connection")
    assert caught.value.partial_answer == "draft"
    assert caught.value.result is not None
    assert caught.value.result.usage_summary.total.unsettled == 1


@pytest.mark.parametrize("garbage", [malformed_json, html_page, lambda: Scripted(text="half a reply", cut=True)])
def test_garbage_for_a_subcall_is_an_error_in_the_cell_and_never_text(garbage: Callable[[], Scripted]) -> None:
    def script(request: Request) -> str | Scripted:
        if request.text == "sub":
            return garbage()
        return repl("x = llm_query_batched(['sub'])[0]\nFINAL([type(x).__name__, x.kind, isinstance(x, str)])")

    with LMServer(script) as server, rlm_on(server) as rlm:
        kind, why, text = rlm.completion("c", "q").value  # type: ignore[misc]
    assert (kind, text) == ("LMError", False)
    assert why in ("malformed", "connection")


def test_a_thousand_subcalls_in_one_cell_keep_their_order() -> None:
    def script(request: Request) -> str:
        if request.text.startswith("n="):
            return request.text[2:]
        code = "r = llm_query_batched([f'n={i}' for i in range(1000)])\nFINAL(r == [str(i) for i in range(1000)])"
        return repl(code)

    with LMServer(script, record=False) as server, rlm_on(server, environment="process") as rlm:
        assert rlm.completion("c", "q").value is True
        assert server.max_in_flight <= 64


def test_runs_from_twenty_threads_over_http() -> None:
    results: dict[int, str] = {}

    def one(n: int) -> None:
        results[n] = rlm.completion(f"context {n}", "q").response

    with LMServer(agent) as server, rlm_on(server) as rlm:
        threads = [threading.Thread(target=one, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == {n: f"context {n} / about context {n}" for n in range(20)}
