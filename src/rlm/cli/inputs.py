"""Reading what `rlm ask` was given: files, directories, glob patterns and standard input become one context.

One file or standard input alone is a `str`; a directory, or several things, are a `dict` of path → text.
"""

from __future__ import annotations

import codecs
import fnmatch
import glob
import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from rlm.cli.terminal import one_line, say

SKIPPED_DIRECTORIES = frozenset(
    {".git", ".hg", ".svn", "__pycache__", "node_modules", ".venv", ".tox", ".nox", ".cache"}
    | {".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".ipynb_checkpoints", ".eggs", ".DS_Store"}
)
STDIN = "<stdin>"
TOOLS = "tool directories"
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
Pattern = tuple[str, ...]
"""Components of a glob pattern for a path below a directory."""
EVERYTHING: Pattern = ("**",)
TEXT_CONTROLS = frozenset(b"\t\n\r\f\v\b\x1b\x1a")


class InputError(Exception):
    """What was named cannot be read; the message says which and why."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The context, and what was left out of it, by reason."""

    context: str | dict[str, str]
    skipped: dict[str, list[str]] = field(default_factory=dict)

    @property
    def characters(self) -> int:
        return len(self.context) if isinstance(self.context, str) else sum(map(len, self.context.values()))

    @property
    def summary(self) -> str:
        size = f"{self.characters:,} characters"
        if isinstance(self.context, str):
            return size
        return f"{size} in {len(self.context):,} file{'' if len(self.context) == 1 else 's'}"

    @property
    def notes(self) -> list[str]:
        """One line per reason for which something was skipped."""
        lines = []
        for reason, names in self.skipped.items():
            count = len(names)
            if reason == TOOLS:
                names = [f"{name} ({n:,})" for name, n in Counter(map(os.path.basename, names)).most_common()]
            shown = ", ".join(names[:5]) + (f", … {len(names) - 5:,} more" if len(names) > 5 else "")
            lines.append(f"skipped {count:,} {reason}: {one_line(shown)}")
        return lines


def read_inputs(
    arguments: Iterable[str],
    exclude: Iterable[str] = (),
    stdin: BinaryIO | None = None,
    step: Callable[[int], object] = lambda size: None,
) -> Inputs:
    """Read what the arguments name; `-` is standard input. `exclude`: patterns of names to leave out of directories.
    `step` is told the size of each file that was read, in bytes.

    Raises:
        InputError: something named does not exist or cannot be read, or nothing is left to read.
    """
    skipped: dict[str, list[str]] = {}
    texts: dict[str, str] = {}
    bases: list[str] = []
    left_out = tuple(exclude)
    sources = list(dict.fromkeys(source for argument in arguments for source in expand(argument)))
    for path, pattern in sources:
        if path == "-":
            add(texts, skipped, STDIN, read_stdin(stdin))
        elif os.path.isdir(path):
            bases.append(os.path.abspath(path))
            read_below(path, pattern, texts, skipped, left_out, step)
        else:
            bases.append(os.path.dirname(os.path.abspath(path)))
            try:
                data = Path(path).read_bytes()
                step(len(data))
                add(texts, skipped, path, data)
            except OSError as error:
                raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if not texts:
        why = "; ".join(Inputs(context="", skipped=skipped).notes)
        raise InputError("nothing to read in " + " ".join(path for path, _ in sources) + (f" ({why})" if why else ""))
    if len(sources) == 1 and not os.path.isdir(sources[0][0]):
        return Inputs(context=next(iter(texts.values())), skipped=skipped)
    return Inputs(context=relative(texts, bases), skipped=skipped)


def read_stdin(stream: BinaryIO | None) -> bytes:
    if stream is None and sys.stdin is None:
        raise InputError("standard input is closed")
    try:
        if stream is None and sys.stdin.isatty():
            say("rlm: reading what you type; Ctrl-D ends it")
        return (stream or sys.stdin.buffer).read()
    except OSError as error:
        raise InputError(f"cannot read standard input: {error.strerror or error}") from error


def ignored_input() -> bool:
    """Whether a file or a pipe stands on standard input."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)


def expand(argument: str) -> Iterator[tuple[str, Pattern]]:
    """The paths an argument names, each with a pattern for what is wanted below it."""
    if argument == "-" or os.path.lexists(argument):
        yield argument, EVERYTHING
        return
    if not glob.has_magic(argument):
        raise InputError(f"{argument} does not exist")
    parts = argument.split("/")
    # `**` means a walk like any other, with what a walk skips; glob's own follows symbolic links in circles.
    deep = parts.index("**") if "**" in parts else len(parts)
    top = "/".join(parts[:deep]) or ("/" if argument.startswith("/") else ".")
    tops = sorted(glob.glob(top))
    if not tops:
        raise InputError(f"nothing matches {argument}")
    for path in tops:
        yield path, tuple(parts[deep:]) or EVERYTHING


def read_below(
    top: str,
    pattern: Pattern,
    texts: dict[str, str],
    skipped: dict[str, list[str]],
    exclude: tuple[str, ...],
    step: Callable[[int], object],
) -> None:
    found = False
    for path in walk(top, skipped, exclude):
        if matches(tuple(os.path.relpath(path, top).split("/")), pattern):
            found = True
            if (data := read(path, skipped)) is not None:
                step(len(data))
                add(texts, skipped, path, data)
    if pattern != EVERYTHING and not found:
        raise InputError(f"nothing below {top} matches {'/'.join(pattern)}")


def matches(parts: tuple[str, ...], pattern: Pattern) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        rest = pattern[1:] or ("*",)
        return matches(parts, rest) or (bool(parts) and matches(parts[1:], pattern))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and matches(parts[1:], pattern[1:])


def walk(top: str, skipped: dict[str, list[str]], exclude: tuple[str, ...]) -> Iterator[str]:
    """Files below a directory, in order. Symbolic links are not followed: what they point at was not asked for."""

    def unreadable(error: OSError) -> None:
        skipped.setdefault("unreadable", []).append(f"{error.filename} ({error.strerror})")

    def unwanted(path: str, name: str, directory: bool) -> str | None:
        if any(fnmatch.fnmatchcase(name, p) or fnmatch.fnmatchcase(os.path.relpath(path, top), p) for p in exclude):
            return "excluded"
        if os.path.islink(path):
            return "symbolic links"
        tools = directory and (name in SKIPPED_DIRECTORIES or os.path.lexists(os.path.join(path, "pyvenv.cfg")))
        return TOOLS if tools else None

    for folder, directories, files in os.walk(top, onerror=unreadable):
        entries = [(name, True) for name in sorted(directories)] + [(name, False) for name in sorted(files)]
        directories.clear()
        for name, directory in entries:
            path = os.path.join(folder, name)
            if reason := unwanted(path, name, directory):
                skipped.setdefault(reason, []).append(path)
            elif directory:
                directories.append(name)
            else:
                yield path


def read(path: str, skipped: dict[str, list[str]]) -> bytes | None:
    """A file found in a directory; pipes, sockets and devices, which could block for ever, are left alone."""
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            return Path(path).read_bytes()
        skipped.setdefault("special files", []).append(path)
    except OSError as error:
        skipped.setdefault("unreadable", []).append(f"{path} ({error.strerror or error})")
    return None


def add(texts: dict[str, str], skipped: dict[str, list[str]], name: str, data: bytes) -> None:
    text = decode(data)
    if text is None:
        skipped.setdefault("binary files" if name != STDIN else "binary input", []).append(name)
    else:
        texts[name] = text


def decode(data: bytes) -> str | None:
    """The text, `None` for a binary file. Bytes that are not UTF-8 survive as surrogates (`surrogateescape`)."""
    for mark, encoding in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                break
    head = data[:65_536]
    if b"\0" in head:
        return None
    controls = sum(byte < 32 and byte not in TEXT_CONTROLS for byte in head)
    if controls * 20 > len(head):
        return None
    return data.decode("utf-8", "surrogateescape")


def relative(texts: dict[str, str], bases: list[str]) -> dict[str, str]:
    """Keys relative to the working directory, or, where something lies outside it, to what all have in common."""
    try:
        here = os.getcwd()
    except OSError as error:
        raise InputError(f"the working directory cannot be used: {error.strerror}") from error
    inside = all(os.path.commonpath([here, base]) == here for base in bases)
    start = here if inside else os.path.commonpath(bases) if bases else here
    return {name if name == STDIN else os.path.relpath(name, start): text for name, text in texts.items()}
