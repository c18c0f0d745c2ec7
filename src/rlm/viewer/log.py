"""A trajectory file, read once from front to back and from there on as it grows; texts are read again when asked for.

What stays in memory is a short row per event and the place of its line, so that a million events open in seconds.
"""

from __future__ import annotations

import json
import os
import stat
import threading
from array import array
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any

from rlm.errors import TrajectoryError
from rlm.viewer.rows import Rows, row
from rlm.viewer.summary import Summary
from rlm.viewer.texts import Damaged, Resolver

DAMAGE = (Damaged, KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError, OverflowError)
"""What a record that is not as the format says makes of the code that reads it."""


Origin = tuple[int, str]


def _finite(written: str) -> float:
    """JSON knows no infinity, nor NaN, and a browser reads neither."""
    value = float(written)
    if not isfinite(value):
        raise Damaged(f"a number that is none: {written}")
    return value


_decoder = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)


class Log:
    """Reads as much as there is with `update`. `lock` makes it safe for threads.

    A damaged line is counted in `damaged` and left out: what can be seen of a broken file is worth seeing.

    Raises:
        TrajectoryError: its first line is not that of a trajectory that this version reads.
        OSError: it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.rows = Rows()
        self.summary = Summary()
        self.damaged: list[tuple[int, str]] = []
        self.unknown = 0
        """Records of a kind this version does not know."""
        self.torn = False
        self._offsets = array("Q")
        self._end = 0
        self._texts: dict[str, dict[str, tuple[Any, Origin]]] = {}
        self._children: dict[tuple[str, int], str] = {}
        self._references: dict[int, dict[str, Origin]] = {}
        self.lock = threading.RLock()
        """Held while rows and summary change; to be held by whoever reads them beside others."""
        if not stat.S_ISREG(os.stat(path).st_mode):  # one that ends when its writer does would be waited for
            raise OSError(f"{path} is no regular file")
        self.update(most=1)
        if not self._offsets:
            raise TrajectoryError(f"{path} {'is not a trajectory' if self.torn else 'is empty, not a trajectory'}")

    def update(self, most: int | None = None) -> bool:
        """Read what was added, at most so many lines; whether there was anything."""
        with self.lock, open(self.path, "rb") as file:
            file.seek(self._end)
            before = self._end
            self.torn = False
            for count, line in enumerate(file):
                if count == most:
                    break
                if not line.endswith(b"\n"):
                    # The writer's next write may complete it, unless it was killed.
                    self.torn = True
                    break
                self._offsets.append(self._end)
                self._end += len(line)
                self._take(line, len(self._offsets))
            return self._end > before

    def record(self, number: int) -> dict[str, Any]:
        """The record of a line (from 1), its texts resolved."""
        return self._resolver(number).record(self._parse(self._line(number)))

    def _resolver(self, number: int) -> Resolver:
        origins = self._references.get(number, {})
        return Resolver(lambda name: self._origin(*origins[name]))

    def lines(self) -> Iterator[tuple[int, bytes]]:
        with open(self.path, "rb") as file:
            for number in range(1, len(self._offsets) + 1):
                line = file.readline()
                if number > 1:
                    yield number, line

    @property
    def size(self) -> int:
        """Bytes read so far."""
        return self._end

    @property
    def line_count(self) -> int:
        return len(self._offsets)

    def _line(self, number: int) -> bytes:
        if not 1 < number <= len(self._offsets):
            raise IndexError(f"there is no line {number}")
        with open(self.path, "rb") as file:
            file.seek(self._offsets[number - 1])
            return file.readline()

    @staticmethod
    def _parse(line: bytes) -> dict[str, Any]:
        # The lines are ASCII; `json.loads` would take as long to find that out as to parse them.
        record, _ = _decoder.raw_decode(line.decode("utf-8"))
        if not (isinstance(record, dict) and isinstance(record.get("run"), str)):
            raise Damaged("no record of a run")
        return record

    def _take(self, line: bytes, number: int) -> None:
        if number == 1:
            _check_header(line, self.path)
            return
        try:
            record = self._parse(line)
            if record["type"] == "Context":
                child = record["run"]
                own = record.get("text") == {"same": "prompt"}
                record = self._resolve(record, line, number, child if own else child.rpartition("/")[0])
            elif record["type"] != "Coverage":
                record = self._resolve(record, line, number, record["run"])
                made = row(record, number)
                if made is None:
                    self.unknown += 1
                    return
                self._remember(record, number)
                self.rows.append(made)
            self.summary.add(record, number)
        except DAMAGE as error:
            self.damaged.append((number, f"{type(error).__name__}: {error}"[:200]))

    def _resolve(self, record: dict[str, Any], line: bytes, number: int, run: str) -> dict[str, Any]:
        known = self._texts.setdefault(run, {})
        used: dict[str, Origin] = {}

        def look_up(name: str) -> Any:
            value, origin = known[name]
            used.setdefault(name, origin)
            return value

        def submitted(name: str, written: Any) -> None:
            same = isinstance(written, dict) and "same" in written
            known[name] = known[str(written["same"])] if same else (Resolver(look_up).value(written), (number, name))

        if b'"same"' in line or b'"parts"' in line:
            record = Resolver(look_up, submitted).record(record)
            if used:
                self._references[number] = used
        elif record["type"] == "CellFinished":
            for name in ("answer", "draft"):
                if name in record["cell"]:
                    known[name] = (record["cell"][name], (number, name))
        return record

    def _remember(self, record: dict[str, Any], number: int) -> None:
        """Keeps what later records may name: `Memory` of the library's reader, with the place of each text."""
        run = record["run"]
        mine = self._texts[run]
        match record["type"]:
            case "ReplyReceived":
                for name in [name for name in mine if name.startswith("output ")]:
                    del mine[name]
                mine["reply"] = (record["reply"]["text"], (number, "reply"))
            case "CellFinished":
                mine[f"output {record['block']}"] = (record["cell"].get("output", ""), (number, "output"))
            case "CallStarted" if record.get("child") is not None:
                child = str(record["child"])
                self._children[run, record["call"]] = child
                self._texts.setdefault(child, {})["prompt"] = (record["prompt"], (number, "prompt"))
            case "CallFinished":
                child = self._children.pop((run, record["call"]), "")
                mine.pop(f"response {child}", None)
                self._texts.pop(child, None)
            case "RunFinished":
                del self._texts[run]
                parent = run.rpartition("/")[0]
                if parent in self._texts and record.get("response") is not None:
                    self._texts[parent][f"response {run}"] = (record["response"], (number, "response"))
            case _:
                pass

    def _origin(self, number: int, name: str) -> Any:
        """A text where it stands in full; only itself is resolved, because others of its record may refer to it."""
        record = self._parse(self._line(number))
        match name:
            case "reply":
                written = record["reply"]["text"]
            case "output" | "answer" | "draft":
                written = record["cell"].get(name, "")
            case _:
                written = record[name]
        return self._resolver(number).value(written)


def _check_header(line: bytes, path: Path) -> None:
    try:
        header = json.loads(line)
        known = header["format"], header["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        known = None, None
    if known[0] != "rlm-trajectory":
        raise TrajectoryError(f"{path} is not a trajectory")
    if known[1] != 1:
        raise TrajectoryError(f"{path}: format version {known[1]!r}; this library reads version 1")
