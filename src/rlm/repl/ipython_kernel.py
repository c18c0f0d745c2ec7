"""Cells run by IPython: its syntax, magics, histories and displays, under the promises of the plain kernel.

`InteractiveShell` turns the cell into Python, shows the value of its last expression and offers `get_ipython()`; the
plain kernel runs that Python, so that its errors, awaits and interrupts are as everywhere. Nothing of the user's
configuration is read, and nothing is written but by a cell that asks for it.
"""

from __future__ import annotations

import ast
import asyncio
import codecs
import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections import deque
from typing import Any, Iterator

from IPython.core.compilerop import CachingCompiler
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import UsageError
from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell
from IPython.external.pickleshare import PickleShareDB
from IPython.utils.text import LSString, SList
from traitlets.config import Config

from . import tracebacks
from .kernel import ECHO, Kernel, echo
from .syntax import parse

PIECE = 65_536  # bytes of a command's output that are taken at once
LARGE = 20_000  # characters from which a container is shown by its repr: whole, and quickly
CONTAINERS = (list, tuple, dict, set, frozenset, deque)
OPAQUE = re.compile(r"<[^<>]+( object| at 0x[0-9a-fA-F]+)>")  # the repr of an object that has none of its own
TELLING = ("text/markdown", "text/latex", "text/html")  # what is shown instead, the first there is
HISTORIES = ("_ih", "_oh", "_dh")  # IPython reads them out of the namespace
NO_DEBUGGER = "the debugger does not work in this REPL: nobody is there to type; print what you want to see"
WORD = re.compile(r"[^\W\d]\w*")


class Display(DisplayHook):  # type: ignore[misc, unused-ignore]
    """Shows a value, and keeps it as `_` and in `Out`."""

    shell: Any

    def __call__(self, result: Any = None) -> None:
        if result is None:
            return
        text = self.shell.shown(result)
        self.check_for_underscore()
        self.update_user_ns(result)
        self.fill_exec_result(result)
        if text is not None:
            self.shell.write(text + "\n")


class Publisher(DisplayPublisher):  # type: ignore[misc, unused-ignore]
    """`display(…)`, printed."""

    def publish(self, data: Any, *_args: Any, **_options: Any) -> None:
        text = _telling(data)
        if text is not None:
            print(text)

    def clear_output(self, wait: bool = False) -> None:
        """What was printed stays printed."""


class Compiler(CachingCompiler):  # type: ignore[misc, unused-ignore]
    """Names what magics compile as parts of their cell, so that tracebacks show its lines."""

    cell = made = 0
    _source = ""

    def get_code_name(self, raw_code: str, transformed_code: str, number: int) -> str:
        self.made += 1
        return f"{tracebacks.CELL}{self.cell}, inside {self.made}>"

    def ast_parse(self, source: str, *args: Any, **options: Any) -> Any:
        self._source = source
        return super().ast_parse(source, *args, **options)

    def __call__(self, source: Any, filename: str, *args: Any, **options: Any) -> Any:
        if filename.startswith("<timed "):  # by `%%time`
            filename = self.get_code_name("", "", 0)
            tracebacks.remember_source(filename, self._source)
        return super().__call__(source, filename, *args, **options)


