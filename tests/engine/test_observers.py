"""Observers: whatever they do, the run is not held up, and each is given every event once and in order."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from queue import SimpleQueue
from typing import Any

import pytest

from rlm import RLM, Completion
from rlm.delivery import MOST_BEHIND, Delivery
from rlm.events import Event, RunFinished, RunStarted, TurnFinished, TurnStarted, Warned
from rlm.testing import ScriptedClient


def repl(code: str) -> str:
    return f"```repl\n{code}\n```\n"


def ask(*observers: Any, replies: Any = None, **options: Any) -> Completion:
    client = ScriptedClient([repl("FINAL(1)")] if replies is None else replies)
    return RLM(backend=client, observers=observers, **options).completion("c", "q")


def kinds(events: Any) -> list[str]:
    return [type(event).__name__ for event in events]


class Gate:
    """An observer that is stuck until `opened`, and then notes what it is given."""

    def __init__(self) -> None:
        self.seen: list[Event] = []
        self.given: SimpleQueue[Event] = SimpleQueue()
        self.opened = threading.Event()

    def __call__(self, event: Event) -> None:
        assert self.opened.wait(60)
        self.seen.append(event)
        self.given.put(event)

    def until_the_end(self, runs: int = 1) -> None:
        while runs:
            event = self.given.get(timeout=60)
            runs -= isinstance(event, RunFinished) and event.depth == 0


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


Logged = Callable[[str], logging.LogRecord]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Logged:
    """Waits for a record of the library's log with that text: a thread of its own writes it."""
    records: SimpleQueue[logging.LogRecord] = SimpleQueue()
    caplog.handler.addFilter(lambda record: records.put(record) or True)  # type: ignore[func-returns-value]

    def wait_for(text: str) -> logging.LogRecord:
        while text not in (record := records.get(timeout=60)).getMessage():
            pass
        return record

    return wait_for


def test_an_observer_that_takes_its_time_has_been_given_everything_when_the_call_returns() -> None:
    seen: list[Event] = []

    def slow(event: Event) -> None:
        threading.Event().wait(0.01)
        seen.append(event)

    result = ask(slow, replies=[repl("print(1)"), repl("print(2)"), repl("FINAL(3)")])
    assert seen == list(result.trajectory)
    assert isinstance(seen[-1], RunFinished)


def test_an_observer_that_is_stuck_ends_no_run_and_is_given_the_rest_later(gate: Gate, logged: Logged) -> None:
    result = ask(gate)
    assert result.value == 1
    assert gate.seen == []
    (warning,) = [event for event in result.trajectory if isinstance(event, Warned)]
    assert "Gate is 6 events behind" in warning.text
    assert kinds(result.trajectory)[-2:] == ["Warned", "RunFinished"]
    assert warning.time <= result.trajectory[-1].time
    assert logged("events behind").getMessage() == warning.text
    gate.opened.set()
    gate.until_the_end()
    assert gate.seen == list(result.trajectory)


def test_a_stuck_observer_delays_the_end_of_one_run_not_of_those_that_follow(gate: Gate) -> None:
    seen: list[Event] = []

    async def main() -> list[Completion]:
        rlm = RLM(backend=ScriptedClient(lambda _: repl("FINAL(1)")), observers=[gate, seen.append])
        async with asyncio.timeout(45):  # waiting for it each time would take twice as long
            return [await rlm.acompletion("c", "q") for _ in range(50)]

    results = asyncio.run(main())
    assert [kinds(result.trajectory).count("Warned") for result in results] == [1] * 50
    assert seen == [event for result in results for event in result.trajectory]
    gate.opened.set()
    gate.until_the_end(runs=50)
    assert gate.seen == seen


def test_an_observer_that_has_caught_up_is_waited_for_again(gate: Gate) -> None:
    rlm = RLM(backend=ScriptedClient(lambda _: repl("FINAL(1)")), observers=[gate])
    rlm.completion("c", "q")
    gate.opened.set()
    gate.until_the_end()
    gate.seen.clear()
    rlm.completion("c", "q")
    result = rlm.completion("c", "q")
    assert gate.seen[-len(result.trajectory) :] == list(result.trajectory)
    assert "Warned" not in kinds(result.trajectory)


