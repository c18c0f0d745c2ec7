"""Starts Python programs by forking a process that has imported what they need; an SDK alone takes half a second.

For tests in which how the interpreter starts is not the subject. A program has its own streams, directory, environment
and arguments, and ends as Python ends; what it imports was imported without `-W` and with the tests' own environment.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import IO, Any

PIPE, DEVNULL = subprocess.PIPE, subprocess.DEVNULL
IMPORTED = ("rlm.cli.command", "rlm.environments.process", "rlm.live.view", "rlm.testing", "rlm.backends._openai_sdk")
IMPORTED += ("genai_prices.data", "pytest")
_alone = threading.Lock()


class Program(AbstractContextManager["Program"]):
    """A running program, used like `subprocess.Popen`; `arguments` are what `python` would be given."""

    def __init__(
        self,
        *arguments: str,
        env: Mapping[str, str],
        cwd: Path | None = None,
        stdin: int = DEVNULL,
        stdout: int = PIPE,
        stderr: int = PIPE,
        start_new_session: bool = False,
    ) -> None:
        self.returncode: int | None = None
        wanted = {
            "arguments": arguments,
            "env": dict(env),
            "cwd": str(cwd or Path.cwd()),
            "session": start_new_session,
        }
        with ExitStack() as theirs:
            (give_in, self.stdin), (give_out, self.stdout), (give_err, self.stderr) = (
                _stream(stdin, theirs, ours="wb"),
                _stream(stdout, theirs, ours="rb"),
                _stream(stderr, theirs, ours="rb"),
            )
            self._status, status = socket.socketpair()
            theirs.callback(status.close)
            with _alone:
                socket.send_fds(
                    _parent(env.get("PYTHONHASHSEED")), [b"+"], [status.fileno(), give_in, give_out, give_err]
                )
            self._status.sendall(json.dumps(wanted).encode() + b"\n")
        self._lines = self._status.makefile("rb")
        self.pid = int(self._lines.readline())

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.returncode = int(self._lines.readline())
        return self.returncode

    def wait(self, timeout: float) -> int:
        if self.returncode is None and not select.select([self._status], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("python", timeout)
        ended = self.poll()
        assert ended is not None
        return ended

    def communicate(self, stdin: bytes = b"", timeout: float = 100.0) -> tuple[bytes, bytes]:
        with ThreadPoolExecutor(3) as threads:
            try:
                writing = threads.submit(_feed, self.stdin, stdin)
                out, err = (threads.submit(s.read) if s else None for s in (self.stdout, self.stderr))
                result = (out.result(timeout) if out else b"", err.result(timeout) if err else b"")
                writing.result(timeout)
                self.wait(timeout)
            except TimeoutError as error:
                self.kill()
                raise subprocess.TimeoutExpired("python", timeout) from error
        return result

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self.wait(100.0)
        self._lines.close()
        self._status.close()


def run(
    *arguments: str, env: Mapping[str, str], cwd: Path | None = None, stdin: bytes = b"", timeout: float = 100.0
) -> subprocess.CompletedProcess[bytes]:
    with Program(*arguments, env=env, cwd=cwd, stdin=PIPE) as program:
        stdout, stderr = program.communicate(stdin, timeout)
    assert program.returncode is not None
    return subprocess.CompletedProcess(arguments, program.returncode, stdout, stderr)


def _stream(asked: int, theirs: ExitStack, *, ours: str) -> tuple[int, IO[bytes] | None]:
    """The descriptor that the program gets, and our end of a pipe."""
    if asked == DEVNULL:
        theirs.callback(os.close, fd := os.open(os.devnull, os.O_RDWR))
        return fd, None
    if asked != PIPE:
        return asked, None
    reader, writer = os.pipe()
    mine, given = (writer, reader) if ours == "wb" else (reader, writer)
    theirs.callback(os.close, given)
    return given, open(mine, ours)


def _feed(stream: IO[bytes] | None, data: bytes) -> None:
    if stream is not None:
        with contextlib.suppress(BrokenPipeError), stream:
            stream.write(data)


@functools.cache
def _parent(hash_seed: str | None) -> socket.socket:
    """The process that is forked; it ends with this one. How it orders a set is fixed at its start."""
    ours, theirs = socket.socketpair()
    env = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    if hash_seed is not None:
        env["PYTHONHASHSEED"] = hash_seed
    process = subprocess.Popen(
        [sys.executable, __file__, str(theirs.fileno())],
        env=env,
        stdin=DEVNULL,
        pass_fds=[theirs.fileno()],
        start_new_session=True,  # Ctrl-C is for the tests
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _serve(control: socket.socket) -> Callable[[], Any]:
    """Forks for each request; comes back in a program, with what it is to do."""
    for name in IMPORTED:
        importlib.import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, "a process with threads cannot be forked"
    gc.collect()
    gc.freeze()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)  # what is started in the background inherits that they are ignored
    while True:
        message, given, _, _ = socket.recv_fds(control, 1, 4)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            control.close()
            return _keep(given)
        for descriptor in given:
            os.close(descriptor)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _keep(given: list[int]) -> Callable[[], Any]:
    """Forks the program, and says how it ended."""
    status = socket.socket(fileno=given[0])
    lines = status.makefile("rb")
    wanted = json.loads(lines.readline())
    pid = os.fork()
    if pid == 0:
        lines.close()
        status.close()
        return _become(wanted, given[1:])
    for descriptor in given[1:]:
        os.close(descriptor)
    status.sendall(b"%d\n" % pid)
    _, ended = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):  # nobody wants to know any more
        status.sendall(b"%d\n" % os.waitstatus_to_exitcode(ended))
    os._exit(0)


def _become(wanted: dict[str, Any], streams: Sequence[int]) -> Callable[[], Any]:
    if wanted["session"]:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=stream is sys.stderr or stream.isatty())  # type: ignore[attr-defined]
    os.environ.clear()
    os.environ.update(wanted["env"])
    os.chdir(wanted["cwd"])
    options = iter(wanted["arguments"])
    sys.path[0] = ""
    added = [folder for folder in wanted["env"].get("PYTHONPATH", "").split(os.pathsep) if folder not in sys.path]
    sys.path[1:1] = added
    for option in options:
        match option:
            case "-W":
                sys.warnoptions.append(next(options))
                warnings.simplefilter(sys.warnoptions[-1])  # type: ignore[arg-type]
            case "-m":
                sys.path[0] = wanted["cwd"]
                name = next(options)
                sys.argv = [name, *options]
                return functools.partial(runpy.run_module, name, run_name="__main__", alter_sys=True)
            case "-c":
                source = next(options)
                sys.argv = ["-c", *options]
                return functools.partial(_run, source, "<string>")
            case script:
                path = Path(script)
                sys.path[0] = str(path.resolve().parent)
                sys.argv = [script, *options]
                return functools.partial(_run, path.read_text("utf-8"), script)
    raise AssertionError("nothing to run")


def _run(source: str, file: str) -> None:
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    if file != "<string>":
        module.__file__ = file
    exec(compile(source, file, "exec"), module.__dict__)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))()
