"""The docker environment under every attack that there is a list of."""

from __future__ import annotations

from pathlib import Path

import pytest

import containers
from attacks.attacks import ALL, Attack
from attacks.target import withstands
from attacks.wire_attacks import WIRE


@pytest.mark.needs("docker engine")
@pytest.mark.parametrize("attack", [*ALL, *WIRE], ids=str)
def test_docker_withstands_the_attempt_to(attack: Attack, tmp_path: Path) -> None:
    withstands(attack, containers.create("docker"), tmp_path)