def test_an_observer_that_raises_is_reported_once_and_not_called_again_in_that_run(
    logged: Logged,
) -> None:
    calls: Counter[str] = Counter()
    seen: list[Event] = []

    def broken(event: Event) -> None:
        calls[event.run] += 1
        raise RuntimeError("no more paper")

    rlm = RLM(backend=ScriptedClient(lambda _: repl("FINAL(1)")), observers=[broken, seen.append])
    results = [rlm.completion("c", "q") for _ in range(2)]
    assert list(calls.values()) == [1, 1]
    for result in results:
        warnings = [event for event in result.trajectory if isinstance(event, Warned)]
        assert len(warnings) == 1
        assert "broken raised RuntimeError: no more paper" in warnings[0].text
        record = logged("no more paper")
        assert record.getMessage() == warnings[0].text
        assert record.exc_info is not None
        assert record.exc_info[2] is not None
    assert seen == [event for result in results for event in result.trajectory]


def test_an_observer_that_raises_at_the_end_leaves_the_last_event_the_last(
    logged: Logged,
) -> None:
    def broken(event: Event) -> None:
        if isinstance(event, RunFinished):
            raise KeyError("late")

    result = ask(broken)
    assert logged("KeyError: 'late'").exc_info is not None
    assert "Warned" not in kinds(result.trajectory)
    assert kinds(result.trajectory)[-1] == "RunFinished"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
def test_an_observer_cannot_end_the_run_or_the_program(error: BaseException) -> None:
    def leaving(event: Event) -> None:
        raise error

    result = ask(leaving)
    assert result.value == 1
    assert kinds(result.trajectory).count("Warned") == 1


def test_an_observer_that_writes_to_a_pipe_nobody_reads_holds_up_nothing() -> None:
    reading, writing = os.pipe()
    size = 1 << 20

    def write(event: Event) -> None:
        os.write(writing, b"." * size)
        if isinstance(event, RunFinished):
            os.close(writing)

    result = ask(write)
    with open(reading, "rb") as pipe:
        assert len(pipe.read()) == size * len(result.trajectory)


def test_observers_are_called_in_the_context_of_the_call() -> None:
    request: ContextVar[str] = ContextVar("request")
    seen: list[tuple[str, str]] = []

    def note(event: Event) -> None:
        if isinstance(event, RunStarted):
            request.set(request.get() + " begun")
        seen.append((event.run, request.get()))

    rlm = RLM(backend=ScriptedClient(lambda _: repl("FINAL(1)")), observers=[note])

    async def one(name: str) -> str:
        request.set(name)
        return (await rlm.acompletion("c", "q")).trajectory[0].run

    async def main() -> list[str]:
        return await asyncio.gather(*(one(f"r{n}") for n in range(10)))

    runs = asyncio.run(main())
    assert set(seen) == {(run, f"r{n} begun") for n, run in enumerate(runs)}
    request.set("blocking")
    run = rlm.completion("c", "q").trajectory[0].run
    assert seen[-1] == (run, "blocking begun")


def test_one_observer_of_a_hundred_runs_is_never_called_twice_at_once() -> None:
    inside = threading.Lock()
    seen: list[Event] = []
    threads: set[int] = set()

    def note(event: Event) -> None:
        assert inside.acquire(blocking=False)
        threads.add(threading.get_ident())
        seen.append(event)
        inside.release()

    rlm = RLM(backend=ScriptedClient(lambda _: repl("FINAL(1)")), observers=[note])

    async def main() -> list[Completion]:
        return await asyncio.gather(*(rlm.acompletion("c", "q") for _ in range(100)))

    results = asyncio.run(main())
    assert len(threads) == 1
    for result in results:
        assert [e for e in seen if e.run == result.trajectory[0].run] == list(result.trajectory)
    with ThreadPoolExecutor(8) as pool:
        more = list(pool.map(lambda _: rlm.completion("c", "q"), range(16)))
    for result in more:
        assert [e for e in seen if e.run == result.trajectory[0].run] == list(result.trajectory)


