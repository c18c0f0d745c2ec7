"""What a model's reply asks to run: fenced code, found by line, and a final answer written as text.

Among the lines that may end a block, the earliest that leaves code which compiles wins, so that a fence inside a string
ends nothing; where none does, the first. Thinking is never run.
"""

from __future__ import annotations

import ast
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from textwrap import dedent
from typing import Literal, NamedTuple

from rlm.policy.final import final_code, mentions_final
from rlm.repl.syntax import parse

_RUN = frozenset({"repl", "python", "py", "python3", "py3", "ipython"})
_NESTING = frozenset({"markdown", "md"})
_OPEN = re.compile(r"(?P<lead>[ \t]*(?:(?:[-*+]|\d+[.)])[ \t]+)?)(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`]*)$")
_OPEN_LATE = re.compile(r"(?P<lead>.*[^`~])(?P<fence>`{3,})(?P<info>repl|python3?|py)[ \t]*$")
_ONE_LINE = re.compile(r"[ \t]*```(?:repl|python3?|py)[ \t]+(?P<code>[^`].*)```[ \t]*$")
_THOUGHT = re.compile(r"(?<!`)<(?P<close>/?)think(?:ing)?>", re.IGNORECASE)
_TOOL_CALL = re.compile(
    r"<(?:tool_call|function_call|function=|invoke)|<\|python_tag\|>"
    r"|^\s*[\[{][^{}]*\"(?:name|tool|function|code|arguments|tool_name)\"\s*:",
)
_CODE_LINE = re.compile(
    r"^\s*(?:import \w|from [\w.]+ import |def \w+\(|for \w.* in .*:$|print\(|\w+ = \S|answer\[|(?:llm|rlm)_query)",
    re.MULTILINE,
)
_EXPECTED = "Code is run from a fence: a line ```repl, the Python code, a line ```."

# Ends tried for one block; compilations that may fail and characters compiled in one reply. Past these, the first end.
_TRIES, _FAILURES, _COMPILED = 20, 300, 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Code to run as one cell.

    `line` is the line of the reply where it begins, from 1; `complete` is False where its fence was never closed.
    """

    code: str
    line: int
    complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """`problem` is set where there is no block: what was found and what is expected, in a line or two for the model."""

    blocks: tuple[Block, ...] = ()
    problem: str | None = None


class _End(NamedTuple):
    line: int
    kind: Literal["close", "open", "tail", "eof"]
    """A line of fence only; the opening of another block; a fence behind code; the end of the reply."""
    mark: str
    length: int


def read_reply(text: str) -> Parsed:
    """The blocks of a reply in order, an answer written as text as the last of them. Never raises."""
    return _Reader(text.replace("\r\n", "\n").split("\n")).read()


def compiles(code: str) -> ast.Module | None:
    """The code's syntax tree, `None` where it is not Python. Top-level `await` is allowed."""
    # Odd escapes and numbers run into keywords would warn, and warnings are process-wide: they are spelled harmlessly.
    code = re.sub(r"\\[^\n]", r"\\\\", code)
    code = re.sub(r"(?<![\w.])(\d+)(?=(?:and|else|for|if|in|is|not|or)\b)", r"\1 ", code)
    try:
        return parse(code, "<reply>")
    except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError):
        return None


def _acts(tree: ast.Module) -> bool:
    """Whether a fence without a tag holds code: names, numbers, `a: b` and arithmetic alone may be output or prose."""
    idle = (ast.Expr, ast.Pass)
    for statement in tree.body:
        if isinstance(statement, ast.AnnAssign) and statement.value is None:
            continue
        if not isinstance(statement, idle):
            return True
        if any(isinstance(node, ast.Call | ast.Await | ast.Subscript) for node in ast.walk(statement)):
            return True
    return False