class Shell(InteractiveShell):  # type: ignore[misc, unused-ignore]
    """IPython's shell without a terminal, a person or a home directory."""

    displayhook_class = Display
    display_pub_class = Publisher
    compiler_class = Compiler
    problem: BaseException | None = None  # the last that was shown
    failure: BaseException | None = None  # of a cell in a cell
    write: Any = None
    after_reset: Any = None
    _db: Any = None

    def init_ipython_dir(self, ipython_dir: Any) -> None:
        self.ipython_dir = os.path.join(os.getcwd(), ".ipython")

    def _ipython_dir_changed(self, change: Any) -> None:
        """It is made by what first writes into it."""

    def init_profile_dir(self, profile_dir: Any) -> None:
        """There is none: a profile is a user's settings."""

    @property
    def db(self) -> Any:
        """What `%store`, `%bookmark` and `%cd` remember, for this session."""
        if self._db is None:
            self._db = PickleShareDB(tempfile.mkdtemp(prefix="ipython-"))
        return self._db

    @db.setter
    def db(self, value: Any) -> None:
        self._db = value

    def init_user_ns(self) -> None:
        super().init_user_ns()
        for name in ("exit", "quit", "open"):  # the kernel's own, and Python's
            self.user_ns.pop(name, None)
            self.user_ns_hidden.pop(name, None)

    def reset(self, *args: Any, **options: Any) -> None:
        super().reset(*args, **options)
        self.after_reset()

    # What is shown --------------------------------------------------------------------------------------------------

    def shown(self, value: Any) -> str | None:
        """The value as the last expression of a cell shows it; None where it has shown itself."""
        kind = type(value)
        if issubclass(kind, (str, bytes)) and len(value) > ECHO:
            return echo(value)
        if issubclass(kind, CONTAINERS):
            text = repr(value)
            if len(text) > LARGE:
                return text
        self.problem = None
        formatter: Any = self.display_formatter
        forms, _ = formatter.format(value, include=("text/plain",))
        if OPAQUE.fullmatch(forms.get("text/plain", "")):
            forms.update(formatter.format(value, include=TELLING)[0])
        if self.problem is not None:
            raise self.problem
        return _telling(forms)

    def showtraceback(self, exc_tuple: Any = None, *_args: Any, **_options: Any) -> None:
        """An error inside what IPython runs by itself, as the kernel shows errors."""
        self.problem = (exc_tuple or sys.exc_info())[1]
        if self.problem is not None:
            print(tracebacks.describe(self.problem)["traceback"], file=sys.stderr)

    def showsyntaxerror(self, *_args: Any, **_options: Any) -> None:
        self.showtraceback()

    def showindentationerror(self) -> None:
        self.showtraceback()

    @property
    def debugger_cls(self) -> Any:
        raise UsageError(NO_DEBUGGER)

    def debugger(self, force: bool = False) -> None:
        raise UsageError(NO_DEBUGGER)

    # What is run ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _tee(self, channel: str) -> Iterator[None]:
        """Output is collected elsewhere."""
        yield

    def run_cell(self, *args: Any, **options: Any) -> Any:
        """A cell in a cell, as `%%capture` makes it; what stops one stops the other."""
        result = super().run_cell(*args, **options)
        if isinstance(result.error_in_exec, KeyboardInterrupt):
            raise result.error_in_exec
        self.failure = result.error_before_exec or result.error_in_exec
        return result

    def safe_execfile(self, *args: Any, **options: Any) -> None:
        """`%run`: its errors are the cell's."""
        super().safe_execfile(*args, **{**options, "raise_exceptions": True})

    def system(self, cmd: str) -> None:
        """`!cmd`, of which the output is the cell's."""
        self._run_command(self.var_expand(cmd, depth=1), sys.stdout.write)

    system_piped = system_raw = system

    def getoutput(self, cmd: str, split: bool = True, depth: int = 0) -> Any:
        """`x = !cmd`"""
        pieces: list[str] = []
        self._run_command(self.var_expand(cmd, depth=depth + 1), pieces.append)
        text = "".join(pieces)
        return SList(text.splitlines()) if split else LSString(text)

    def _run_command(self, command: str, write: Any) -> None:
        """Without the terminal that IPython would make for it: it belongs to the session's processes, and ends with
        them."""
        with subprocess.Popen(
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            output: Any = process.stdout
            decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
            try:
                for data in iter(lambda: output.read1(PIECE), b""):
                    write(decoder.decode(data))
                write(decoder.decode(b"", final=True))
            except BaseException:
                process.kill()
                raise
        self.push({"_exit_code": process.returncode}, interactive=False)
        if self.system_raise_on_error and process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)


