"""A persistent namespace that runs cells: what a model's code may rely on, the same in this process and in every
sandbox."""

from __future__ import annotations
import __future__

import ast
import builtins
import collections
import contextlib
import functools
import operator
import sys
import threading
import time
import types
from typing import Any, Callable, NoReturn

from . import helpers, tracebacks
from .calls import Calls, LimitError, LMError, LMText, Shown, ToolError, make_error, make_tool_error
from .capture import Capture, clip
from .loops import Loops
from .syntax import parse

__all__ = ["Kernel", "LMError", "LMText", "LimitError", "ToolError", "make_error", "make_tool_error"]

OUTPUT = 200_000  # characters of one cell that leave the session; `_out` keeps more
KEPT_OUTPUTS = 64_000_000  # characters of all `_out` together
ECHO = 4_000_000  # characters of one echoed text
CO_COROUTINE = 0x80
FUTURE = functools.reduce(operator.or_, (getattr(__future__, n).compiler_flag for n in __future__.all_feature_names))


def _refusal(name: str, instead: str) -> Callable[..., NoReturn]:
    def refused(*_args: object, **_kwargs: object) -> NoReturn:
        raise RuntimeError(f"{name}() does not work in this REPL: {instead}")

    refused.__name__ = name
    return refused


def _help(*args: object) -> None:
    """The documentation of an object, printed."""
    if not args:
        raise RuntimeError("help() without an object is interactive and does not work in this REPL: use help(object)")
    import pydoc

    for thing in args:
        print(pydoc.render_doc(thing, renderer=pydoc.plaintext))  # type: ignore[attr-defined]


REPLACED = {
    "input": _refusal("input", "nobody is there to type; the input is in `context`"),
    "breakpoint": _refusal("breakpoint", "there is no debugger; print what you want to see"),
    "exit": _refusal("exit", "a cell ends by itself; submit the answer instead"),
    "quit": _refusal("quit", "a cell ends by itself; submit the answer instead"),
    "help": _help,
}


