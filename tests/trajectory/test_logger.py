"""`RLMLogger` and `VerbosePrinter`: many runs at once, clear errors at the start, nothing raw on a terminal."""

from __future__ import annotations

import gc
import io
import threading
from pathlib import Path

import pytest

from rlm.delivery import failure_text
from rlm.errors import ConfigurationError
from rlm.events import Event, RunStarted, Warned
from rlm.logger import RLMLogger, VerbosePrinter, printable
from rlm.logger.rlm_logger import begin
from rlm.trajectory import read
from trajectory.runs import MadeUpRun, kept, log_lines, small_run


def test_each_completion_gets_a_file_of_its_own_named_after_time_and_run(tmp_path: Path) -> None:
    logger = RLMLogger(log_dir=tmp_path / "deep" / "er", file_name="mine")
    for run in ("aaaa", "bbbb"):
        for event in small_run(run):
            logger(event)
        assert logger.log_file_path is not None
        assert read(logger.log_file_path).runs == (run,)
    names = sorted(path.name for path in (tmp_path / "deep" / "er").iterdir())
    assert len(names) == 2
    assert all(name.startswith("mine_2") for name in names)
    assert {name[-11:] for name in names} == {"_aaaa.jsonl", "_bbbb.jsonl"}


def test_runs_at_once_are_written_apart_from_twenty_threads_and_interleaved(tmp_path: Path) -> None:
    logger = RLMLogger(log_dir=str(tmp_path))
    runs = {f"run{n:04d}": small_run(f"run{n:04d}") for n in range(40)}
    together = threading.Barrier(20)

    def play(pair: list[list[Event]]) -> None:
        together.wait(timeout=30)
        for events in zip(*pair, strict=True):
            for event in events:
                logger(event)

    pairs = [list(runs.values())[n : n + 2] for n in range(0, 40, 2)]
    threads = [threading.Thread(target=play, args=(pair,)) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    written = {trajectory.runs[0]: trajectory.events for trajectory in map(read, tmp_path.iterdir())}
    assert written == {run: kept(events) for run, events in runs.items()}


def test_the_context_given_when_a_run_opens_is_used_for_its_prompts(tmp_path: Path) -> None:
    logger = RLMLogger(log_dir=tmp_path)
    context = log_lines(100_000)
    made, child = MadeUpRun("aaaa"), MadeUpRun("aaaa/0", depth=1)
    logger.open_run("aaaa", "")
    logger.open_run("aaaa", context)
    logger(made.started())
    logger.open_run("aaaa/0", context[50_000:])
    for event in (child.started(), *child.call(context[60_000:80_000], "ok"), made.finished()):
        logger(event)
    (path,) = tmp_path.iterdir()
    trajectory = read(path)
    (call,) = trajectory.calls()
    assert call.started.prompt == "⟦context[10000:30000]⟧"
    assert trajectory.expand(call.started.prompt, context) == context[60_000:80_000]


def test_secrets_of_a_run_stay_out_of_its_file(tmp_path: Path) -> None:
    logger = RLMLogger(log_dir=tmp_path)
    logger.open_run("a1b2c3d4", "abc", secrets=["sk-very-secret-key"])
    for event in (MadeUpRun().started("sk-very-secret-key"), *MadeUpRun().turn(1, output="sk-very-secret-key")):
        logger(event)
    logger.close_run("a1b2c3d4")
    (path,) = tmp_path.iterdir()
    assert b"sk-very" not in path.read_bytes()
    assert b"******************" in path.read_bytes()


def test_without_a_directory_nothing_is_written_and_the_latest_run_is_at_hand() -> None:
    logger = RLMLogger()
    assert (logger.get_trajectory(), logger.iteration_count, logger.log_file_path) == (None, 0, None)
    for run in ("aaaa", "bbbb"):
        for event in small_run(run):
            logger(event)
    trajectory = logger.get_trajectory()
    assert trajectory is not None
    assert trajectory["run_metadata"]["max_iterations"] == 30
    assert logger.iteration_count == 3
    assert list(Path.cwd().glob("rlm_*")) == []
    logger.clear_iterations()
    assert logger.get_trajectory() is None


def test_a_logger_used_for_long_holds_only_its_last_run() -> None:
    logger = RLMLogger()
    for number in range(50):
        for event in small_run(f"held{number}"):
            logger(event)
    del event
    gc.collect()
    held = {event.run for event in gc.get_objects() if isinstance(event, RunStarted) and event.run.startswith("held")}
    assert held == {"held49"}


def test_runs_of_one_path_at_once_or_in_one_second_are_written_apart(tmp_path: Path) -> None:
    logger = RLMLogger(log_dir=tmp_path)
    events = small_run()
    observers = [begin(logger, "a1b2c3d4", "abc", ()) for _ in range(3)]
    for event in events:
        for observer in observers:
            observer(event)
    for event in events:
        logger(event)
    assert [read(path).events for path in tmp_path.iterdir()] == [kept(events)] * 4


def test_of_two_runs_of_one_path_the_end_of_the_first_leaves_the_other_s_file_open(tmp_path: Path) -> None:
    logger = RLMLogger(log_dir=tmp_path)
    events = small_run()
    first = begin(logger, "a1b2c3d4", "abc", ())
    for event in events:
        first(event)
    second = begin(logger, "a1b2c3d4", "abc", ())
    second(events[0])
    first.close_run("a1b2c3d4")  # as its RLM does when its observers have ended
    for event in events[1:]:
        second(event)
    assert [read(path).events for path in tmp_path.iterdir()] == [kept(events)] * 2


def test_a_log_that_cannot_be_written_any_more_is_told_of_as_the_logger_s() -> None:
    text = failure_text(begin(RLMLogger(), "a1b2c3d4", "abc", ()), OSError("no space left"))
    assert text.startswith("the observer RLMLogger raised OSError: no space left")


def test_a_directory_that_cannot_be_written_is_an_error_at_construction(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for log_dir in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        with pytest.raises(ConfigurationError, match="log_dir"):
            RLMLogger(log_dir=log_dir)
    for name in ("", "a/b", "../x"):
        with pytest.raises(ConfigurationError, match="file_name"):
            RLMLogger(log_dir=tmp_path, file_name=name)


def test_a_directory_that_went_away_is_an_error_when_the_run_opens(tmp_path: Path) -> None:
    logger = RLMLogger(log_dir=tmp_path / "logs")
    (tmp_path / "logs").rmdir()
    with pytest.raises(ConfigurationError, match="log_dir: cannot create"):
        logger.open_run("aaaa", "context")


def test_a_run_s_name_cannot_lead_out_of_the_directory(tmp_path: Path) -> None:
    logger = RLMLogger(log_dir=tmp_path / "logs")
    logger.open_run("..\\..", "context")
    logger(MadeUpRun("..\x00").started())
    logger.close_run("..\\..")
    logger.close_run("..\x00")
    assert len(list((tmp_path / "logs").iterdir())) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


def test_events_after_the_end_open_no_second_file(tmp_path: Path) -> None:
    logger = RLMLogger(log_dir=tmp_path)
    for event in small_run():
        logger(event)
    logger(Warned(run="a1b2c3d4", depth=0, time=1.0, text="late"))
    logger.open_run("a1b2c3d4/7", "late child")
    logger.close_run("a1b2c3d4")
    (path,) = tmp_path.iterdir()
    assert read(path).events == kept(small_run()) or len(read(path).events) == len(kept(small_run()))


def printed(events: list[Event], **options: bool) -> str:
    stream = io.StringIO()
    printer = VerbosePrinter(stream=stream, **options)
    for event in events:
        printer(event)
    return stream.getvalue()


def test_a_run_is_printed_with_turns_code_output_calls_usage_and_answer() -> None:
    text = printed(small_run())
    for piece in (
        "run a1b2c3d4: openai/root, local, context: 3 characters of str",
        "── turn 2 ──",  # the made-up run's `turn=1`: they are counted from 1 as the model is told them
        "  code 1:\n    print(len(context))",
        "  output:\n    3\n",
        "→ llm call 1 to openai/sub, 11 characters: count these",
        "← call 1: three (120 + 30 tokens, $0.0010, 0.5 s)",
        "← call 2 failed: rate_limit: slow down (tokens unknown, $0.0000, 0.1 s)",
        "  error:\n      File \"<cell 1>\", line 1\n    KeyError: 'k'",
        "  names lost: x",
        "  answer:\n    3\n  360 + 90 tokens, $0.0030, 9.5 s",
    ):
        assert piece in text


def test_a_failed_run_is_printed_as_failed() -> None:
    text = printed([MadeUpRun().finished(None, error=("BudgetExceededError", "spent $2"))])
    assert text.startswith("run failed: BudgetExceededError: spent $2\n")


def test_a_disabled_printer_prints_nothing() -> None:
    assert printed(small_run(), enabled=False) == ""


def test_nothing_that_steers_a_terminal_is_printed_raw() -> None:
    evil = (
        "".join(map(chr, [*range(32), *range(127, 160), 0x202E, 0x2066, 0x200F, 0x2028, 0xFEFF, 0xD800, 0xE0041]))
        + "end"
    )
    made = MadeUpRun(f"a{evil}", depth=1)
    events: list[Event] = [
        made.started(evil),
        *made.turn(1, code=evil, output=evil, calls=tuple(made.call(evil, evil))),
        Warned(run="a", depth=0, time=1.0, text=evil),
        made.finished(evil),
        made.finished(None, error=(evil, evil)),
    ]
    text = printed(events)
    assert "\\x1b" in text
    assert "\\u202e" in text
    assert "\\ud800" in text
    assert {c for c in text if not (c.isprintable() or c in "\n\t")} == set()
    assert printable("plain\r\n\ttext ä 😀") == "plain\n\ttext ä 😀"


def test_a_stream_of_a_narrow_encoding_is_printed_to_all_the_same() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    VerbosePrinter(stream=stream)(MadeUpRun().started("naïve 😀"))
    assert b"na\\xefve \\U0001f600" in raw.getvalue()


def test_lines_of_children_and_of_runs_at_once_say_whose_they_are() -> None:
    ours, theirs, child = MadeUpRun("aaaa"), MadeUpRun("bbbb"), MadeUpRun("aaaa/0", depth=1)
    text = printed(
        [ours.started(), child.started(), theirs.started(), ours.finished("ours"), theirs.finished("theirs")]
    )
    assert "\n  [aaaa/0] run aaaa/0" in text
    assert "\n[bbbb] run bbbb" in text
    assert "\n[aaaa]     ours\n" in text
    assert "\n  360" not in text


def test_printers_of_several_programs_parts_tell_their_runs_apart_on_one_stream() -> None:
    stream = io.StringIO()
    ours, theirs = VerbosePrinter(stream=stream), VerbosePrinter(stream=stream)
    one, other = MadeUpRun("aaaa"), MadeUpRun("bbbb")
    ours(one.started())
    theirs(other.started())
    ours(one.finished("ours"))
    theirs(other.finished("theirs"))
    ours(one.started())
    assert "\n[bbbb] run bbbb" in stream.getvalue()
    assert "\n[aaaa]   answer:\n[aaaa]     ours\n" in stream.getvalue()
    assert "\n[bbbb]     theirs\n" in stream.getvalue()
    assert stream.getvalue().rpartition("run aaaa")[0].endswith("9.5 s\n")
