"""The demo's answer is computed from its input: checked against a second way of reading it, and on a changed one."""

from __future__ import annotations

import io
import re
import sysconfig
import tokenize
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

import containers
from command_line import rlm as rlm_process
from rlm import registry
from rlm.cli import doctor
from rlm.cli.demo import EXCLUDED, ask
from rlm.cli.doctor import PAID
from rlm.trajectory import read

Command = Callable[..., Any]
STDLIB = Path(sysconfig.get_path("stdlib"))
FREE = [name for name in registry.environment_names() if name not in PAID]


def notices(text: str) -> Iterator[list[tokenize.TokenInfo]]:
    """The tokens of each call that warns of a deprecation, found by counting brackets."""
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type not in SPACE]
    for i, token in enumerate(tokens[:-1]):
        called = token.type == tokenize.NAME and tokens[i + 1].string == "("
        if not called or (i and tokens[i - 1].string == "def"):
            continue
        depth, end = 0, i + 1
        while end < len(tokens):
            if tokens[end].type == tokenize.OP:
                depth += (tokens[end].string in "([{") - (tokens[end].string in ")]}")
            end += 1
            if not depth:
                break
        call = tokens[i:end]
        names = {t.string for t in call if t.type == tokenize.NAME}
        if token.string == "_deprecated" or (token.string.endswith("warn") and "DeprecationWarning" in names):
            yield call


SPACE = {tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT}


def removal(call: list[tokenize.TokenInfo]) -> str:
    """The version a notice names, read word by word."""
    words = [t.string for t in call]
    if "remove" in words:
        at = words.index("remove")
        if words[at + 1 : at + 3] == ["=", "("]:
            return f"{words[at + 3]}.{words[at + 5]}"
    texts = ("STRING", "FSTRING_MIDDLE")
    text = "".join(string_body(t.string) for t in call if tokenize.tok_name[t.type] in texts)
    said = text.split()
    for i, word in enumerate(said):
        if word.strip(".,;'").lower() in ("removed", "removal"):
            for j in range(i + 1, min(i + 9, len(said))):
                if said[j - 1].lower() in ("in", "python", "version") and re.fullmatch(r"\d+\.\d+[.,;'\"]*", said[j]):
                    return said[j].rstrip(".,;'\"")
                if said[j].endswith("."):
                    break
    return "none"


def string_body(literal: str) -> str:
    return re.sub(r"""^[a-zA-Z]*("{3}|'{3}|"|')|("{3}|'{3}|"|')$""", "", literal)


def expected(library: dict[str, str]) -> tuple[int, dict[str, Counter[str]]]:
    total, found = 0, defaultdict[str, Counter[str]](Counter)
    for path, text in library.items():
        parts = path.split("/")
        if any(part in ("test", "tests", "idle_test") for part in parts) or "eprecat" not in text:
            continue
        for call in notices(text):
            total += 1
            found[removal(call)][path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")] += 1
    return total, found


def check(answer: str, library: dict[str, str]) -> None:
    total, found = expected(library)
    modules = {name for counter in found.values() for name in counter}
    assert answer.startswith(f"{total} notices of deprecation in {len(modules)} files;")
    said = {v: int(n) for v, n in re.findall(r"^  Python (\S+): (\d+) in", answer, re.MULTILINE)}
    said["none"] = int(re.search(r"no version named: (\d+)", answer)[1])  # type: ignore[index]
    assert {v: n for v, n in said.items() if n} == {v: counter.total() for v, counter in found.items()}
    for version, line in re.findall(r"^  Python (\S+): \d+ in (.*)$", answer, re.MULTILINE):
        for name, count in re.findall(r"(\S+) \((\d+)\)", line):
            assert found[version][name] == int(count)


def library() -> dict[str, str]:
    paths = [p for p in STDLIB.rglob("*.py") if not {*EXCLUDED, "__pycache__"} & set(p.relative_to(STDLIB).parts)]
    return {str(p.relative_to(STDLIB)): p.read_bytes().decode("utf-8", "surrogateescape") for p in paths}


def test_the_demo_works_from_a_fresh_shell_and_says_first_that_a_stand_in_plays_the_model(tmp_path: Path) -> None:
    done = rlm_process("demo", "--fast", "--log", str(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert "stand-in plays the model's part" in lines[0]
    size, tokens = re.search(r"([\d.]+) million characters, about ([\d.]+) million tokens", lines[1]).groups()  # type: ignore[union-attr]
    assert float(size) >= 10
    assert float(tokens) >= 3
    assert done.stderr == b""
    start = next(i for i, line in enumerate(lines) if "notices of deprecation in" in line)
    check("\n".join(lines[start:]), library())
    assert lines[-1].strip().startswith("rlm ask")
    trajectory = read(next(tmp_path.iterdir()))
    assert len(trajectory.calls()) > 10
    finished = trajectory.finished(trajectory.runs[0])
    assert finished is not None
    assert sum(usage.calls for _, usage in finished.usage) == len(trajectory.calls()) + 3


CHANGED = {
    "pkg/__init__.py": "warnings.warn('x is deprecated and will be removed in Python 9.2', DeprecationWarning)\n",
    "pkg/a.py": "def f():\n    warnings._deprecated('f', remove=(9, 1))\n    _deprecated('g', remove=(9, 1))\n",
    "b.py": """
warn('no date', DeprecationWarning)
warn('a note', UserWarning)
warn('slated for '
     'removal in '
     'Python 9.10', DeprecationWarning)
""",
    "test/c.py": "warnings.warn('removed in Python 9.9', DeprecationWarning)\n",
    "broken.py": "def (: DeprecationWarning\n",
}


@pytest.mark.parametrize("environment", FREE)
def test_a_changed_input_changes_the_answer_in_every_environment(
    environment: str, tmp_path: Path, not_run: Callable[[str, str], NoReturn]
) -> None:
    place: Any = environment
    if environment == "docker":  # with the image that is made for the tests: the default one would have to be fetched
        if reason := containers.missing("docker"):
            not_run("docker engine", reason)
        place = containers.create("docker")()
    else:
        found = doctor.environment(environment, named=False)
        if not found.works:
            not_run(environment, found.text)
    outcome = ask(CHANGED, environment=place, log=str(tmp_path))
    assert outcome.error is None
    assert outcome.completion is not None
    assert outcome.completion.response.splitlines() == [
        "5 notices of deprecation in 3 files; by the version that removes the thing:",
        "  Python 9.1: 2 in pkg.a (2)",
        "  Python 9.2: 1 in pkg (1)",
        "  Python 9.10: 1 in b (1)",
        "  no version named: 1 in b (1)",
    ]


def test_an_input_without_notices_has_none(tmp_path: Path) -> None:
    outcome = ask({"a.py": "print('hello')\n"}, environment="local", log=str(tmp_path))
    assert outcome.completion is not None
    assert outcome.completion.response.splitlines() == [
        "0 notices of deprecation in 0 files; by the version that removes the thing:",
        "  no version named: 0",
    ]


def test_an_environment_that_does_not_exist_is_one_line(rlm: Command) -> None:
    done = rlm("demo", "-e", "nowhere")
    assert done.returncode == 5
    assert b"nowhere" in done.stderr
