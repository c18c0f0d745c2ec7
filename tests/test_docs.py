"""The documentation's code runs: Python blocks against a local LM server, `rlm` lines against the command's parser.

A block finds the files of `tests/documents/<page>/` beside it. What the model replies stands in a comment before it,
turns divided by `===` and what sub-calls are answered after `=== sub-calls`; what it prints, in an `output` block after
it.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

import command_line
import warm
from rlm.cli.command import cli
from rlm.testing import LMServer, Request

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FILES = Path(__file__).parent / "documents"
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<why>.+?) -->\s*)?"
    r"(?:<!-- the model:\n(?P<script>.*?)^-->\s*)?"
    r"^```(?P<language>\w+)\n(?P<code>.*?)^```$"
    r"(?:\n\n(?:[^\n`]+\n\n)?```output\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some code of a page, with as many lines before it as there."""

    page: Path
    code: str
    why_not: str | None
    script: str | None
    output: str | None

    @property
    def place(self) -> str:
        lines = len(self.code) - len(self.code.lstrip("\n"))
        return f"{self.page.relative_to(ROOT)}:{lines + 1}"

    @property
    def files(self) -> Path:
        return FILES / self.page.relative_to(ROOT).with_suffix("")


def blocks(*languages: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        for match in BLOCK.finditer(text):
            if match["language"] in languages:
                code = "\n" * text.count("\n", 0, match.start("code")) + match["code"]
                block = Block(
                    page=page, code=code, why_not=match["why"], script=match["script"], output=match["output"]
                )
                found.append(block)
    return found


def place(block: Block) -> str:
    return block.place


def answer(request: Request) -> str:
    """A model that answers every question with one turn of code."""
    return "```repl\nFINAL(str(2 ** (2 ** (2 ** 2))))\n```"


def scripted(script: str) -> Callable[[Request], str]:
    """A model that says what a page says it does."""
    turns, _, sub_calls = script.partition("=== sub-calls\n")
    replies = turns.split("===\n")

    def reply(request: Request) -> str:
        if not command_line.is_root(request):
            return sub_calls.strip()
        return replies[min(command_line.turns(request), len(replies) - 1)]

    return reply


def environment(server: LMServer) -> dict[str, str]:
    """The examples read their keys and addresses from the environment, as a user's do."""
    openai = ("PORTKEY", "OPENROUTER", "AI_GATEWAY", "VLLM", "OLLAMA")
    return command_line.environment(
        server,
        **{f"{name}_API_KEY": "key-of-the-test" for name in (*openai, "GEMINI", "AZURE_OPENAI")},
        **{f"{name}_BASE_URL": server.openai_base_url for name in openai},
        GOOGLE_GEMINI_BASE_URL=server.gemini_base_url,
        AZURE_OPENAI_ENDPOINT=server.url,
        LM_BASE_URL=server.openai_base_url,
        PYTHONHASHSEED="0",
    )


@pytest.mark.parametrize("block", blocks("python", "py"), ids=place)
def test_a_python_block_runs_and_prints_what_the_page_says(
    block: Block, tmp_path: Path, lm_server: Callable[..., LMServer]
) -> None:
    compile(block.code, str(block.page), "exec")
    if block.why_not is not None:
        return
    here = tmp_path / "here"
    shutil.copytree(block.files, here) if block.files.is_dir() else here.mkdir()
    script = tmp_path / "block.py"
    # The example's own process is refused other machines too.
    script.write_text("from rlm.testing import refuse_live_requests as _r; _r()\n" + block.code.lstrip("\n"), "utf-8")
    model = lm_server(answer if block.script is None else scripted(block.script))
    done = warm.run("-W", "error", str(script), cwd=here, env=environment(model))
    assert done.returncode == 0, f"{block.place}:\n{done.stderr.decode()}"
    assert done.stderr == b""
    if block.output is not None:
        assert done.stdout.decode() == block.output
    elif "Calculate 2^(2^(2^2))" in block.code and "print(result.response)" in block.code:
        assert done.stdout == b"65536\n"


@pytest.mark.parametrize("block", blocks("sh", "shell", "bash"), ids=place)
def test_a_line_that_calls_the_command_uses_options_that_exist(block: Block) -> None:
    for line in block.code.replace("\\\n", " ").splitlines():
        for part in line.split("|"):
            words = shlex.split(part, comments=True)
            if words[:1] == ["rlm"]:
                parse(words[1:])


def parse(words: list[str]) -> None:
    name, *arguments = words
    with contextlib.suppress(click.exceptions.Exit):
        cli.commands[name].make_context(name, arguments)


LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")
CODE = re.compile(r"<!--.*?-->|^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "AGENTS.md", ROOT / "CHANGELOG.md"], ids=lambda path: path.name)
def test_a_link_leads_somewhere_where_the_file_itself_is_read(page: Path) -> None:
    """As on a forge, which makes an anchor of a heading's words."""
    for name, anchor in LINK.findall(CODE.sub("", page.read_text("utf-8"))):
        target = (page.parent / name) if name else page
        assert target.exists(), name
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_an_example_runs(example: Path, lm_server: Callable[..., LMServer]) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            str(example),
            "How long is it?",
            str(ROOT / "LICENSE"),
            str(ROOT / "README.md"),
        ],
        env=environment(lm_server(answer)),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "65536" in done.stdout


def test_every_page_has_blocks_that_run() -> None:
    assert len(blocks("python")) >= 8