class Kernel:
    """One session's namespace. `port` carries requests to the host; `run` is called on one thread, for one cell at a
    time.

    `settings` may hold `tag`: a word that keeps this session's cells apart from those of others in the same process.
    """

    def __init__(
        self, port: Any, *, namespace: dict[str, Any] | None = None, settings: dict[str, Any] | None = None
    ) -> None:
        self.settings = settings or {}
        self.namespace: dict[str, Any] = {} if namespace is None else namespace
        self.capture = Capture(getattr(port, "output", None))
        self.running = False
        self.after_code: Callable[[], None] | None = None
        self.before_collect: Callable[[], None] | None = None
        self.number = 0
        self._port = port
        self.loops = Loops(getattr(port, "interrupts", contextlib.nullcontext()))
        self._flags = 0
        self._contexts = 0
        self._notices: list[str] = []
        self._notice_lock = threading.Lock()
        self._outputs: dict[int, str] = {}
        self._output_sizes: collections.deque[tuple[int, int]] = collections.deque()
        self._kept_output = 0
        self._protected: dict[str, Any] = {}
        self._final: tuple[Any] | None = None
        names = dict(vars(builtins))
        names.update(REPLACED)
        self.namespace["answer"] = _no_answer()
        self.bind("__name__", "__main__")
        self.bind("__builtins__", names)
        for name, value in Calls(port, self.notify, self.capture.flush).functions().items():
            self.bind(name, value)
        for name in helpers.__all__:
            self.bind(name, getattr(helpers, name))
        for value in (LMError, LimitError, self.FINAL, self.FINAL_VAR, self.SHOW_VARS):
            self.bind(value.__name__, value)
        self.bind("_out", self._outputs)

    # What the host does ---------------------------------------------------------------------------------------------

    def bind(self, name: str, value: Any) -> None:
        """Give the namespace a name that no cell can lose. The n-th `context` is `context_n` too, counted from 0.

        Binding `answer` empties it: what an earlier question was answered with is no draft for the next. `__seed__` is
        no name but what `random` is seeded with.
        """
        if name == "__seed__":
            from .chance import seed  # few sessions need it, and `random` takes a while to import

            seed(self._protected["__builtins__"], value, "tag" in self.settings)
            return
        if name == "answer":
            self.namespace[name] = _no_answer()
            return
        self._protected[name] = self.namespace[name] = value
        if name == "context":
            self.bind(f"context_{self._contexts}", value)
            self._contexts += 1

    def bind_tool(self, name: str, doc: str, signature: str) -> None:
        """Bind a function of the host's, called through the port; `signature` is shown, e.g. `(x, y=1)`."""
        port = self._port

        def tool(*args: Any, **kwargs: Any) -> Any:
            return port.request("tool", {"name": name, "args": list(args), "kwargs": kwargs})

        tool.__name__ = tool.__qualname__ = name
        tool.__doc__ = "{}{}\n\n{}".format(name, signature or "(...)", doc or "")
        self.bind(name, tool)

    def write(self, text: str) -> None:
        self.capture.write(text)

    def notify(self, text: str) -> None:
        """A fact the model is told after the cell; from any thread."""
        with self._notice_lock:
            self._notices.append(text)

    def names(self) -> list[str]:
        """What cells have defined: the names a lost session loses."""
        return [n for n in self.namespace if n != "answer" and self._defined(n)]

    def _defined(self, name: str) -> bool:
        """Whether a cell gave the namespace this name."""
        return name not in self._protected

    # What the model calls -------------------------------------------------------------------------------------------

    def FINAL(self, value: Any) -> None:  # noqa: N802 - the name is part of the REPL's contract
        """Submit the answer. Counts if this cell ends without an error; the last one wins."""
        self._final = (value,)

    def FINAL_VAR(self, name: Any) -> None:  # noqa: N802
        """Submit the value of the variable of that name."""
        if isinstance(name, str):
            key = name.strip()
            if key not in self.namespace or key.startswith("__"):
                raise NameError(f"FINAL_VAR: there is no variable {name!r}; SHOW_VARS() lists them")
            name = self.namespace[key]
        self._final = (name,)

    def SHOW_VARS(self) -> str:  # noqa: N802
        """The variables there are: name, type and size."""
        rows = []
        for name in list(self.namespace):
            value = self.namespace[name]
            if name.startswith("__") or issubclass(type(value), types.ModuleType):
                continue
            if not self._defined(name) and not name.startswith("context"):
                continue
            rows.append(f"{name}: {type(value).__name__}{_size(value)}")
        return Shown("\n".join(rows) or "no variables yet")

    # Running a cell -------------------------------------------------------------------------------------------------

    def run(self, code: str) -> dict[str, Any]:
        """Run one cell on the calling thread; returns a dict of plain values (see `Cell` for their meaning)."""
        self.number += 1
        started = time.perf_counter()
        trace, profile = sys.gettrace(), sys.getprofile()
        failure: BaseException | None = None
        try:
            try:
                self.running = True
                self._execute(code, self._cell_name(self.number))
            finally:
                self.running = False
                if sys.gettrace() is not trace:
                    sys.settrace(trace)
                if sys.getprofile() is not profile:
                    sys.setprofile(profile)
                if self.after_code is not None:
                    self.after_code()
        except SystemExit as exc:
            if exc.code not in (None, 0):
                failure = exc
            self.notify("sys.exit() only ended this cell")
        except BaseException as exc:  # KeyboardInterrupt and CancelledError are how a cell is stopped
            failure = exc
        return self._collect(failure, started)

    def _cell_name(self, number: int) -> str:
        return tracebacks.cell_name(number, self.settings.get("tag", ""))

    def _execute(self, code: str, name: str) -> None:
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | self._flags
        tree = self._parse(code, name)
        last: Any = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        parts = []
        if tree.body:
            parts.append(compile(tree, name, "exec", flags, dont_inherit=True))
            self._flags |= parts[0].co_flags & FUTURE
        if last is not None:
            parts.append(compile(ast.Expression(last.value), name, "eval", flags | self._flags, dont_inherit=True))
        if "asyncio" in code or any(part.co_flags & CO_COROUTINE for part in parts):
            self.loops.ready()
        if any(part.co_flags & CO_COROUTINE for part in parts):
            value = self.loops.run(self._run_parts(parts))
        else:
            value = None
            for part in parts:
                value = eval(part, self.namespace)
        if last is not None and value is not None:
            self._show(value)

    def _parse(self, code: str, name: str) -> ast.Module:
        tracebacks.remember_source(name, code)
        return parse(code, name, self._flags)

    def _show(self, value: Any) -> None:
        self.capture.write(echo(value) + "\n")

    async def _run_parts(self, parts: list[types.CodeType]) -> Any:
        value = None
        for part in parts:
            value = eval(part, self.namespace)
            if part.co_flags & CO_COROUTINE:
                value = await value
        return value

    def spoil(self) -> None:
        """Make whatever still runs here fail: without names, not even `except BaseException` can be evaluated."""
        self.namespace.clear()
        self._protected["__builtins__"].clear()

    def close(self) -> None:
        """End the session's event loops, on the thread that runs the cells, and forget the cells' sources."""
        tracebacks.forget_sources([self._cell_name(n + 1) for n in range(self.number)])
        self.loops.close()

    # What a cell leaves ---------------------------------------------------------------------------------------------

    def _collect(self, failure: BaseException | None, started: float) -> dict[str, Any]:
        if self.before_collect is not None:
            self.before_collect()
        text, size = self.capture.take()
        self._keep_output(text)
        self._restore_names()
        result: dict[str, Any] = {
            "number": self.number,
            "output": clip(text, OUTPUT, f"omitted; the whole text is _out[{self.number}]"),
            "output_size": size,
            "error": None if failure is None else tracebacks.describe(failure),
        }
        self._take_answer(result, failure)
        with self._notice_lock:
            result["notices"], self._notices = self._notices, []
        result["seconds"] = time.perf_counter() - started
        return result

    def _keep_output(self, text: str) -> None:
        self._outputs[self.number] = text
        self._output_sizes.append((self.number, len(text)))
        self._kept_output += len(text)
        while self._kept_output > KEPT_OUTPUTS and len(self._output_sizes) > 1:
            number, size = self._output_sizes.popleft()
            self._kept_output -= size
            self._outputs[number] = "[not kept: the outputs of this session grew too large]"

    def _restore_names(self) -> None:
        changed = [n for n, value in self._protected.items() if self.namespace.get(n, self) is not value]
        for name in changed:
            self.namespace[name] = self._protected[name]
        if changed:
            self.notify(
                "{} cannot be rebound here and {} been restored; use another name".format(
                    ", ".join(f"`{n}`" for n in changed), "has" if len(changed) == 1 else "have"
                )
            )

    def _take_answer(self, result: dict[str, Any], failure: BaseException | None) -> None:
        final, self._final = self._final, None
        draft = self.namespace.get("answer")
        if type(draft) is not dict:
            draft = self._restored_answer(draft)
        ready = _true(draft.get("ready", False))
        content = draft.get("content", "")
        if "ready" in draft:
            draft["ready"] = False
        if ready and final is None:
            final = (content,)
        if type(content) is not str or content:
            result["draft"] = content
        if final is not None:
            if failure is None:
                result["answer"] = final[0]
            else:
                self.notify("the answer set in this cell does not count, because the cell failed")
            result["draft"] = final[0]

    def _restored_answer(self, value: Any) -> dict[str, Any]:
        """What `answer` was rebound to becomes its content: the name is how answers are submitted."""
        restored = dict(value) if issubclass(type(value), dict) else _no_answer()
        if not issubclass(type(value), dict) and value is not None:
            restored["content"] = value
            self.notify(
                'the value given to `answer` was put into answer["content"]; set answer["ready"] = True to submit it'
            )
        self.namespace["answer"] = restored
        return restored

    def reject(self, result: dict[str, Any], exc: BaseException) -> dict[str, Any]:
        """The result of a cell whose answer cannot leave the session: the cell failed, and the model is told why."""
        result.pop("answer", None)
        result.pop("draft", None)
        result["error"] = {
            "type": "TypeError",
            "message": f"the answer cannot be returned: {exc}",
            "traceback": f"TypeError: the answer cannot be returned: {exc}",
        }
        return result


def _no_answer() -> dict[str, Any]:
    return {"content": "", "ready": False}


def _true(value: Any) -> bool:
    """Whether `ready` was set; an array or another odd value that has no truth is not a submission."""
    try:
        return bool(value)
    except BaseException:  # the model's class may raise anything
        return False


def echo(value: Any) -> str:
    """The value as a cell's last expression shows it."""
    if isinstance(value, (str, bytes)) and len(value) > ECHO:
        return f"{value[:ECHO]!r}… [{len(value):,} in all]"
    return repr(value)


def _size(value: Any) -> str:
    kind = type(value)  # not isinstance, which asks the value itself what it is
    if issubclass(kind, (str, bytes, list, tuple, dict, set, frozenset)):
        unit = "characters" if issubclass(kind, str) else "bytes" if issubclass(kind, bytes) else "items"
        return f", {len(value):,} {unit}"
    return ""


KERNEL = Kernel
