"""A pytest plugin for programs that use rlm: `pytest_plugins = ["rlm.testing.cassette"]` in a `conftest.py`.

A test that asks for the fixture `rlm_cassette` has its program's runs recorded once, with `pytest --rlm-record`, and
replayed from then on, without network or key. A run that is not recorded fails the test, and so does one that asks
something else, and a recorded one that is not made.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rlm.recording import Tape, using

FOLDER: Final = "cassettes"
LONGEST: Final = 150
"""Characters of a file's name."""
_passed = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rlm")
    group.addoption(
        "--rlm-record",
        action="store_true",
        help="record the runs of tests that use rlm_cassette, against the real providers",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    report = yield
    if report.when == "call":
        item.stash[_passed] = report.passed
    return report


@pytest.fixture
def rlm_cassette(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Every run that the test's program makes, in any thread of this process, is recorded or replayed; the value is the
    file. It is `cassettes/<module>/<class>.<test>-<parameters>.jsonl` beside the test, and is meant to be committed."""
    path = request.path.parent / FOLDER / request.path.stem / f"{_name(request.node)}.jsonl"
    if request.config.getoption("--rlm-record"):
        yield from _record(request, path)
        return
    if not path.is_file():
        pytest.fail(f"there is no {path}: run this test once with --rlm-record", pytrace=False)
    tape = Tape(path)
    with using(tape):
        yield path
    departed = [*tape.mismatches, *tape.left()]
    if departed and _has_passed(request):  # the program swallowed it, or did not ask
        pytest.fail("\n\n".join(map(str, departed)), pytrace=False)


def _record(request: pytest.FixtureRequest, path: Path) -> Iterator[Path]:
    """What there was stays until the test has passed."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    tape = Tape(new, record=True)
    try:
        with using(tape):
            yield path
        if _has_passed(request):
            if tape.unfinished:
                pytest.fail("a run went on when the test was over, so only a part of it is recorded", pytrace=False)
            os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def _has_passed(request: pytest.FixtureRequest) -> bool:
    return bool(request.node.stash.get(_passed, False))


def _name(node: pytest.Item) -> str:
    """A file's name for a test, which no other test of its module has: all names of its id from the class on, with a
    digest where a file cannot be called that."""
    outer = pytest.Session | pytest.Directory | pytest.File
    names = [part.name for part in node.listchain() if not isinstance(part, outer)]
    name, _, parameters = ".".join(names).partition("[")
    plain = f"{name}-{parameters.removesuffix(']')}" if parameters else name
    safe = re.sub(r"[^\w.-]+", "-", plain, flags=re.ASCII)[:LONGEST]
    return safe if safe == plain else f"{safe}-{hashlib.sha256(plain.encode()).hexdigest()[:8]}"
