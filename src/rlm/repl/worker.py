"""The kernel behind a byte stream: the one program that runs in every sandbox.

The main thread runs cells, so that an interrupt is a signal; one thread reads the wire, one drains what child processes
and C code print.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import queue
import signal
import sys
import threading
import time
import types
from typing import Any, Callable, Iterator, NoReturn

from .capture import LIVE_EVERY, Capture, NoInput, OutputStream
from .channel import PROTOCOL
from .codec import CodecError
from .descriptors import Descriptors
from .kernel import Kernel
from .port import Port

LAST_WRITE = 0.05  # seconds
DYING = 2.0  # seconds that children which were killed are given to end
NAMES = 200  # names of the session that are reported to the host
FLUSHES = 200  # pieces of live output a second that a cell may ask for by flushing


class Output(Capture):
    """The output of cells in the order it was written: what came by descriptor goes before what is written now. Shown
    live."""

    def __init__(self, descriptors: Descriptors, live: Callable[[str], None]) -> None:
        super().__init__(live)
        self._descriptors = descriptors
        self._written = threading.Event()
        self._second = self._flushes = 0

    def write(self, text: str) -> None:
        self.drain()
        self._add(text)

    def _add(self, text: str) -> None:
        super().write(text)
        if not self._written.is_set():
            self._written.set()

    def drain(self, last: bool = False) -> None:
        self._descriptors.drain(self._add, last)

    def drain_always(self) -> None:
        """The target of a thread, as is the next one."""
        self._descriptors.drain_always(self._add)

    def show_always(self) -> None:
        while True:
            self._written.wait()
            self._written.clear()
            time.sleep(LIVE_EVERY)
            self.flush()

    def flush_now(self) -> None:
        """For a cell that flushes; one that does nothing else is not followed all the way."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._flushes = second, 0
        self._flushes += 1
        if self._flushes <= FLUSHES:
            self.flush()


class Stream(OutputStream):
    """`flush` shows what was printed: it may be the last words of a process that is about to die."""

    def __init__(self, output: Output, name: str, fd: int) -> None:
        super().__init__(output, name, fd)
        self._output = output

    def flush(self) -> None:
        self._output.flush_now()


