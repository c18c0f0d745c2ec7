"""One run as one file: the page with the log inside, which opens from anywhere and asks nobody."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from rlm.viewer.evidence import evidence_in
from rlm.viewer.log import DAMAGE, Log
from rlm.viewer.page import page

LARGEST: Final = 100_000_000
"""Bytes of a log up to which an export holds its texts whole; of a larger one each text keeps a beginning."""
KEPT: Final = 2_000


def export(log_path: str | os.PathLike[str], page_path: str | os.PathLike[str], *, largest: int = LARGEST) -> None:
    """Write the page of one trajectory file.

    Raises:
        TrajectoryError: it is no trajectory.
        OSError: it cannot be read, or the page cannot be written.
    """
    log = Log(log_path)
    if os.path.exists(page_path) and os.path.samefile(log_path, page_path):
        raise FileExistsError(f"{page_path} is the log itself: give the page another name")
    log.update()
    whole = log.path.stat().st_size <= largest
    records: dict[int, Any] = {}
    for number in range(2, log.line_count + 1):
        try:
            records[number] = log.record(number)
        except DAMAGE:
            continue  # counted in log.damaged, and shown on the page
    data = {
        "file": log.path.name,
        "summary": log.summary.to_dict(),
        "state": state(log),
        "evidence": evidence_in(log),
        "rows": json.loads(log.rows.json(0, len(log.rows) + 1)[0]),
        "records": records if whole else {number: shortened(record) for number, record in records.items()},
        "shortened": None if whole else KEPT,
    }
    Path(page_path).write_bytes(page(data))


def state(log: Log) -> dict[str, Any]:
    """What is to be said of the file itself."""
    return {"damaged": len(log.damaged), "first_damage": log.damaged[0] if log.damaged else None, "torn": log.torn}


def shortened(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= KEPT else value[:KEPT] + "…"
    if isinstance(value, list):
        return [shortened(item) for item in value[:KEPT]]
    if isinstance(value, dict):
        return {key: shortened(item) for key, item in value.items()}
    return value
