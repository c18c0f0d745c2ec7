"""The program that runs in the virtual environment of one SDK: the fake of its cloud on a thread, and one case after
another on the main one. Told their names, a line of JSON each, it answers with what was wrong.

With `live` as its second argument there is no fake: the cases run over the real cloud.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import logging
import os
import sys
import traceback
import warnings
from typing import Any

from clouds.cases import CASES
from rlm import registry
from rlm.testing import refuse_live_requests
from rlm.testing.conformance import Bench, Traits, check, promises

LOOP_THREADS = ("daytona", "prime")
"""Whose SDKs work in the event loop's own threads (`trust_env` of aiohttp, a cache in a file)."""


class Complaints(logging.Handler):
    """What goes wrong where nobody waits for it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def unraisable(self, event: Any) -> None:
        told = "".join(traceback.format_exception(event.exc_type, event.exc_value, event.exc_traceback))
        self.lines.append(f"{event.err_msg}: {event.object!r}\n{told}")


# What an SDK leaves behind of a call of its own that was cancelled, which nobody else can fetch, of an answer that it
# refused before all of it was there, and of a connection for events that was refused just as the SDK gave it up; what
# asyncio says of a fake's process that was reaped while twenty are started.
EXPECTED = (
    "ConnectError('Request was cancelled')",
    "Unclosed connection Connection<",
    "ConnectionError('One or more namespaces failed to connect: /')",
    "Unknown child process pid",
)


def main(name: str, live: bool) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    fake = None if live else start(name)
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", r"unread_data\(\) is deprecated")  # aiohttp's server warns of itself
    complaints = Complaints()
    logging.getLogger().addHandler(complaints)
    sys.unraisablehook = complaints.unraisable
    with contextlib.nullcontext() if fake is None else fake.running():
        if fake is not None:
            os.environ.update(fake.variables)
        for line in sys.stdin:
            complaints.lines.clear()
            problem = run(json.loads(line), name, fake)
            gc.collect()
            gc.freeze()  # what an SDK brings with it need not be looked through again and again
            for complaint in complaints.lines:
                if any(words in complaint for words in EXPECTED):
                    continue
                problem += f"\nsaid where nobody listens: {complaint}"
            print(json.dumps(problem), file=answers, flush=True)


def start(name: str) -> Any:
    refuse_live_requests()
    fake = importlib.import_module(f"clouds.fake_{name}").Fake()
    fake.name = name
    return fake


def run(case: str, name: str, fake: Any) -> str:
    create = registry.environment(name)
    traits = Traits(loop_threads=name in LOOP_THREADS)
    try:
        if case in CASES:
            asyncio.run(CASES[case].check(Bench(create, traits), fake))
        else:
            check(next(p for p in promises(traits) if str(p) == case), create, traits)
        left = [machine.members() for machine in fake.living()]
        return f"sandboxes were left behind, with the processes {left}" if left else ""
    except BaseException:
        return traceback.format_exc()
    finally:
        if fake is not None:
            fake.clear()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] == ["live"])
