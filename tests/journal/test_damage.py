"""Journals that were edited or damaged: refused when they are read, before anything is paid for, and left alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from journal.program import Scene, journal_of
from rlm import JournalError, ReplayMismatchError

WRONG: tuple[Any, ...] = (None, -1, float("inf"), 10**30, "x\0", [[]], {"a": 1})


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    Scene().run(checkpoint=folder)
    return folder


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in a record something can be put in the place of what there is; of long lists the first item."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for name, item in items:
        yield (*path, name)
        yield from places(item, (*path, name))


def changed(record: Any, path: tuple[Any, ...], new: Any) -> Any:
    copy = json.loads(json.dumps(record))
    inner = copy
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = new
    return copy


def variants(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The record with one thing wrong in it."""
    for path in places(record):
        if path[0] == "type":
            continue
        for wrong in WRONG:
            yield changed(record, path, wrong)
        if len(path) == 1:
            yield {name: item for name, item in record.items() if name != path[0]}


def test_whatever_is_wrong_in_a_record_nothing_of_the_library_breaks_and_nothing_is_called(
    recorded: Path, tmp_path: Path
) -> None:
    lines = journal_of(recorded).read_bytes().splitlines(keepends=True)
    seen: set[tuple[str, str]] = set()
    for number, line in enumerate(lines[1:], 1):
        record = json.loads(line)
        kind = (record["type"], str(record.get("name", "raised" in record)).partition(" ")[0])
        if kind in seen:
            continue
        seen.add(kind)
        for variant in variants(record):
            text = json.dumps(variant).encode() + b"\n"
            journal_of(tmp_path).write_bytes(b"".join([*lines[:number], text, *lines[number + 1 :]]))
            scene = Scene()
            try:
                scene.run(replay=tmp_path)
            except (JournalError, ReplayMismatchError):
                pass
            except Exception as error:
                raise AssertionError(f"{type(error).__name__}: {error} of {text[:300]!r}") from error
            assert scene.asked == 0


@pytest.mark.parametrize("data", [b"of another program", b"x\0\xff", b'{"format":"another"'])
def test_a_file_that_is_no_journal_is_not_written_over(data: bytes, tmp_path: Path) -> None:
    journal_of(tmp_path).write_bytes(data)
    scene = Scene()
    with pytest.raises(JournalError, match=r"journal\.jsonl, line 1: no journal"):
        scene.run(checkpoint=tmp_path)
    assert (journal_of(tmp_path).read_bytes(), scene.asked) == (data, 0)


def test_a_journal_that_was_cut_off_in_its_first_line_begins_again(recorded: Path, tmp_path: Path) -> None:
    first = journal_of(recorded).read_bytes().splitlines()[0]
    for length in (0, 5, 25, len(first)):
        journal_of(tmp_path).write_bytes(first[:length])
        assert Scene().run(checkpoint=tmp_path).status == "answered"


def test_records_of_a_run_whose_beginning_is_gone_are_not_paid_for_again(recorded: Path, tmp_path: Path) -> None:
    lines = journal_of(recorded).read_bytes().splitlines(keepends=True)
    data = b"".join([lines[0], *lines[2:]])
    journal_of(tmp_path).write_bytes(data)
    scene = Scene()
    with pytest.raises(JournalError, match=r"line 2: .* did not begin"):
        scene.run(checkpoint=tmp_path)
    assert (journal_of(tmp_path).read_bytes(), scene.asked) == (data, 0)


def test_a_pipe_in_the_journals_place_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(journal_of(tmp_path))
    with pytest.raises(JournalError, match=r"journal\.jsonl"):
        Scene().run(checkpoint=tmp_path)
