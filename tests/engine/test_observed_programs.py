"""Programs whose observers are stuck, slow or loud: they end, and nothing is lost."""

from __future__ import annotations

import subprocess
import sys

import pytest

SHOUTING = """
import sys
from rlm import RLM
from rlm.testing import ScriptedClient

def shout(event):
    for _ in range(100):
        print("x" * 1_000, file=sys.stderr)

client = ScriptedClient(["```repl\\nFINAL(1)\\n```"])
print(RLM(backend=client, observers=[shout]).completion("c", "q").value, flush=True)
"""


def test_a_run_whose_observer_prints_where_nobody_reads_answers_all_the_same() -> None:
    command = [sys.executable, "-c", SHOUTING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "1\n"
        assert program.stderr is not None
        assert program.stderr.read().count("x") > 65_536  # more than a pipe holds
        assert program.wait(60) == 0


STUCK = """
import asyncio, os, signal, sys, threading
from rlm import RLM, CancellationError

def stuck(event):
    threading.Event().wait()

async def model(messages):
    if "interrupted" in sys.argv:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()
    return "```repl\\nFINAL(1)\\n```"

try:
    print(RLM(backend=model, observers=[stuck]).completion("c", "q").value)
except CancellationError:
    print("cancelled")
"""


@pytest.mark.parametrize(("how", "printed"), [("plain", "1\n"), ("interrupted", "cancelled\n")])
def test_a_program_with_a_stuck_observer_ends(how: str, printed: str) -> None:
    command = [sys.executable, "-W", "error", "-c", STUCK, how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == (printed, 0)
    (line,) = done.stderr.splitlines()
    assert line.startswith("the observer stuck is ")


BEHIND = """
import time
from rlm import RLM
from rlm.testing import ScriptedClient

def slow(event):
    time.sleep(0.35)
    print(type(event).__name__, flush=True)

RLM(backend=ScriptedClient(["```repl\\nFINAL(1)\\n```"]), observers=[slow]).completion("c", "q")
"""


def test_what_is_left_for_an_observer_is_given_to_it_before_the_program_ends() -> None:
    done = subprocess.run([sys.executable, "-c", BEHIND], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stdout.split()[0] == "RunStarted"
    assert done.stdout.split()[-1] == "RunFinished"


FORKED = """
import os, sys
from rlm import RLM
from rlm.testing import ScriptedClient
seen = []
rlm = RLM(backend=ScriptedClient(lambda _: "```repl\\nFINAL(1)\\n```"), observers=[seen.append])
rlm.completion("c", "q")
child = os.fork()
seen.clear()
same = rlm.completion("c", "q").trajectory == tuple(seen)
os.write(1, b"same " if same else b"other ")
if child:
    os.waitpid(child, 0)
"""


def test_observers_are_called_in_a_fork_of_the_program_too() -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("same same ", "")
