"""Measure this library beside the reference (`rlms` on PyPI) and the bare SDK, against one local LM server.

    python benchmarks/run.py [--only ROW] [--repeat 3] [--reference-python PATH]

The server is a process of its own and its ceiling is printed. Without `--reference-python` a virtual environment with
`rlms` is made in benchmarks/.venv-rlms (this needs PyPI once). Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "src"
IMPORT = """
import json, sys, time
import asyncio
begun = time.perf_counter()
import rlm
seconds = time.perf_counter() - begun
sdks = [name for name in ("openai", "anthropic", "google.genai") if name in sys.modules]
print(json.dumps({"seconds": seconds, "sdks": sdks}))
"""


class Failure(Exception):
    """A measured program failed."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table."""

    what: str
    ours: str
    other: str
    ratio: str
    target: str
    met: bool | None
    """`None`: there is no target."""


Work = tuple[str, ...]
"""An interpreter and what it is given to run."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    url: str
    reference: Path
    repeat: int

    def best(self, *works: Work, times: int | None = None) -> list[dict[str, Any]]:
        """The figures of the fastest run of each; they take turns, so that a busy machine is busy for all of them."""
        rounds = [[measure(python, *command) for python, *command in works] for _ in range(times or self.repeat)]
        return [min(runs, key=lambda figures: float(figures.get("seconds", 0))) for runs in zip(*rounds, strict=True)]

    def ours(self, *work: object) -> Work:
        return (sys.executable, str(HERE / "workload.py"), str(work[0]), self.url, *map(str, work[1:]))

    def theirs(self, *work: object) -> Work:
        return (str(self.reference), *self.ours(*work)[1:])

    def raw(self, *work: object) -> Work:
        return (sys.executable, str(HERE / "raw.py"), str(work[0]), self.url, *map(str, work[1:]))


def measure(python: str, *command: str) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    if python == sys.executable:
        environment["PYTHONPATH"] = str(SOURCE)
    done = subprocess.run([python, *command], capture_output=True, text=True, env=environment, timeout=900, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise Failure(
            f"{' '.join(map(str, command))} under {python} failed:\n{done.stdout[-500:]}{done.stderr[-3000:]}"
        )
    figures: dict[str, Any] = json.loads(lines[-1])
    return figures


def imports(bench: Bench) -> Iterator[Line]:
    ours, theirs = bench.best((sys.executable, "-c", IMPORT), (str(bench.reference), "-c", IMPORT), times=9)
    yield Line(
        what="`import rlm` beyond `import asyncio`",
        ours=ms(ours["seconds"]) + (f", imports {ours['sdks']}" if ours["sdks"] else ", no SDK"),
        other=ms(theirs["seconds"]),
        ratio=fold(theirs["seconds"] / ours["seconds"]),
        target="≤ 25 ms, no SDK",
        met=ours["seconds"] <= 0.025 and not ours["sdks"],
    )


def turns(bench: Bench) -> Iterator[Line]:
    works = (bench.ours("loop", 50), bench.ours("loop", 200), bench.theirs("loop", 50), bench.theirs("loop", 200))
    few, ours, their_few, theirs = bench.best(*works)
    ratio = theirs["cpu"] / ours["cpu"]
    yield Line(
        what="200 turns, LM latency 0: CPU of the process, per turn",
        ours=ms(ours["cpu"] / 200),
        other=ms(theirs["cpu"] / 200),
        ratio=fold(ratio),
        target="≥ 20×",
        met=ratio >= 20 and ours["right"],
    )
    yield beside(
        "200 turns: wall clock, the server's time in it, per turn", ours["seconds"] / 200, theirs["seconds"] / 200
    )
    growth = ours["cpu"] / few["cpu"] / 4
    yield Line(
        what="CPU per turn, 200 turns over 50 (the messages grow 4×)",
        ours=fold(growth),
        other=fold(theirs["cpu"] / their_few["cpu"] / 4),
        ratio="",
        target="≤ 4×",
        met=growth <= 4,
    )


def batch(bench: Bench) -> Iterator[Line]:
    works = [bench.raw(name, 1000, 100) for name in ("create", "create_aiohttp", "post_aiohttp", "bare")]
    ours, create, *others = bench.best(bench.ours("fan", 1000, 100), *works)
    theirs = bench.best(bench.theirs("fan", 1000, 100), times=1)
    ratio = create["seconds"] / ours["seconds"]
    yield Line(
        what="1,000 batched sub-calls of 50 ms, 100 at once; beside it `gather` over the SDK's `create`",
        ours=f"{ours['seconds']:.2f} s" + ("" if ours["right"] else " WRONG"),
        other=f"{create['seconds']:.2f} s",
        ratio=fold(ratio),
        target="≥ 2.5×",
        met=ratio >= 2.5 and ours["right"],
    )
    yield beside("CPU of the process in it, a call; beside it `create`", ours["cpu"] / 1000, create["cpu"] / 1000)
    names = ("`create` over aiohttp", "`post` over aiohttp", "bare aiohttp", "`rlms`, 16 at once")
    for name, figures in zip(names, others + theirs, strict=True):
        yield beside(f"the same batch, beside {name}", ours["seconds"], figures["seconds"])


def beside(what: str, ours: float, other: float) -> Line:
    """A line without a target."""
    return Line(what=what, ours=ms(ours), other=ms(other), ratio=fold(other / ours), target="", met=None)


def big(bench: Bench) -> Iterator[Line]:
    works = (
        bench.ours("first", 100, "local"),
        bench.ours("first", 100, "process"),
        bench.theirs("first", 100, "local"),
    )
    *places, theirs = bench.best(*works)
    for ours, environment, seconds, growth in zip(places, ("local", "process"), (0.15, 0.5), (1.2, 3.0), strict=True):
        yield Line(
            what=f"100 MB of text, call to first request, `{environment}`",
            ours=ms(ours["seconds"]),
            other=ms(theirs["seconds"]),
            ratio=fold(theirs["seconds"] / ours["seconds"]),
            target=f"< {seconds:g} s",
            met=ours["seconds"] < seconds and ours["right"],
        )
        yield Line(
            what=f"its memory over the size of the `str` (which is 1), `{environment}`",
            ours=f"{ours['growth']:.2f}",
            other=f"{theirs['growth']:.2f}",
            ratio=fold(theirs["growth"] / ours["growth"]),
            target=f"≤ {growth:g}",
            met=ours["growth"] <= growth,
        )


def many(bench: Bench) -> Iterator[Line]:
    ours, theirs = bench.best(bench.ours("many", 100, 5), bench.theirs("many", 100, 5))
    ratio = theirs["seconds"] / ours["seconds"]
    yield Line(
        what="100 completions of 5 turns at once, one process (the reference in threads)",
        ours=f"{ours['seconds']:.2f} s, {ours['answers_right']} right",
        other=f"{theirs['seconds']:.2f} s, {theirs['answers_right']} right",
        ratio=fold(ratio),
        target="≥ 8×, all right",
        met=ratio >= 8 and ours["right"],
    )
    yield beside("CPU of the process in it, a turn", ours["cpu"] / 500, theirs["cpu"] / 500)


def cell(bench: Bench) -> Iterator[Line]:
    program = str(HERE / "cells.py")
    works = [(sys.executable, program, "local"), (sys.executable, program, "process")]
    local, process, theirs, bare = bench.best(
        *works, (str(bench.reference), program, "reference"), (sys.executable, program, "interpreter")
    )
    for name, ours, limit in (("local", local, 0.0003), ("process", process, 0.001)):
        yield Line(
            what=f"one cell `x = 1`, `{name}`",
            ours=ms(ours["cell"]),
            other=ms(theirs["cell"]),
            ratio=fold(theirs["cell"] / ours["cell"]),
            target=f"< {ms(limit)}",
            met=ours["cell"] < limit,
        )
    yield beside("session ready, `local`", local["ready"], theirs["ready"])
    yield Line(
        what="session ready, `process`; beside it a bare `python -S -c pass`",
        ours=ms(process["ready"]),
        other=ms(bare["ready"]),
        ratio=fold(bare["ready"] / process["ready"]),
        target="< 60 ms",
        met=process["ready"] < 0.06,
    )


ROWS: dict[str, Callable[[Bench], Iterator[Line]]] = {
    function.__name__: function for function in (imports, turns, batch, big, many, cell)
}


def ms(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def fold(ratio: float) -> str:
    return f"{ratio:.2g}×" if ratio < 10 else f"{ratio:.0f}×"


@contextmanager
def serving() -> Iterator[str]:
    environment = dict(os.environ, PYTHONPATH=str(SOURCE))
    command = [sys.executable, str(HERE / "server.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            if not url:
                raise Failure("the LM server did not start")
            yield url
        finally:
            process.terminate()


def reference_python(given: Path | None) -> Path:
    if given is not None:
        return given
    home = HERE / ".venv-rlms"
    python = home / "bin" / "python"
    if not python.exists():
        print(f"making {home.name} with rlms from PyPI", file=sys.stderr)
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "rlms"], check=True)
    return python


def about(reference: Path) -> str:
    code = "import importlib.metadata as m; print('rlms', m.version('rlms'), 'on openai', m.version('openai'))"
    theirs = subprocess.run([reference, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("openai", "aiohttp"))
    commit = subprocess.run(
        ["git", "-C", str(HERE), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    return (
        f"{date.today()}, commit {commit}, {machine}, Python {platform.python_version()}, {versions}; beside {theirs}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=ROWS, help="a row; may be given more than once")
    parser.add_argument("--repeat", type=int, default=3, help="runs of a measurement; the fastest counts (default 3)")
    parser.add_argument("--reference-python", type=Path, help="an interpreter that has rlms")
    options = parser.parse_args()
    reference = reference_python(options.reference_python)
    print(about(reference), end="\n\n")
    with serving() as url:
        bench = Bench(url=url, reference=reference, repeat=options.repeat)
        seconds = bench.best(bench.raw("ceiling", 3000, 100))[0]["seconds"]
        rate = f"{3000 / seconds:,.0f} requests/s"
        print(f"The server's ceiling, without latency, 100 connections of bare aiohttp: {rate}\n")
        print("| what | here | beside | ratio | target | met |\n|---|---|---|---|---|---|", flush=True)
        failed = False
        for name in options.only or ROWS:
            try:
                for line in ROWS[name](bench):
                    met = "" if line.met is None else "yes" if line.met else "**no**"
                    cells = (line.what, line.ours, line.other, line.ratio, line.target, met)
                    print(f"| {' | '.join(cells)} |", flush=True)
            except Failure as error:
                print(f"{name}: {error}", file=sys.stderr)
                failed = True
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