def test_no_thread_is_started_where_nothing_observes() -> None:
    names: set[str] = set()

    def model(messages: Any) -> str:
        names.update(thread.name for thread in threading.enumerate())
        return repl("FINAL(1)")

    async def main() -> None:
        rlm = RLM(backend=ScriptedClient(model))
        await asyncio.gather(*(rlm.acompletion("c", "q") for _ in range(100)))

    for thread in threading.enumerate():
        if thread.name == "rlm-observer":
            thread.join(60)
    asyncio.run(main())
    assert "rlm-observer" not in names


def test_an_observers_thread_ends_with_the_last_run_it_observes() -> None:
    threads: set[threading.Thread] = set()
    ask(lambda event: threads.add(threading.current_thread()))
    (thread,) = threads
    assert thread.name == "rlm-observer"
    thread.join(60)
    assert not thread.is_alive()


def test_an_inline_observer_is_called_as_things_happen_on_the_loop_of_the_run() -> None:
    class Inline:
        inline = True

        def __init__(self) -> None:
            self.threads: set[int] = set()
            self.turns = 0

        def __call__(self, event: Event) -> None:
            self.threads.add(threading.get_ident())
            self.turns += isinstance(event, TurnStarted)

    inline, seen = Inline(), []

    def model(messages: Any) -> str:
        seen.append(inline.turns)
        return repl("print(1)") if len(seen) < 3 else repl("FINAL(1)")

    async def main() -> None:
        await RLM(backend=ScriptedClient(model), observers=[inline]).acompletion("c", "q")
        assert inline.threads == {threading.get_ident()}

    asyncio.run(main())
    assert seen == [1, 2, 3]


def test_an_observer_may_ask_a_question_of_its_own() -> None:
    answers: list[object] = []

    def curious(event: Event) -> None:
        if isinstance(event, TurnFinished):
            answers.append(RLM(backend=ScriptedClient([repl("FINAL('inner')")])).completion("c", "q").value)

    assert ask(curious).value == 1
    assert answers == ["inner"]


def test_a_run_that_is_cancelled_while_it_waits_for_an_observer_keeps_its_answer(gate: Gate) -> None:
    waiting = threading.Event()

    async def main() -> asyncio.CancelledError:
        class Inline:
            inline = True

            def __call__(self, event: Event) -> None:
                if isinstance(event, TurnFinished):
                    waiting.set()

        rlm = RLM(backend=ScriptedClient([repl("FINAL('kept')")]), observers=[gate, Inline()])
        task = asyncio.create_task(rlm.acompletion("c", "q"))
        await asyncio.to_thread(waiting.wait)
        for _ in range(20):  # to where the answer is there and only the observer is not
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError as exc:
            return exc
        raise AssertionError("not cancelled")

    exc = asyncio.run(main())
    assert exc.partial_answer == "kept"  # type: ignore[attr-defined]
    assert kinds(exc.result.trajectory)[-1] == "RunFinished"  # type: ignore[attr-defined]


def test_an_observer_that_is_hopelessly_behind_is_given_up(gate: Gate) -> None:
    warnings: list[str] = []

    async def main() -> None:
        delivery = Delivery([gate], warnings.append)
        for turn in range(MOST_BEHIND + 10):
            delivery.put(TurnStarted(run="r", depth=0, time=0.0, turn=turn))
        await asyncio.sleep(0)
        delivery.close()

    asyncio.run(main())
    assert warnings == [
        f"the observer Gate is more than {MOST_BEHIND:,} events behind; it is not called any more in this run"
    ]


def test_an_observer_that_is_stuck_takes_nothing_from_the_others(gate: Gate) -> None:
    seen: list[Event] = []
    result = ask(gate, seen.append)
    assert seen == list(result.trajectory)
    warnings = [event.text for event in result.trajectory if isinstance(event, Warned)]
    assert len(warnings) == 1
    assert "Gate" in warnings[0]