class _Reader:
    """One pass over the lines. What was found inside a thought is forgotten where the thought ends."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.blocks: list[tuple[Block, int]] = []
        """With the index of the line after each."""
        self.visible: list[tuple[int, str]] = []
        """Text outside of blocks and thoughts, with the index of its line."""
        self.odd: list[str] = []
        """What was fenced and not run, described."""
        self.thought: tuple[int, int, int] | None = None
        """How much of the three lists there was when the open thought began."""
        self.thought_firm = False
        """Whether it began with its line; a tag named within a sentence and never closed opens nothing."""
        self.thoughts = 0
        self.failures, self.room = _FAILURES, _COMPILED
        self.ends = list(self._ends())
        self.ends_for: dict[tuple[str, int], list[_End]] = {}
        self.closings = [
            at for at, line in enumerate(lines) if "</" in line and any(map(_closes, _THOUGHT.finditer(line)))
        ]
        """Lines where a thought may end."""

    def read(self) -> Parsed:
        at = 0
        while at < len(self.lines):
            at = self._step(at)
        if self.thought is not None and self.thought_firm:
            self._forget(self.thought)
        after = self.blocks[-1][1] if self.blocks else 0
        rest = [(at, line) for at, line in self.visible if at >= after]
        blocks = [block for block, _ in self.blocks]
        final = final_code("\n".join(line for _, line in rest))
        if final is not None:
            blocks.append(Block(code=final[0], line=rest[final[1]][0] + 1))
        return Parsed(blocks=tuple(blocks), problem=None if blocks else self._problem())

    def _ends(self) -> Iterator[_End]:
        for at, line in enumerate(self.lines):
            if "```" not in line and "~~~" not in line:
                continue
            bare = line.strip()
            mark, length = bare[-1], len(bare) - len(bare.rstrip(bare[-1]))
            if length == len(bare):
                yield _End(at, "close", mark, length)
            elif (opening := _OPEN.match(line)) and opening["info"].strip():
                yield _End(at, "open", opening["fence"][0], len(opening["fence"]))
            elif mark == "`" and length >= 3:
                yield _End(at, "tail", mark, length)

    def _step(self, at: int) -> int:
        """Reads the line, or the block that it opens; the index of the next line to read."""
        line = self.lines[at]
        opening = _OPEN.match(line) if "```" in line or "~~~" in line else None
        if opening is None and "<" in line:
            line = self._thoughts_in(at, line)
            opening = _OPEN.match(line)
        if opening is None and "```" in line:
            whole = _ONE_LINE.match(line)
            if whole and self._compile(whole["code"].strip()) is not None:
                self.blocks.append((Block(code=whole["code"].strip(), line=at + 1), at + 1))
                return at + 1
            opening = _OPEN_LATE.match(line)
            if opening:
                self.visible.append((at, opening["lead"]))
        if opening is None:
            self.visible.append((at, line))
            return at + 1
        return self._block(at, opening)

    def _thoughts_in(self, at: int, line: str) -> str:
        """Takes note of the thoughts that begin or end in a line; what stands behind the last tag."""
        done = 0
        for tag in _THOUGHT.finditer(line):
            self.visible.append((at, line[done : tag.start()]))
            if not tag["close"]:
                if self.thought is None:
                    self.thought = (len(self.blocks), len(self.visible), len(self.odd))
                    self.thought_firm = not line[done : tag.start()].strip()
            elif self.thought is not None:
                self._forget(self.thought)
            elif not self.thoughts:
                self._forget((0, 0, 0))  # the opening tag was part of the prompt, as some models have it
            done = tag.end()
        return line[done:]

    def _forget(self, mark: tuple[int, int, int]) -> None:
        del self.blocks[mark[0] :], self.visible[mark[1] :], self.odd[mark[2] :]
        self.thought = None
        self.thoughts += 1

    def _block(self, at: int, opening: re.Match[str]) -> int:
        word = re.match(r"[{.\s]*([\w+#-]*)", opening["info"])
        tag = word[1].lower() if word else ""
        mark, length = opening["fence"][0], len(opening["fence"])
        if tag not in _RUN and (tag or opening["info"].strip()):
            return self._skip(at, tag, mark, length)
        indent = len(opening["lead"]) if not opening["lead"].strip() else 0
        chosen, code, tree = self._choose(at, indent, mark, length)
        after = chosen.line + (chosen.kind in {"close", "tail"})
        if tree is None and (self.thought is not None or not self.thoughts):
            closing = self._closing(at, chosen.line)
            if closing is not None:
                return closing  # the fence was opened in a thought and left open there
        if tree is None and tag and (final := final_code(code.strip())) and not final[1]:
            code, tree = final[0], compiles(final[0])
        if not code.strip():
            if tag:
                self.odd.append("a code fence with nothing in it")
        elif (tag and (tree is not None or chosen.kind != "eof")) or (tree is not None and _acts(tree)):
            self.blocks.append((Block(code=code, line=at + 2, complete=chosen.kind in {"close", "tail"}), after))
        elif tag:
            self.odd.append("a code fence that is not closed and does not compile")
        else:
            if chosen.kind != "eof":
                self.odd.append("a fence without a tag around what is not Python code")
            self.visible.extend(enumerate(self.lines[at + 1 : chosen.line], at + 1))
        return after

    def _closing(self, start: int, end: int) -> int | None:
        """The first line between two where a thought may end."""
        index = bisect_right(self.closings, start)
        return self.closings[index] if index < len(self.closings) and self.closings[index] < end else None

    def _skip(self, at: int, tag: str, mark: str, length: int) -> int:
        """Passes over a fence of another language."""
        depth = 1
        for end in self._ends_after(at, mark, length):
            if end.kind == "open" and tag in _NESTING:
                depth += 1
            elif end.kind == "close" or tag not in _NESTING:
                depth -= 1
            if not depth:
                break
        else:
            end = _End(len(self.lines), "eof", "", 0)
        closing = self._closing(at, end.line)
        if closing is not None and self.thought is not None:
            return closing
        text = "\n".join(self.lines[at + 1 : end.line])
        called = _TOOL_CALL.search(text) is not None
        self.odd.append(
            "a tool call, and there are no tools to call" if called else f"a fence tagged {tag[:20] or '?'!r}"
        )
        return end.line + (end.kind in {"close", "tail"})

    def _ends_after(self, at: int, mark: str, length: int) -> Iterator[_End]:
        key = (mark, length)
        if key not in self.ends_for:
            self.ends_for[key] = [e for e in self.ends if e.kind == "open" or (e.mark == mark and e.length >= length)]
        ends = self.ends_for[key]
        first = bisect_right(ends, at, key=lambda end: end.line)
        return (ends[index] for index in range(first, len(ends)))

    def _choose(self, at: int, indent: int, mark: str, length: int) -> tuple[_End, str, ast.Module | None]:
        """The end of a block, its code, and the code's tree where it compiles."""
        tried: list[tuple[_End, str]] = []
        eof = _End(len(self.lines), "eof", "", 0)
        tries = _TRIES if self.failures > 0 else 2
        for end in islice(chain(self._ends_after(at, mark, length), [eof]), tries):
            lines = self.lines[at + 1 : end.line]
            if end.kind == "tail":
                last = self.lines[end.line].rstrip()[: -end.length]
                if "#" in last:
                    continue  # a comment may end with a fence
                lines.append(last)
            elif end.kind == "eof":
                while lines and not lines[-1].strip():
                    lines.pop()
            code = "\n".join(_without_indent(line, indent) for line in lines)
            if not code.strip() and end.kind != "eof":
                return end, code, None
            tree = self._compile(code)
            if tree is None and code[:1].isspace():
                code = dedent(code)
                tree = self._compile(code)
            if tree is not None:
                return end, code, tree
            tried.append((end, code))
        order = {"close": 0, "open": 0, "tail": 1, "eof": 2}
        first = min(tried, key=lambda one: (order[one[0].kind], one[0].line), default=(eof, ""))
        return first[0], first[1], None

    def _compile(self, code: str) -> ast.Module | None:
        self.room -= len(code)
        if self.failures <= 0 or self.room < 0:
            self.failures = 0
            return None
        tree = compiles(code)
        self.failures -= tree is None
        return tree

    def _problem(self) -> str:
        text = "\n".join(line for _, line in self.visible).strip()
        if self.odd:
            return f"Nothing was run: the reply has {self.odd[0]}. {_EXPECTED}"
        if not text and self.thoughts:
            return f"Nothing was run: the reply is only thinking. {_EXPECTED}"
        if not text:
            return f"The reply was empty. {_EXPECTED}"
        if _TOOL_CALL.search(text):
            return f"Nothing was run: the reply is a tool call, and there are no tools to call. {_EXPECTED}"
        if mentions_final(text):
            return "No answer was taken: FINAL(…) or FINAL_VAR(…) as text must begin a line and end the reply."
        tree = self._compile(text)
        if (tree is not None and _acts(tree)) or len(_CODE_LINE.findall(text)) * 2 > text.count("\n"):
            return f"Nothing was run: the reply looks like code outside of a fence. {_EXPECTED}"
        return f"Nothing was run: the reply has no code. {_EXPECTED}"


def _closes(tag: re.Match[str]) -> bool:
    return bool(tag["close"])


def _without_indent(line: str, indent: int) -> str:
    blank = len(line) - len(line.lstrip(" \t"))
    return line[min(indent, blank) :]
