"""`kill -9` in earnest: the process of a run is gone, and the next one goes on with its journal."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import command_line
import warm
from rlm.testing import LMServer, Request

VICTIM = Path(__file__).with_name("victim.py")
TURNS = [
    "import random\nlines = random.sample(context, 4)\nfor line in lines:\n    note(line)\nprint(lines)",
    "replies = llm_query_batched([f'about {line}' for line in lines])\nprint(replies)",
    "inner = rlm_query('child: go on', context=replies[:2])\nprint(inner)",
    "FINAL([replies, inner])",
]
CHILD_TURNS = ["print(context)", "FINAL(llm_query('inside ' + context[0]))"]


def model(request: Request) -> str:
    if not command_line.is_root(request):
        return f"reply to {request.text}"
    child = any(text.startswith("child:") for _, text in request.messages)
    return command_line.code((CHILD_TURNS if child else TURNS)[command_line.turns(request)])


class Hand:
    """Starts victims, and kills the first at the request of a given number, before it is answered."""

    def __init__(self, folder: Path, environment: str) -> None:
        self.folder = folder
        self.environment = environment
        self.effects = folder / "effects"
        self.kill_at = 0
        self.asked: list[str] = []
        self._victim: subprocess.Popen[bytes] | warm.Program | None = None

    def script(self, request: Request) -> str:
        self.asked.append(request.text)
        if len(self.asked) == self.kill_at and self._victim is not None:
            self._victim.kill()
        return model(request)

    def run(self, server: LMServer) -> tuple[int, str]:
        arguments = [str(self.folder / "run"), self.environment, server.openai_base_url, str(self.effects)]
        with self.start("-W", "error", str(VICTIM), *arguments) as victim:
            self._victim = victim
            out, err = victim.communicate(timeout=command_line.DEADLINE)
        assert victim.returncode is not None
        return victim.returncode, (out or err).decode()

    def start(self, *arguments: str) -> subprocess.Popen[bytes] | warm.Program:
        env = command_line.environment()
        if not self.kill_at:
            return warm.Program(*arguments, env=env)
        return subprocess.Popen([sys.executable, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize(
    ("environment", "number"), [("local", 1), ("local", 3), ("local", 8), ("process", 4), ("process", 9)]
)
def test_a_killed_process_is_resumed_by_another(environment: str, number: int, tmp_path: Path) -> None:
    hand = Hand(tmp_path, environment)
    with LMServer(hand.script) as server:
        hand.kill_at = number
        code, _ = hand.run(server)
        assert code == -9
        in_flight = 4 if 2 < number <= 6 else 1
        hand.kill_at = 0
        code, answer = hand.run(server)
        assert code == 0, answer
        resumed = len(hand.asked)
        code, again = hand.run(server)
    assert (code, again) == (0, answer)
    assert len(hand.asked) == resumed, "a finished run asks nothing"
    twice = sum(count - 1 for count in Counter(hand.asked).values())
    assert twice <= in_flight
    assert resumed <= 11 + in_flight
    assert len(hand.effects.read_text("utf-8").splitlines()) == 4
    for file in (tmp_path / "run").iterdir():
        assert b"sk-the-key-of-the-victim" not in file.read_bytes()