class IPythonKernel(Kernel):
    """See the module. The number of a cell is that of its `In`, `Out` and `_out`."""

    def __init__(self, port: Any, *, namespace: dict[str, Any], settings: dict[str, Any] | None = None) -> None:
        super().__init__(port, namespace=namespace, settings=settings)
        config = Config()
        config.HistoryManager.enabled = False
        config.HistoryManager.hist_file = ":memory:"
        config.PlainTextFormatter.max_seq_length = 0  # nothing is left out in silence
        self.shell: Any = Shell.instance(config=config, user_ns=namespace, colors="nocolor", warn_venv=False)
        self._display, self._hidden = self.shell.displayhook, self.shell.user_ns_hidden
        self.shell.loop_runner = self._run_nested
        self.shell.set_hook("show_in_pager", _page, 0)
        self.shell.set_hook("editor", _edit, 0)
        namespace.pop("__builtin__", None)
        self._protected["__builtins__"].update(display=vars(__import__("builtins"))["display"], __IPYTHON__=True)
        self.bind("get_ipython", self.shell.get_ipython)
        self._names_again()
        self.shell.write, self.shell.after_reset = self.write, self._names_again
        self._quiet = self._magic = False

    def bind(self, name: str, value: Any) -> None:
        super().bind(name, value)
        shell = getattr(self, "shell", None)
        if shell is not None and not name.startswith("context"):
            shell.user_ns_hidden[name] = value  # from `%who`

    def _defined(self, name: str) -> bool:
        hidden = self._hidden
        return super()._defined(name) and not (name in hidden and hidden[name] is self.namespace[name])

    def _execute(self, code: str, name: str) -> None:
        shell = self.shell
        shell.execution_count, shell.compile.cell = self.number + 1, self.number
        info = ExecutionInfo(code, True, False, True, None)
        result = ExecutionResult(info)
        result.execution_count = self.number
        with shell.builtin_trap, shell.display_trap:
            shell.events.trigger("pre_execute")
            shell.events.trigger("pre_run_cell", info)
            try:
                shell.failure = None
                super()._execute(code, name)
                if self._magic and shell.failure is not None:
                    raise shell.failure
            except BaseException as exc:
                result.error_in_exec = exc
                raise
            finally:
                shell.last_execution_result, shell.last_execution_succeeded = result, result.success
                shell.events.trigger("post_execute")
                shell.events.trigger("post_run_cell", result)

    def _parse(self, code: str, name: str) -> ast.Module:
        shell, source, tree = self.shell, code, None
        self._magic = False
        if not self._is_magic_word(code):
            with contextlib.suppress(SyntaxError):
                tree = super()._parse(code, name)
        if tree is None:  # no Python, so perhaps IPython's
            source = self._python(code)
            self._magic = source is not code
            same = source.count("\n") == code.rstrip("\n").count("\n") + 1 or code.lstrip().startswith("%%")
            tracebacks.remember_source(name, code if same else source)
            tree = parse(source, name, self._flags)
        self._remember_input(source, code)
        if shell._logger is not None:  # `%logstart`
            shell.logger.log(source, code)
        self._quiet = bool(tree.body) and _ends_quietly(source, tree.body[-1])
        if shell.ast_transformers:
            tree = shell.transform_ast(tree)
        return tree

    def _is_magic_word(self, code: str) -> bool:
        """Whether it is a magic without its `%`, as in `pwd`, where as Python it would name nothing."""
        line = code.strip()
        word = WORD.match(line)
        return (
            word is not None
            and "\n" not in line
            and word[0] not in self.namespace
            and word[0] not in self._protected["__builtins__"]
            and self.shell.find_line_magic(word[0]) is not None
        )

    def _python(self, code: str) -> str:
        """The cell as Python. Lines keep their numbers, also after empty ones."""
        text = code.replace("\r\n", "\n").replace("\r", "\n")
        start = len(text) - len(text.lstrip("\n"))
        try:
            python: str = self.shell.transform_cell(text[start:])
        except (SyntaxError, UnicodeError):  # said better by Python itself
            return code
        return "\n" * start + python

    def _remember_input(self, source: str, code: str) -> None:
        history = self.shell.history_manager
        history.store_inputs(self.number, source, code)
        while len(history.input_hist_parsed) <= self.number:  # what IPython does not store, as `exit`
            history.input_hist_parsed.append("")
            history.input_hist_raw.append("")

    def _show(self, value: Any) -> None:
        if not self._quiet:
            self._keep_histories()
            self._display(value)

    def _names_again(self) -> None:
        """At the start, and after everything was cleared."""
        self.namespace.update({"_": "", "__": "", "___": "", **self._protected})
        names = [n for n in (*self._protected, "_", "__", "___") if not n.startswith("context")]
        self.shell.user_ns_hidden.update({name: self.namespace[name] for name in names})

    def _restore_names(self) -> None:
        self._keep_histories()
        self.namespace["__builtins__"] = self._protected["__builtins__"]  # `%run` puts others there
        super()._restore_names()

    def _keep_histories(self) -> None:
        history = self.shell.history_manager
        kept = (history.input_hist_parsed, history.output_hist, history.dir_hist)
        self.namespace.update(zip(HISTORIES, kept))
        for name, value in zip(("In", "Out"), kept):
            self.namespace.setdefault(name, value)

    def _run_nested(self, coroutine: Any) -> Any:
        self.loops.ready()
        if asyncio._get_running_loop() is None:
            return self.loops.run(coroutine)
        return asyncio.run(coroutine)


def _ends_quietly(source: str, last: Any) -> bool:
    """Whether a semicolon ends the cell."""
    lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    rest: bytes = lines[last.end_lineno - 1].encode("utf-8", "surrogatepass")[last.end_col_offset :]
    return rest.lstrip().startswith(b";")


def _telling(forms: Any) -> str | None:
    """Of the forms that a value can be displayed in, the one that says most to whoever reads text."""
    plain: str | None = forms.get("text/plain")
    if plain is None or OPAQUE.fullmatch(plain):
        return next((forms[form] for form in TELLING if isinstance(forms.get(form), str)), plain)
    return plain


def _page(_shell: Any, data: Any, *_args: Any, **_options: Any) -> None:
    """What IPython would show in a pager, printed."""
    print(data.get("text/plain", "") if isinstance(data, dict) else data)


def _edit(_shell: Any, *_args: Any, **_options: Any) -> None:
    raise UsageError("there is no editor in this REPL; write the code in a cell")


KERNEL = IPythonKernel
