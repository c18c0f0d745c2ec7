"""One question to one RLM, from the command line: live view, answer, and how it ended."""

from __future__ import annotations

import json
import shlex
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NoReturn

from rlm import RLM, Completion, RLMLogger
from rlm.cli import exits
from rlm.cli.terminal import deliver, say, watched
from rlm.errors import JournalError, RLMError
from rlm.live import LiveView, summary


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a command wants run. `options` go to `RLM` as they are."""

    context: object = field(repr=False)
    question: str | None
    options: Mapping[str, Any]
    log: str | None = None
    live: bool = True
    debug: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended. `completion` is the whole result, or the partial one that an error carries."""

    completion: Completion | None
    error: BaseException | None
    log: str | None
    checkpoint: str | None = None
    """The directory of a run that can be gone on with: it began, and failed, not for its journal, or was forced."""

    @property
    def code(self) -> int:
        if self.error is not None:
            return exits.exit_code(self.error)
        return exits.FORCED if self.completion is not None and self.completion.status == "forced" else exits.ANSWERED

    @property
    def partial(self) -> str | None:
        return self.error.partial_answer if isinstance(self.error, RLMError) else None


def execute(run: Run, prepare: Callable[[], None] | None = None) -> Outcome:
    """Run it, after `prepare` once its options are known to be right. Every failure is in the outcome; with `debug` its
    traceback is on stderr."""
    logger: RLMLogger | None = None
    completion: Completion | None = None
    error: BaseException | None = None
    try:
        with terminated_as_interrupted(), LiveView(answers=False) as view:
            logger = RLMLogger(log_dir=run.log) if run.log else None
            rlm = RLM(**run.options, logger=logger, observers=[view] if run.live else [])
            if prepare is not None:
                prepare()
            with rlm:
                completion = rlm.completion(run.context, run.question)
    except (RLMError, KeyboardInterrupt) as caught:
        error = caught
    except Exception as caught:  # a fault of ours must still read as one line
        error = caught
    if error is not None and run.debug:
        traceback.print_exception(error)
    if isinstance(error, RLMError) and completion is None:
        completion = error.result
    if error is None:  # a model that ran no code would be given the same replies again
        unfinished = completion is not None and completion.status == "forced" and completion.limit != "idle"
    else:
        unfinished = completion is not None and not isinstance(error, JournalError)
    kept = run.options.get("checkpoint") if unfinished else None
    return Outcome(completion=completion, error=error, log=logger.log_file_path if logger else None, checkpoint=kept)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM stops a run as Ctrl-C does, so that no sandbox outlives us."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def report(outcome: Outcome, *, as_json: bool = False, quiet: bool = False) -> int:
    """The answer on stdout; on stderr how it ended, unless it ended well and nobody watches. Gives the exit code."""
    completion = outcome.completion
    answer = outcome.partial
    if as_json:
        answer = json.dumps(as_data(outcome), ensure_ascii=True, default=repr)
    elif outcome.error is None and completion is not None:
        # A forced answer that is empty is none: the limit was reached before there was any.
        answer = completion.response or (None if outcome.code == exits.FORCED else "")
    # An empty answer is one; a partial one that is empty tells nothing.
    delivered = deliver(answer) if answer or (outcome.error is None and answer is not None) else True
    seen = watched() and not quiet
    if seen and completion is not None:
        say(f"{completion.status if outcome.error is None else 'partial'} · " + summary(completion.trajectory))
    if seen and outcome.log:
        say(f"trajectory: {outcome.log}")
    if outcome.error is not None:
        where = "stdout" if delivered else "stderr"
        kept = f" (partial answer on {where}{', trajectory kept' if outcome.log else ''})" if outcome.partial else ""
        say(f"rlm: {exits.error_line(outcome.error)}{kept}")
    elif outcome.code == exits.FORCED and completion is not None:
        why = exits.forced_by(completion.limit)
        best = "; this is the best answer at hand" if completion.response else " before there was any answer"
        say(f"rlm: forced: {why}{best}")
    if outcome.checkpoint is not None:
        say(f"rlm: what was answered is kept: `rlm resume {shlex.quote(outcome.checkpoint)}` goes on from there")
    return outcome.code if delivered or outcome.error is not None else exits.FAILED


def as_data(outcome: Outcome) -> dict[str, Any]:
    """The outcome as JSON-able values."""
    data: dict[str, Any] = {"exit_code": outcome.code}
    if outcome.error is not None:
        data["error"] = {"type": type(outcome.error).__name__, "message": exits.error_line(outcome.error)}
        data["partial_answer"] = outcome.partial
    completion = outcome.completion
    if completion is not None:
        if outcome.error is None:
            data |= {"response": completion.response, "value": carried(completion.value)}
            data |= {"status": completion.status, "limit": completion.limit}
        total = completion.usage_summary.total
        data["model"] = completion.root_model
        data["seconds"] = round(completion.execution_time, 3)
        data["usage"] = completion.usage_summary.to_dict()
        data["tokens"] = total.total_tokens
        data["dollars"] = total.cost
    if outcome.log:
        data["trajectory"] = outcome.log
    return data


def carried(value: object) -> object:
    """A value that JSON gives back as it was, else None: a tuple would be a list, a number as a key a text."""
    try:
        exact = json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError, RecursionError):
        return None
    return value if exact else None
