"""`rlm resume`: what `rlm ask --checkpoint` was asked is kept beside the journal, so that a killed run can be gone on
with from anywhere."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rlm import ConfigurationError
from rlm.cli.running import Run

FILE: Final = "ask.json"
JOURNAL: Final = "journal.jsonl"


def save(folder: str, run: Run) -> None:
    """Keep what is asked; where a run has begun, what it was asked stays, and its journal refuses another."""
    path = Path(folder) / FILE
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and path.with_name(JOURNAL).exists():
            return
        options = {name: value for name, value in run.options.items() if name != "checkpoint"}
        data = json.dumps({"context": run.context, "question": run.question, "options": options})
        new = path.with_name(f"{FILE}.new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # inputs may be private
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(data)
        os.replace(new, path)
    except OSError as error:
        raise ConfigurationError(f"--checkpoint: cannot use {folder}: {error.strerror or error}") from error


def load(folder: str, changes: Mapping[str, Any], *, log: str | None, live: bool, debug: bool) -> Run:
    """The run that was begun there, its limits changed as given."""
    path = Path(folder) / FILE
    try:
        data = json.loads(path.read_text("ascii"))
        context, question, options = data["context"], data["question"], dict(data["options"])
    except FileNotFoundError:
        raise ConfigurationError(
            f"there is no run of `rlm ask --checkpoint` in {folder}; "
            "one begun by a program goes on when the program makes the same call again"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error
    options |= {name: value for name, value in changes.items() if value is not None}
    return Run(
        context=context,
        question=question,
        options={**options, "checkpoint": folder},
        log=log,
        live=live,
        debug=debug,
    )
