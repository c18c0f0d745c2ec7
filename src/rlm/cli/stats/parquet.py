"""The columns as a Parquet file, each with its type; the one file that imports arro3."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import arro3.io
from arro3.core import Array, DataType, Field, Schema, Table

from rlm.cli.stats.measure import Measured
from rlm.cli.stats.tables import COLUMNS, Kind, row

TYPES: Final[dict[Kind, DataType]] = {
    "text": DataType.utf8(),
    "time": DataType.timestamp("us", tz="UTC"),
    "whole": DataType.int64(),
    "number": DataType.float64(),
}
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def write_parquet(runs: Sequence[Measured], path: Path) -> None:
    """A line per run; what is not known is null.

    Raises:
        OSError: it cannot be written.
    """
    rows = [row(run) for run in runs]
    columns = [column([line[name] for line in rows], kind) for name, kind in COLUMNS.items()]
    schema = Schema([Field(name, TYPES[kind], nullable=True) for name, kind in COLUMNS.items()])
    written = io.BytesIO()  # where a file cannot be written, arro3 panics, which is no exception that one may catch
    arro3.io.write_parquet(Table.from_arrays(columns, schema=schema), written)
    path.write_bytes(written.getbuffer())


def column(values: Sequence[Any], kind: Kind) -> Array:
    if kind != "time":
        return Array(values, TYPES[kind])
    micro = [None if value is None else (value - EPOCH) // timedelta(microseconds=1) for value in values]
    return Array(micro, DataType.int64()).cast(TYPES[kind])