class Worker:
    def __init__(self, hello: dict[str, Any]) -> None:
        self.descriptors = Descriptors()
        faulthandler.enable(self.descriptors.wire_out, all_threads=False)
        self.port = Port(self.descriptors, hello["token"], hello["raw"])
        self.main = types.ModuleType("__main__")
        self.main.__dict__.clear()
        module = importlib.import_module("." + hello["kernel"], __package__)
        self.kernel: Kernel = module.KERNEL(self.port, namespace=self.main.__dict__)
        self.kernel.capture = self.output = Output(self.descriptors, self.port.output)
        self.port.before_wait = self.output.flush
        self.kernel.before_collect = self._settle_output
        self.port.interrupts.kernel = self.kernel
        self._jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._streams = {
            "stdin": NoInput(),
            "stdout": Stream(self.output, "<stdout>", 1),
            "stderr": Stream(self.output, "<stderr>", 2),
        }
        self._names: tuple[str, ...] = ()

    def run(self, first: bytes) -> NoReturn:
        threading.Thread(target=self._read, args=(first,), name="rlm-wire", daemon=True).start()
        threading.Thread(target=self.output.drain_always, name="rlm-output", daemon=True).start()
        threading.Thread(target=self.output.show_always, name="rlm-live", daemon=True).start()
        self.port.post("ready", protocol=PROTOCOL, python="{}.{}.{}".format(*sys.version_info[:3]))
        while True:
            work, message = self._jobs.get()
            work(message)

    # The main thread ------------------------------------------------------------------------------------------------

    def _bind(self, message: dict[str, Any]) -> None:
        params = message["params"]
        name = params["name"]
        if "tool" in params:
            self.kernel.bind_tool(name, params["tool"]["doc"], params["tool"]["signature"])
        else:
            value, blobs = message["value"]
            self.port.know(blobs)
            self.kernel.bind(name, value)
        self.port.answer(message["id"], None)

    def _execute(self, message: dict[str, Any]) -> None:
        number, code = message["id"], message["value"][0]
        for name, stream in self._streams.items():
            setattr(sys, name, stream)
        sys.modules["__main__"] = self.main
        self.port.interrupts.install()
        self.port.interrupts.cell = number
        result = self.kernel.run(code)
        self.port.interrupts.cell = None
        if self.descriptors.wire_out < 0:  # a cell forked, and this is the child, which came to the end of the cell too
            os._exit(0)
        names = tuple(name for name in self.kernel.names() if len(name) <= 100)[-NAMES:]
        if names != self._names:
            result["names"] = list(names)
            self._names = names
        try:
            self.port.answer(number, result)
        except CodecError as exc:
            self._answer_without(number, result, exc)

    def _answer_without(self, number: int, result: dict[str, Any], exc: CodecError) -> None:
        """What cannot be carried is left out: a draft is no more than a draft, an answer is worth an error."""
        if exc.path.startswith("draft"):
            del result["draft"]
            try:
                self.port.answer(number, result)
                return
            except CodecError as other:
                exc = other
        self.port.answer(number, self.kernel.reject(result, exc))

    def _settle_output(self) -> None:
        ctypes = sys.modules.get("ctypes")
        if ctypes is not None:  # C code called through it may have printed into C's own buffer
            ctypes.CDLL(None).fflush(None)
        if self.port.interrupts.came:  # `subprocess` kills its child then, and does not wait for the child's last write
            time.sleep(LAST_WRITE)
            until = time.monotonic() + DYING
            while time.monotonic() < until and any(map(_is_dying, _children())):
                time.sleep(LAST_WRITE)
        self.output.drain(last=True)

    # The thread that reads the wire ---------------------------------------------------------------------------------

    def _read(self, data: bytes) -> None:
        channel = self.port.channel
        try:
            while True:
                for message, _ in channel.feed(data):
                    self._take(message)
                due = channel.acknowledgement()
                if due:
                    self.port.write(due)
                self.port.wake()
                data = os.read(self.descriptors.wire_in, 262_144)
                if not data:
                    break
        except BaseException:
            os.write(self.descriptors.wire_out, _last_words())
        finally:
            end()

    def _take(self, message: dict[str, Any]) -> None:
        method = message.get("method")
        if method is None:
            self.port.settle(message)
        elif method == "interrupt":
            self._interrupt(message["params"])
        elif method == "ping":
            self.port.answer(message["id"], None)
        elif method == "shutdown":
            end()
        else:
            try:
                if "value" in message["params"]:
                    value, _, blobs = self.port.channel.unpack(message["params"]["value"])
                    message["value"] = value, blobs
            except CodecError as exc:
                self.port.fail(message["id"], str(exc))
                return
            self._jobs.put(({"bind": self._bind, "execute": self._execute}[method], message))

    def _interrupt(self, params: dict[str, Any]) -> None:
        self.port.interrupts.stop(params["cell"])
        if params["children"] and os.getpgrp() == os.getpid() != 1:
            os.killpg(0, signal.SIGINT)


def _children() -> Iterator[str]:
    """The processes that this one started, where the system tells."""
    for thread in os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else []:
        try:
            with open("/proc/self/task/" + thread + "/children") as file:
                yield from file.read().split()
        except OSError:  # the thread has ended, or the kernel does not tell
            continue


def _is_dying(pid: str) -> bool:
    """Whether it was killed and has not ended: a busy machine lets it write on for a while."""
    try:
        with open("/proc/" + pid + "/status") as file:
            status = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    except OSError:
        return False
    pending = int(status.get("SigPnd", "0"), 16) | int(status.get("ShdPnd", "0"), 16)
    return bool(pending >> (signal.SIGKILL - 1) & 1) and not status.get("State", "Z").startswith("Z")


def _last_words() -> bytes:
    import traceback

    return traceback.format_exc().encode("utf-8", "backslashreplace")


def end() -> NoReturn:
    """The end of this process and of all it started in its group."""
    try:
        if os.getpgrp() == os.getpid() != 1:
            os.killpg(0, signal.SIGKILL)
    finally:
        os._exit(1)


def main(hello: dict[str, Any], first: bytes) -> NoReturn:
    Worker(hello).run(first)
