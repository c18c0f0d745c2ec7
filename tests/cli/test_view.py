"""The live view, on a pseudo-terminal as a person would see it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import warm
from command_line import DEADLINE, code, environment, is_root, turns
from rlm.testing import LMServer, Request, Scripted, server_error

Servers = Callable[..., LMServer]
COLOURS_AND_CURSOR = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """`rlm` with its stderr on a terminal of a given width; what was drawn there is in `drawn`."""

    def __init__(self, *arguments: str, server: LMServer, columns: int = 80, stdin: int = warm.DEVNULL) -> None:
        controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environ = environment(server, TERM="xterm-256color")
        self.process = warm.Program("-m", "rlm", *arguments, env=environ, stdin=stdin, stderr=terminal)
        os.close(terminal)
        self.controller = controller
        self.bytes = bytearray()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self) -> None:
        while True:
            try:
                data = os.read(self.controller, 65_536)
            except OSError:  # how Linux says that the other side is closed
                return
            if not data:
                return
            self.bytes += data

    def wait(self) -> tuple[int, bytes]:
        with self.process:
            stdout, _ = self.process.communicate(timeout=DEADLINE)
        self.reader.join(DEADLINE)
        os.close(self.controller)
        return self.process.returncode, stdout

    @property
    def drawn(self) -> str:
        return self.bytes.decode("utf-8", "replace")

    @property
    def text(self) -> str:
        return COLOURS_AND_CURSOR.sub("", self.drawn)


def answer(request: Request) -> str | Scripted:
    if not is_root(request):
        return server_error(400) if request.text == "q7" else "a reply"
    if turns(request) == 0:
        return code("print('seen', len(context))\nrs = llm_query_batched([f'q{i}' for i in range(12)])")
    return code("FINAL('the answer')")


@pytest.mark.parametrize("columns", [80, 200])
def test_it_shows_turns_code_output_calls_failures_tokens_and_time(lm_server: Servers, columns: int) -> None:
    terminal = Terminal("ask", "a question", server=lm_server(answer), columns=columns)
    assert terminal.wait() == (0, b"the answer\n")
    for words in ("turn 1", "turn 2", "llm_query_batched", "seen 10", "12 sub-calls", "1 failed", "tokens", "answered"):
        assert words in terminal.text, words


def test_no_line_is_wider_than_the_terminal(lm_server: Servers) -> None:
    wide = code("print('w' * 500)\n# " + "c" * 500 + "\nFINAL(1)")
    terminal = Terminal("ask", "?", server=lm_server(wide))
    terminal.wait()
    lines = re.split(r"[\r\n]+", terminal.text)
    assert max(map(len, lines)) <= 80


def test_what_a_model_writes_and_prints_cannot_steer_the_terminal(lm_server: Servers) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"
    reply = f"{evil}\n" + code(f"# {evil}\nprint('\\x1b]0;owned\\x07')\nFINAL('\\x1b]0;owned\\x07')")
    terminal = Terminal("ask", "?", server=lm_server(reply))
    assert terminal.wait()[0] == 0
    assert "owned" in terminal.drawn
    assert "\x1b]" not in terminal.drawn
    assert "\x07" not in terminal.drawn
    assert "\x1b[2J" not in terminal.drawn
    assert "\u202e" not in terminal.drawn


def test_quiet_shows_nothing(lm_server: Servers) -> None:
    terminal = Terminal("ask", "?", "--quiet", server=lm_server(code("FINAL(1)")))
    assert terminal.wait() == (0, b"1\n")
    assert terminal.text.strip() == ""


def test_ctrl_c_gives_the_terminal_back_and_says_what_was_done(lm_server: Servers) -> None:
    server = lm_server(
        lambda request: code("llm_query_batched(['q'] * 3)") if is_root(request) else Scripted(hang=True)
    )
    terminal = Terminal("ask", "?", server=server)
    server.wait_until(lambda s: s.in_flight == 3, timeout=DEADLINE)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.wait() == (130, b"")
    assert terminal.drawn.rindex("\x1b[?25h") > terminal.drawn.rindex("\x1b[?25l")
    assert "3 cut off" in terminal.text
    assert "sub-call failed" not in terminal.text
    assert "cancelled" in terminal.text.splitlines()[-1]
    assert "Traceback" not in terminal.text


def test_piped_input_that_is_not_named_is_told_of_on_a_terminal(lm_server: Servers, tmp_path: Path) -> None:
    (tmp_path / "input").write_text("text")
    server = lm_server(code("FINAL('the answer')"))
    with (tmp_path / "input").open("rb") as file:
        terminal = Terminal("ask", "What changed?", server=server, stdin=file.fileno())
        assert terminal.wait() == (0, b"the answer\n")
    assert "standard input is not read" in terminal.text
    terminal = Terminal("ask", "What changed?", server=server)
    terminal.wait()
    assert "standard input" not in terminal.text
