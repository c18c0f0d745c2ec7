"""Ctrl-C and other signals, at whatever moment they come."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from rlm import RLM

INTERRUPTED = """
import signal, sys, threading, os
from rlm import RLM, CancellationError
def model(messages):
    if len(messages) == 1:
        if messages[0].content == "0":
            os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(1.5)
        return "late"
    return "```repl\\nanswer['content'] = 'half'\\nllm_query_batched(list('01234'))\\n```"
try:
    RLM(backend=model).completion("c", "q")
except CancellationError as exc:
    print(exc.partial_answer, exc.result.usage_summary.total.calls > 0, len(exc.result.trajectory) > 3)
"""


def test_ctrl_c_in_a_fan_out_cancels_and_keeps_what_there_was() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("half True True\n", "")


INTERRUPTED_AT_ITS_END = """
import signal
from rlm import RLM, CancellationError, LMError
async def model(messages):
    signal.raise_signal(signal.SIGINT)  # on this thread: the one that waits sees it as the run ends
    {ending}
try:
    RLM(backend=model).completion("c", "q")
    print("forgotten")
except CancellationError as exc:
    print(exc.partial_answer, exc.result.status, type(exc.__cause__).__name__)
"""


@pytest.mark.parametrize(
    ("ending", "seen"),
    [
        ('return "```repl\\nFINAL(42)\\n```"', "42 answered NoneType\n"),
        ('raise LMError("down", kind="server")', "None forced LMError\n"),
    ],
)
def test_ctrl_c_as_a_run_ends_is_not_forgotten(ending: str, seen: str) -> None:
    code = INTERRUPTED_AT_ITS_END.format(ending=ending)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == (seen, "")


INTERRUPTED_BEFORE_IT_BEGINS = """
import asyncio, gc, signal
from rlm import RLM
class Loop(asyncio.SelectorEventLoop):
    def _make_self_pipe(self):
        signal.raise_signal(signal.SIGINT)
        super()._make_self_pipe()
class Policy(asyncio.DefaultEventLoopPolicy):
    _loop_factory = Loop
async def model(messages):
    return "```repl\\nFINAL(42)\\n```"
asyncio.set_event_loop_policy(Policy())
for _ in range(2):
    try:
        print(RLM(backend=model).completion("c", "q").response)
    except KeyboardInterrupt:
        print("interrupted")
    gc.collect()
"""


def test_ctrl_c_while_the_loop_is_made_leaves_nothing_and_the_next_call_works() -> None:
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", INTERRUPTED_BEFORE_IT_BEGINS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("interrupted\n42\n", "")


def test_what_a_signal_handler_raises_ends_the_run_and_comes_out() -> None:
    ended = False

    async def backend(messages: object) -> str:
        nonlocal ended
        try:
            os.kill(os.getpid(), signal.SIGUSR1)  # to the main thread, which waits
            await asyncio.Event().wait()
        finally:
            ended = True
        return ""

    def handler(number: int, frame: object) -> None:
        raise TimeoutError("took too long")

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(TimeoutError, match="took too long"):
            RLM(backend=backend).completion("?")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ended


AT_EVERY_LINE = """
import asyncio, signal, sys, threading
from rlm.portal import Portal

portal = Portal()

def interrupted_at(number):
    lines, fired, waits = 0, False, threading.Event()

    def trace(frame, event, argument):
        nonlocal lines, fired
        if frame.f_code.co_name == "wait":
            waits.set()
        if event == "line" and frame.f_code.co_name in ("call", "call_soon_threadsafe"):
            lines += 1
            if lines == number:
                fired = True
                waits.set()
                signal.raise_signal(signal.SIGINT)
        return trace

    async def work():
        await asyncio.to_thread(waits.wait)
        if fired:
            await asyncio.Event().wait()

    async def left():
        return len(asyncio.all_tasks()) - 1

    sys.settrace(trace)
    try:
        portal.call(work)
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass
    finally:
        sys.settrace(None)
    waits.set()
    return fired, portal.call(left)

found = []
while not found or found[-1][0]:
    found.append(interrupted_at(len(found) + 1))
print(len(found) > 8, [number for number, (_, left) in enumerate(found) if left])
"""


def test_ctrl_c_at_any_line_leaves_no_run_behind() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", AT_EVERY_LINE], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("True []\n", "")
