"""The evidence of a log's answer, for the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rlm.evidence import evidence
from rlm.viewer.log import DAMAGE, Log
from rlm.viewer.texts import plain


def evidence_in(log: Log) -> dict[str, Any]:
    """`found`: the replies that hold the answer, as `rlm.evidence` has them, each with its line of the file."""
    lines: dict[tuple[str, int], int] = {}

    def replies() -> Iterator[tuple[str, int, str]]:
        for number, line in log.lines():
            # A line begins with its type: most need not be parsed.
            if line.startswith(b'{"type":"CallFinished"') and b'"reply":{' in line:
                try:
                    record = log.record(number)
                    said = record["run"], int(record["call"]), plain(record["reply"]["text"])
                except DAMAGE:
                    continue
                lines[said[:2]] = number
                yield said

    found = evidence(plain(log.summary.answer), replies())
    if found is None:
        return {"answer": False, "found": [], "calls": 0, "more": 0}
    passages = [
        {"line": lines[p.run, p.call], "run": p.run, "call": p.call, "how": p.how, "pieces": p.pieces}
        for p in found.found
    ]
    return {"answer": True, "found": passages, "calls": found.calls, "of": found.pieces, "more": found.more}
