"""A run as one file: what is in it, and that nothing of a log can become markup."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rlm.errors import TrajectoryError
from rlm.viewer import Log, export
from rlm.viewer.page import SCRIPTS, STYLES, digest, island_of, static
from viewer.logs import MadeUpRun, real_run, write

HOSTILE = (
    "</script><script>alert(1)</script><!-- <img src=x onerror=alert(1)> \u2028\u2029 \x1b[2J\x07 \x00 & ]]> \ud800"
)


class Elements(HTMLParser):
    """What an HTML parser makes of a page: its elements, and the text of its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data


def exported(tmp_path: Path, log: Path, **options: Any) -> tuple[str, Elements, Any]:
    page = tmp_path / "run.html"
    export(log, page, **options)
    text = page.read_text("utf-8")
    elements = Elements()
    elements.feed(text)
    return text, elements, json.loads(elements.scripts[0])


def hostile(path: Path) -> Path:
    made = MadeUpRun()
    calls = tuple(made.call(HOSTILE, HOSTILE))
    turn = made.turn(0, code=HOSTILE, output=HOSTILE, calls=calls, answer=HOSTILE)
    return write(path, [made.started(HOSTILE), *turn, made.finished(HOSTILE)])


def test_the_page_holds_every_record_and_the_answers(tmp_path: Path) -> None:
    path, result = real_run(tmp_path)
    _, _, data = exported(tmp_path, path)
    log = Log(path)
    log.update()
    assert {int(line) for line in data["records"]} == set(range(2, log.line_count + 1))
    assert data["summary"]["model_calls"] == result.usage_summary.total.calls
    assert len(data["rows"]) == log.summary.events
    assert data["evidence"]["found"]


def test_nothing_of_a_log_becomes_markup(tmp_path: Path) -> None:
    _, plain, _ = exported(tmp_path, write(tmp_path / "plain.jsonl", [MadeUpRun().started()]))
    text, elements, data = exported(tmp_path, hostile(tmp_path / "hostile.jsonl"))
    assert elements.tags == plain.tags
    assert len(elements.scripts) == 2
    assert HOSTILE in {record.get("response") for record in data["records"].values()}
    island = text[text.index('id="data">') + 10 : text.index("</script>")]
    assert island.isascii()
    assert not re.search("[<>&]", island)


def test_the_policy_lets_only_the_page_s_own_script_run_and_nothing_be_asked(tmp_path: Path) -> None:
    text, elements, _ = exported(tmp_path, hostile(tmp_path / "hostile.jsonl"))
    (policy,) = re.findall('Content-Security-Policy" content="([^"]+)"', text)
    assert f"script-src '{digest(elements.scripts[1])}'" in policy
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r'\b(src|href)="', text[text.index("</script>") :].split("<script>")[0])


def test_no_script_of_the_page_makes_markup_of_text() -> None:
    for name in SCRIPTS:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", static(name)
        ), name


def test_all_files_of_the_page_are_named_once_and_hold_nothing_that_ends_their_element() -> None:
    here = {path.name for path in (Path(__file__).parents[2] / "src/rlm/viewer/static").iterdir()}
    assert here == {*SCRIPTS, *STYLES}
    for name in here:
        assert "</" not in static(name)
        assert "<!--" not in static(name)


def test_json_for_the_page_reads_back_exactly() -> None:
    value = {"<": HOSTILE, "deep": [[[HOSTILE]]], "n": 1.5, "none": None}
    assert json.loads(island_of(value)) == value


def test_a_log_too_large_for_a_page_keeps_the_beginning_of_each_text(tmp_path: Path) -> None:
    made = MadeUpRun()
    log = write(tmp_path / "run.jsonl", [made.started(), *made.turn(0, output="x" * 9_000), made.finished()])
    _, _, data = exported(tmp_path, log, largest=100)
    outputs = [r["cell"]["output"] for r in data["records"].values() if r["type"] == "CellFinished"]
    assert outputs == ["x" * 2_000 + "…"]
    assert data["shortened"] == 2_000


def test_a_damaged_log_is_exported_with_what_could_be_read(tmp_path: Path) -> None:
    path = write(tmp_path / "run.jsonl", list(MadeUpRun().turn(0)))
    with path.open("ab") as file:
        file.write(b'nonsense\n{"type":"TurnSt')
    _, _, data = exported(tmp_path, path)
    assert data["state"]["damaged"] == 1
    assert data["state"]["torn"]


def test_what_is_no_trajectory_is_not_exported(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("hello")
    with pytest.raises(TrajectoryError):
        export(tmp_path / "other.txt", tmp_path / "run.html")
    assert not (tmp_path / "run.html").exists()


def test_the_page_does_not_take_the_place_of_its_log(tmp_path: Path) -> None:
    path, _ = real_run(tmp_path)
    before = path.read_bytes()
    (tmp_path / "link.html").symlink_to(path)
    for page in (path, tmp_path / "link.html"):
        with pytest.raises(FileExistsError, match="is the log itself"):
            export(path, page)
    assert path.read_bytes() == before


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.jsonl")
    with pytest.raises(OSError, match="is no regular file"):
        Log(tmp_path / "run.jsonl")
