"""The process environment with isolation="strict" under every attack that there is a list of."""

from __future__ import annotations

import asyncio
import functools
import re
import sys
from pathlib import Path

import pytest

from attacks.attacks import ALL, Attack
from attacks.kernel_attacks import KERNEL
from attacks.table import STOPPED
from attacks.target import withstands
from attacks.wire_attacks import WIRE
from rlm.environments import process
from rlm.errors import SetupError

create = functools.partial(process.create, isolation="strict")


@functools.cache
def missing() -> str:
    """Why this machine cannot have it."""
    try:
        asyncio.run(create().protections())
    except SetupError as exc:
        return str(exc)
    return ""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: no isolation elsewhere")
@pytest.mark.parametrize("attack", [*ALL, *KERNEL, *WIRE], ids=str)
def test_process_withstands_the_attempt_to(attack: Attack, tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(f"needs isolation of processes: {reason}")
    words = withstands(attack, create, tmp_path).words
    assert re.search(STOPPED[attack.name].seen, words), words[:5_000]
