"""What the page knows of every event at once: one short row each, a JSON list. Texts are fetched later.

`KIND` names the columns; static/model.js reads them by place.
"""

from __future__ import annotations

import json
from typing import Any, Final

from rlm.viewer.texts import Damaged, preview

KIND = {
    "RunStarted": "R line run time depth model question context_type context_size environment",
    "TurnStarted": "T line run time turn",
    "ReplyReceived": "P line run time turn seconds tokens_in tokens_out dollars finish preview",
    "Compacted": "K line run time turn seconds tokens_in tokens_out dollars preview",
    "CellStarted": "C line run time turn block preview",
    "CellFinished": "D line run time turn block seconds error output_size answered preview",
    "CallStarted": "S line run time call turn kind model child preview",
    "CallFinished": "F line run time call seconds tokens_in tokens_out dollars error preview waited",
    "TurnFinished": "E line run time turn seconds",
    "LimitApproached": "L line run time limit used allowed booked waiting",
    "Warned": "W line run time text",
    "RunFinished": "Z line run time status limit error seconds preview",
}


BLOCK: Final = 1_000
DEEPEST: Final = 100
LARGEST: Final = 2**63
"""JSON has integers that no float can hold."""
LATEST: Final = 253_402_300_799  # the end of the year 9999


class Rows:
    """Rows as JSON text, which takes a fifth of the memory and is what is sent."""

    def __init__(self) -> None:
        self._blocks: list[str] = []
        self._last: list[list[Any]] = []

    def __len__(self) -> int:
        return BLOCK * len(self._blocks) + len(self._last)

    def append(self, made: list[Any]) -> None:
        self._last.append(made)
        if len(self._last) == BLOCK:
            self._blocks.append(dumped(self._last))
            self._last = []

    def json(self, begin: int, most: int) -> tuple[str, int]:
        """The rows from a number on as a JSON list, at most about so many; the number of the next."""
        if begin < 0 or begin > len(self):
            raise IndexError(begin)
        first = begin // BLOCK
        blocks = self._blocks[first : first + max(1, most // BLOCK)]
        end = (first + len(blocks)) * BLOCK
        if begin % BLOCK and blocks:
            rest = json.loads(blocks[0])[begin % BLOCK :]
            blocks[0] = dumped(rest) if rest else ""
        if end - begin < most and first + len(blocks) == len(self._blocks):
            last = self._last[max(0, begin - end) :]
            blocks.append(dumped(last) if last else "")
            end += len(self._last)
        return "[" + ",".join(block[1:-1] for block in blocks if block) + "]", end


def dumped(rows: list[list[Any]]) -> str:
    return json.dumps(rows, separators=(",", ":"))


def row(record: dict[str, Any], line: int) -> list[Any] | None:
    """The row of a record whose texts are resolved; `None` for a kind this version does not know.

    The page trusts what is in a row: numbers are numbers, a child's path lies below its parent's.
    """
    kind = record["type"]
    if kind not in KIND:
        return None
    run = record["run"]
    if run.count("/") > DEEPEST or not 0 <= number(record["time"]) <= LATEST:
        raise Damaged("deeper or later than any run")
    start = [KIND[kind][0], line, run, record["time"]]
    match kind:
        case "RunStarted":
            question = record.get("question")
            asked = None if question is None else preview(question, 300)
            context = [str(record["context_type"]), number(record["context_size"]), str(record["environment"])]
            return [*start, number(record["depth"]), str(record["model"]), asked, *context]
        case "TurnStarted":
            return [*start, number(record["turn"])]
        case "ReplyReceived":
            reply = record["reply"]
            head = [number(record["turn"]), number(record["seconds"]), *usage(reply["usage"])]
            return [*start, *head, str(reply.get("finish", "stop")), preview(reply["text"])]
        case "Compacted":
            reply = record["reply"]
            head = [number(record["turn"]), number(record["seconds"]), *usage(reply["usage"])]
            return [*start, *head, preview(reply["text"])]
        case "CellStarted":
            return [*start, number(record["turn"]), number(record["block"]), preview(record["code"])]
        case "CellFinished":
            cell = record["cell"]
            head = [number(record["turn"]), number(record["block"]), number(cell.get("seconds", 0.0))]
            rest = [number(cell.get("output_size", 0)), "answer" in cell, preview(cell.get("output", ""))]
            return [*start, *head, cell_error(cell), *rest]
        case "CallStarted":
            child = record.get("child")
            if child is not None and child.rpartition("/")[0] != run:
                raise Damaged("a child that is not the run's own")
            who = [one_of(record["kind"], "llm", "rlm"), str(record["model"]), child]
            return [*start, number(record["call"]), number(record["turn"]), *who, preview(record["prompt"])]
        case "CallFinished":
            reply, error = record.get("reply"), failure(record.get("error"))
            said = error if reply is None else preview(reply["text"])
            head = [number(record["call"]), number(record["seconds"]), *usage(record["usage"])]
            return [*start, *head, error, said, number(record.get("waited", 0.0))]
        case "TurnFinished":
            return [*start, number(record["turn"]), number(record["seconds"])]
        case "LimitApproached":
            numbers = [number(record["used"]), number(record["allowed"]), number(record.get("booked", 0))]
            return [*start, preview(record["limit"]), *numbers, record.get("waiting") is True]
        case "Warned":
            return [*start, preview(record["text"], 200)]
        case _:
            status, limit = one_of(record.get("status"), None, "answered", "forced"), record.get("limit")
            end = [None if limit is None else preview(limit), failure(record.get("error")), number(record["seconds"])]
            return [*start, status, *end, preview(record.get("response"), 300)]


def number(value: Any) -> float:
    if type(value) in (int, float) and abs(value) < LARGEST:
        found: float = value
        return found
    raise Damaged(f"expected a number, found {type(value).__name__}")


def one_of(value: Any, *known: str | None) -> str | None:
    if (value is None or isinstance(value, str)) and value in known:
        return value
    raise Damaged("a word that is none of those expected")


def usage(counts: dict[str, Any]) -> list[float | None]:
    """Tokens in and out, and dollars: `None` where any of it is not known."""
    if not all(type(count) in (int, float) for count in counts.values()):
        raise Damaged("usage is counted in numbers")
    tokens: list[float | None] = [counts.get("input_tokens", 0), counts.get("output_tokens", 0)]
    if counts.get("unmetered"):
        tokens = [None, None]
    return [*tokens, None if counts.get("unpriced") else counts.get("dollars", 0.0)]


def cell_error(cell: dict[str, Any]) -> str | None:
    error = cell.get("error")
    if error is not None:
        return preview(f"{error['type']}: {preview(error['message'], 200)}", 200)
    return "it ran out of time" if cell.get("timed_out") else None


def failure(error: Any) -> str | None:
    """An error of two texts, kind and message, as one."""
    return None if error is None else preview(f"{preview(error[0])}: {preview(error[1], 200)}", 200)
