"""A run that was killed goes on where it stopped: at every record, and inside records."""

from __future__ import annotations

import json
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import containers
from journal.program import Scene, journal_of
from rlm.types import Usage


def recorded(data: bytes) -> Counter[str]:
    """What whole records there are, by kind."""
    return Counter(json.loads(line)["type"] for line in data.splitlines(keepends=True)[1:] if line.endswith(b"\n"))


def paid(usage: Usage) -> tuple[int, int, int]:
    return usage.calls, usage.input_tokens, usage.output_tokens


def boundaries(data: bytes) -> list[int]:
    ends, at = [0], 0
    for line in data.splitlines(keepends=True):
        at += len(line)
        ends.append(at)
    return ends


def scene_in(environment: str) -> Scene:
    if environment == "docker":  # whose children would each start a container
        return Scene(containers.create("docker")(), max_depth=1)
    return Scene(environment)


def resume_after(data: bytes, folder: Path, environment: str) -> tuple[Scene, str, Usage, tuple[str, ...]]:
    """The same call again where a kill left that much of the journal."""
    folder.mkdir(parents=True)
    journal_of(folder).write_bytes(data)
    scene = scene_in(environment)
    result = scene.run(checkpoint=folder)
    return scene, result.response, result.usage_summary.total, result.divergences


@pytest.mark.parametrize(
    ("environment", "points"),
    [
        ("local", 130),
        ("process", 50),
        pytest.param("docker", 50, marks=pytest.mark.needs("docker engine")),
    ],
)
def test_a_run_killed_anywhere_ends_as_if_it_had_not_been_and_pays_for_nothing_twice(
    environment: str, points: int, tmp_path: Path
) -> None:
    whole = scene_in(environment)
    first = whole.run(checkpoint=tmp_path / "whole")
    data = journal_of(tmp_path / "whole").read_bytes()
    chance = random.Random(environment)
    ends = boundaries(data)
    inside = chance.sample(range(len(data)), 50)
    all_points = sorted({*ends, *inside})
    cuts = sorted(chance.sample(all_points, min(points, len(all_points))))
    assert len(cuts) >= 50
    with ThreadPoolExecutor(1 if environment == "local" else 3) as pool:
        resumed = list(pool.map(lambda cut: resume_after(data[:cut], tmp_path / str(cut), environment), cuts))
    for cut, (scene, response, usage, divergences) in zip(cuts, resumed, strict=True):
        kept = recorded(data[:cut])
        assert response == first.response, f"killed after byte {cut}"
        assert divergences == ()
        replies = kept["reply"] + kept["failure"]
        assert scene.asked == whole.asked - replies, f"killed after byte {cut}"
        assert len(scene.store.calls) == len(whole.store.calls) - stores(data[:cut])
        assert paid(usage) == paid(first.usage_summary.total)
        assert usage.reused == kept["reply"]


def stores(data: bytes) -> int:
    lines = [json.loads(line) for line in data.splitlines(keepends=True)[1:] if line.endswith(b"\n")]
    return sum(line["type"] == "tool" and line["tool"] == "store" for line in lines)


def test_a_run_killed_again_and_again_ends_with_a_journal_that_replays(tmp_path: Path) -> None:
    first = Scene().run(checkpoint=tmp_path / "whole")
    size = journal_of(tmp_path / "whole").stat().st_size
    path = journal_of(tmp_path / "piecewise")
    for kept in range(size // 8, size, size // 8):
        assert Scene().run(checkpoint=path.parent).response == first.response
        path.write_bytes(path.read_bytes()[:kept])  # killed there
    assert Scene().run(checkpoint=path.parent).response == first.response
    replayed = Scene()
    assert replayed.run(replay=path).response == first.response
    assert (replayed.asked, replayed.store.calls) == (0, [])


def test_a_finished_run_is_answered_out_of_its_journal(tmp_path: Path) -> None:
    first = Scene().run(checkpoint=tmp_path)
    again = Scene()
    second = again.run(checkpoint=tmp_path)
    assert (second.response, again.asked, again.store.calls) == (first.response, 0, [])
    assert second.usage_summary.total.reused == second.usage_summary.total.calls
