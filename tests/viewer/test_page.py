"""The page in a real browser: headless Chromium, driven by Playwright."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlm.trajectory import TrajectoryWriter, read
from rlm.viewer import Log, Server, export
from viewer.logs import ANSWER, MadeUpRun, large, log_lines, write

pytestmark = pytest.mark.needs("browser")

HOSTILE = (
    '<img src=x onerror="window.hacked=1"><script>window.hacked=2</script></script><script>window.hacked=3</script>'
    "<!--\u2028\u2029\x1b[2J\x1b]0;title\x07\x00\u202egnp.exe\ud800 {{7*7}} ${window.hacked=4} javascript:alert(1)"
)


def exported(log: Path) -> str:
    page = log.with_suffix(".html")
    export(log, page)
    return page.as_uri()


def selected(page: Any) -> str:
    row = page.locator(".row.selected")
    row.wait_for()
    return str(row.inner_text())


def test_a_directory_lists_its_runs_and_opens_one(visit: Callable[..., Any], tmp_path: Path, run_file: Path) -> None:
    write(tmp_path / "zzz.jsonl", [MadeUpRun().started("Is it still going on?")])
    with Server(tmp_path) as server:
        page = visit(server.url)
        rows = page.locator(".runs tbody tr")
        rows.first.wait_for()
        assert rows.count() == 2
        assert "running" in rows.nth(0).inner_text()
        assert "answered" in rows.nth(1).inner_text()
        rows.nth(1).click()
        page.locator(".row.turn").first.wait_for()
        assert page.locator(".row.turn").count() == 5
        page.get_by_role("button", name="Runs").click()
        rows.first.wait_for()


def test_turns_calls_and_children_open_with_their_code_prompts_and_replies(
    visit: Callable[..., Any], run_file: Path
) -> None:
    page = visit(exported(run_file))
    page.locator(".row.turn").nth(2).click()
    detail = page.locator(".detail")
    detail.get_by_text("llm_query_batched").first.wait_for()
    assert detail.locator(".code .g").first.inner_text() == "context"
    detail.locator("details summary").first.click()
    detail.get_by_text("Nothing of the kind is in it.").first.wait_for()
    assert "context[0" in detail.locator(".span").first.inner_text()
    page.locator(".row.call .badge.rlm").first.click()
    detail.get_by_text("Open its run").click()
    detail.get_by_text("A run of its own").wait_for()
    page.locator(".row.selected + .row.turn + .row.turn .arrow").click()
    page.locator(".row.failed").get_by_text("slow down").first.wait_for()


def test_the_six_questions_are_answered_as_in_the_log(visit: Callable[..., Any], run_file: Path) -> None:
    log = Log(run_file)
    log.update()
    summary = log.summary
    page = visit(exported(run_file))

    def value(name: str) -> str:
        return str(page.locator(f"#q-{name} .value").inner_text())

    assert value("calls") == str(summary.calls["llm"] + summary.calls["rlm"]) == "10"
    assert value("dollars") == f"${summary.total.cost:.3g}"
    slowest = summary.slowest()[0]
    assert value("slowest").startswith("The start," if slowest.kind == "start" else f"Turn {slowest.turn + 1}:")
    assert value("failing") == "Turn 2"
    coverage = read(run_file).coverage
    assert coverage is not None
    assert value("unread") == f"{round(100 - 100 * coverage.most)}% to {round(100 - 100 * coverage.share)}%"
    assert page.locator("#q-unread .coverage i").count() >= 1
    replies = [line for line in run_file.read_text().splitlines() if '"CallFinished"' in line and '"reply":{' in line]
    held = sum(ANSWER in line or '"same":"response' in line for line in replies)
    assert value("evidence") == f"{held} of {len(replies)} replies"
    page.locator("#q-failing").click()
    page.locator(".detail").get_by_text("NameError: name 'lnes' is not defined").first.wait_for()


def test_the_input_tells_what_was_read_through_what_and_what_never_was(
    visit: Callable[..., Any], run_file: Path
) -> None:
    coverage = read(run_file).coverage
    assert coverage is not None
    assert coverage.unread
    page = visit(exported(run_file))
    page.locator("#q-unread").click()
    detail = page.locator(".detail")
    tables = detail.locator("table")
    tables.first.wait_for()
    longest = coverage.unread[0]
    assert f"context[{longest.at:,}\u2009:\u2009{longest.at + longest.length:,}]" in tables.first.inner_text()
    assert tables.first.locator("tbody tr").count() == min(10, len(coverage.unread))
    row = tables.nth(1).locator("tr", has_text="prompt of call 2, turn 3")
    assert "context[5,000\u2009:\u200910,000]" in row.inner_text()
    row.locator("button").first.click()
    detail.get_by_text("Model call 2").wait_for()
    assert "context[5,000" in detail.locator("section", has_text="Of the input, in the prompt").inner_text()
    page.locator(".row.turn").first.click()
    shown = detail.locator("section", has_text="Of the input, in what the model was shown next")
    assert "context[0\u2009:\u2009400]" in shown.inner_text()
    page.locator(".row.run").click()
    detail.locator("section", has_text="Of the input, in the first message").wait_for()
    detail.locator("summary", has_text="What the first message showed").click()
    detail.get_by_text("Commonest shapes of lines").wait_for()


def test_the_evidence_tells_the_calls_and_what_of_the_input_they_were_given(
    visit: Callable[..., Any], run_file: Path
) -> None:
    with Server(run_file) as server:
        for url in (server.url, exported(run_file)):
            page = visit(url)
            page.locator("button#q-evidence").click()
            rows = page.locator(".detail tr")
            rows.first.wait_for()
            evidence = read(run_file).evidence
            assert evidence is not None
            assert rows.count() == len(evidence.found)
            first = rows.filter(has_text="call 3 of turn 3")
            assert "holds the whole answer" in first.inner_text()
            assert "context[10,000\u2009:\u200915,000]" in first.inner_text()
            first.locator("button").first.click()
            page.locator(".detail h2").get_by_text("Model call 3").wait_for()


def test_a_turn_that_was_never_answered_says_why(visit: Callable[..., Any], tmp_path: Path) -> None:
    made = MadeUpRun()
    failure = made.finished(None, error=("LMError", "no such key"))
    page = visit(exported(write(tmp_path / "run.jsonl", [made.started(), next(iter(made.turn(0))), failure])))
    assert "LMError: no such key" in page.locator(".row.turn.failed").inner_text()
    assert page.locator("header .errors").inner_text() == "1 failure"
    assert page.locator("#q-failing .value").inner_text() == "Turn 1"


def test_a_run_tells_its_warnings_and_how_near_its_limits_came(visit: Callable[..., Any], tmp_path: Path) -> None:
    made = MadeUpRun()
    path = write(tmp_path / "run.jsonl", [made.started(), *made.turn(1), *made.notes(), made.finished()])
    page = visit(exported(path))
    page.locator(".row").first.click()
    notes = page.locator(".detail .part", has=page.locator("h3", has_text="Notes")).locator("li")
    notes.first.wait_for()
    assert [note.split(": ", 1)[1] for note in notes.all_inner_texts()] == [
        "512 of the 1,000 of max_tokens used",
        "$0.50 of the $1.00 of max_budget used, $0.25 booked: calls wait for room",
        "turn 2: a summary takes the place of the turns before",
        "openai/sub pushed back",
    ]


def test_a_call_tells_how_long_it_stood_in_line(visit: Callable[..., Any], tmp_path: Path) -> None:
    made = MadeUpRun()
    turn = made.turn(1, calls=tuple(made.call("count", "three")))
    page = visit(exported(write(tmp_path / "run.jsonl", [made.started(), *turn, made.finished()])))
    page.locator(".row.call").first.click()
    page.locator(".detail").get_by_text("waited for its turn").wait_for()
    assert "250 ms" in page.locator(".detail").inner_text() or "0.25 s" in page.locator(".detail").inner_text()


def test_search_finds_what_stands_in_prompts_replies_code_and_output(visit: Callable[..., Any], run_file: Path) -> None:
    with Server(run_file) as server:
        for url in (server.url, exported(run_file)):
            page = visit(url)
            page.locator(".row.turn").first.wait_for()
            page.keyboard.press("/")
            page.keyboard.type("UPLOADER had filled")
            page.locator(".found").filter(has_text="hit").wait_for()
            hits = page.locator(".row").count()
            assert f"{hits} hits" in page.locator(".found").inner_text()
            page.keyboard.press("Enter")
            page.locator(".detail mark").first.wait_for()
            assert page.locator(".detail mark").first.inner_text() == "uploader had filled"
            page.keyboard.press("Escape")
            page.locator(".found:empty").wait_for(state="attached")


def test_keys_move_open_close_and_jump_to_failures(visit: Callable[..., Any], run_file: Path) -> None:
    page = visit(exported(run_file))
    page.locator(".row.turn").first.wait_for()
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert "turn 2" in selected(page)
    page.keyboard.press("k")
    assert "turn 1" in selected(page)
    page.keyboard.press("G")
    assert "turn 5" in selected(page)
    page.keyboard.press("e")
    assert "NameError" in selected(page)
    page.keyboard.press("e")
    assert "slow down" in selected(page)
    page.keyboard.press("h")
    assert "turn 2" in selected(page)
    page.keyboard.press("h")
    page.keyboard.press("h")
    assert "RLM" in selected(page)
    before = page.locator(".row").count()
    page.keyboard.press("h")
    assert page.locator(".row").count() < before
    page.keyboard.press("l")
    assert page.locator(".row").count() == before
    page.keyboard.press("t")
    page.locator("canvas").wait_for()
    page.keyboard.press("?")
    page.locator("dialog[open]").wait_for()
    page.keyboard.press("Escape")
    page.locator("dialog[open]").wait_for(state="detached")
    page.keyboard.press("d")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_timeline_is_drawn_and_a_bar_opens_what_it_stands_for(visit: Callable[..., Any], run_file: Path) -> None:
    page = visit(exported(run_file))
    page.locator(".row.turn").first.wait_for()
    page.get_by_role("tab", name="Timeline").click()
    page.get_by_text("At most").wait_for()
    drawn = """() => {
      const canvas = document.querySelector('canvas');
      const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
      return new Set(new Uint32Array(data.buffer)).size;
    }"""
    assert page.evaluate(drawn) > 5
    box = page.locator("canvas").bounding_box()
    found = page.evaluate(
        """() => {
      const app = document.querySelector('canvas');
      for (let x = 10; x < app.clientWidth; x += 2) {
        const box = app.getBoundingClientRect();
        app.dispatchEvent(new PointerEvent('pointermove', {clientX: box.left + x, clientY: box.top + 75}));
        if (app.title.includes('turn 4')) return x;
      }
      return 0;
    }"""
    )
    assert found
    page.mouse.click(box["x"] + found, box["y"] + 75)
    page.locator(".detail h2").get_by_text("Turn 4").wait_for()
    page.keyboard.press("+")
    page.keyboard.press("0")


def test_calls_are_put_in_the_first_lane_that_is_free_also_when_very_many_are_under_way_at_once(
    visit: Callable[..., Any], run_file: Path
) -> None:
    page = visit(exported(run_file))
    page.locator(".row.turn").first.wait_for()
    laid_out = """(given) => {
      const calls = given.length ? given : Array.from({ length: given }, (_, n) => [n / 1e6, 1 + n / 1e6]);
      const rows = [["R", 1, "a", 0, 0, "m", null, "str", 1, "local"], ["T", 2, "a", 0, 0], ["C", 3, "a", 0, 0, 0, ""]];
      calls.forEach(([start], number) => rows.push(["S", number + 4, "a", start, number, 0, "llm", "m", null, ""]));
      calls.forEach(([start, end], number) =>
        rows.push(["F", number + calls.length + 4, "a", end, number, end - start, 1, 1, 0, null, "", 0]));
      const model = new Model();
      model.add(rows);
      const timeline = new Timeline({ select() {} });
      timeline.show(model);
      return [timeline.lanes.slice(1, 6).map((lane) => lane.bars.map((bar) => [bar.start, bar.end])),
        timeline.lanes.length, timeline.note.textContent];
    }"""
    few = [[0, 4], [1, 2], [1.5, 9], [2, 3], [3, 5], [4, 6], [4.5, 5], [6, 7]]
    lanes, _, note = page.evaluate(laid_out, few)
    assert lanes == [[[0, 4], [4, 6], [6, 7]], [[1, 2], [2, 3], [3, 5]], [[1.5, 9]], [[4.5, 5]]]
    assert note == "At most 4 model calls at once"
    lanes, count, note = page.evaluate(laid_out, 200_000)
    assert lanes[1] == [[1e-6, 1 + 1e-6]]
    assert (count, note) == (2_000, "At most 200,000 model calls at once; the first 2,000 lanes are shown")


def test_a_run_that_goes_on_is_followed(visit: Callable[..., Any], tmp_path: Path) -> None:
    made, context = MadeUpRun(), log_lines(20_000)
    with TrajectoryWriter(tmp_path / "run.jsonl", context=context) as writer, Server(tmp_path / "run.jsonl") as server:
        writer(made.started("What goes on?", size=len(context)))
        first = list(made.turn(0, output=context[4_000:6_000]))
        for event in first[:4]:
            writer(event)
        page = visit(server.url)
        page.locator(".row.turn").first.wait_for()
        assert page.locator("header .state").inner_text() == "running"
        page.locator(".row.turn").first.click()
        page.get_by_text("It is running.").wait_for()
        page.locator("#q-unread .note").get_by_text("0 of its 20,000 characters").wait_for()
        for event in [*first[4:], *made.turn(1, output="the second output")]:
            writer(event)
        page.get_by_text("It is running.").wait_for(state="detached")
        page.locator("#q-unread .note").get_by_text("2,000 of its 20,000 characters").wait_for()
        page.locator(".row.turn").nth(1).click()
        page.locator(".detail").get_by_text("the second output").first.wait_for()
        assert page.locator("#q-evidence .value").inner_text() == "not yet"
        writer(made.finished("all"))
        page.locator("header .tag.answered").wait_for()
        page.locator("#q-evidence .note").get_by_text("it made no calls").wait_for()


def test_whatever_a_log_holds_is_only_text(visit: Callable[..., Any], tmp_path: Path) -> None:
    made = MadeUpRun()
    calls = (*made.call(HOSTILE, HOSTILE, 0), *made.failed_call(HOSTILE, 0))
    turn = made.turn(0, code=f"x = '''{HOSTILE}'''\n# {HOSTILE}", output=HOSTILE, calls=calls, answer=HOSTILE)
    log = tmp_path / "run.jsonl"
    with TrajectoryWriter(log, context={HOSTILE: f"{HOSTILE} and more of it"}) as writer:
        for event in (made.started(HOSTILE), *turn, made.finished(HOSTILE)):
            writer(event)
    with Server(tmp_path) as server:
        for url in (server.url, f"{server.url}#file=run.jsonl", exported(log)):
            page = visit(url)
            page.get_by_text("<img src=x onerror=").first.wait_for()
            if "file" in url:
                page.locator(".row.turn").click()
                page.locator(".detail .control").first.wait_for()
                page.locator(".subcalls summary").first.click()
                page.locator(".subcalls .reply .text").wait_for()
                assert HOSTILE[:40] in page.locator(".subcalls .reply .text").inner_text()
                page.locator("#q-unread").click()
                page.locator(".detail .span").get_by_text("context[").first.wait_for()
                page.locator("#q-evidence").click()
                page.locator(".detail .span").get_by_text("context[").first.wait_for()
                page.locator(".row.turn").click()
                page.locator(".detail h2").get_by_text("Turn 1").wait_for()
                page.keyboard.press("/")
                page.keyboard.type("<script>window")
                page.locator(".found").filter(has_text="hit").wait_for()
                page.locator("mark").get_by_text("<script>window", exact=True).first.wait_for()
                page.keyboard.press("Escape")
            assert page.evaluate("window.hacked") is None
            assert page.locator("img").count() == 0
            assert page.locator("script").count() == 2


def test_a_hundred_thousand_events_open_scroll_and_search(visit: Callable[..., Any], tmp_path: Path) -> None:
    log = large(tmp_path / "run.jsonl", 100_000)
    with Server(log) as server:
        page = visit(server.url)
        page.locator("#q-calls .value").get_by_text("50,025").wait_for()
        page.keyboard.press("j")
        page.keyboard.press("l")
        page.keyboard.press("G")
        assert "turn 25" in selected(page)
        page.keyboard.press("l")
        page.keyboard.press("G")
        assert "slow down" in selected(page)
        assert page.locator(".row").count() < 100
        page.locator(".detail").get_by_text("rate_limit").first.wait_for()
        page.keyboard.press("/")
        page.keyboard.type("count 17-1234")
        page.locator(".found").get_by_text("1 hit", exact=True).wait_for()
        page.keyboard.press("Escape")
        page.keyboard.press("t")
        page.get_by_text("At most").wait_for()


def test_an_exported_page_works_from_a_file_without_any_network(visit: Callable[..., Any], run_file: Path) -> None:
    url = exported(run_file)
    page = visit(url, offline=True)
    page.locator(".row.turn").first.wait_for()
    page.locator(".row.turn").nth(0).click()
    page.locator(".detail").get_by_text("Output").first.wait_for()
    assert json.loads(page.evaluate("JSON.stringify(performance.getEntriesByType('resource').length)")) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_nothing_runs_off_the_side_in_light_and_dark_wide_and_narrow(
    visit: Callable[..., Any], run_file: Path, scheme: str, width: int, height: int
) -> None:
    page = visit(exported(run_file), viewport={"width": width, "height": height}, color_scheme=scheme)
    page.locator(".row.turn").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(17, 21, 27)") == (scheme == "dark")
    page.locator(".row.turn").nth(2).click()
    page.locator(".detail .code").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".detail .code").is_visible()
