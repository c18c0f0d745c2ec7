"""The container engines that the tests may use, as `tools/engine.py` finds them."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from rlm.environments import docker

ROOT = Path(__file__).parents[1]


@functools.cache
def found() -> dict[str, str | None]:
    command = [sys.executable, "-I", str(ROOT / "tools" / "engine.py"), "find"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    engines: dict[str, str | None] = json.loads(answer.stdout)
    if engines.get("docker"):
        os.environ["DOCKER_HOST"] = str(engines["docker"])
    return engines


def missing(name: str) -> str | None:
    """Why there is no such engine; None when there is."""
    return found().get(f"no {name}")


def create(name: str) -> Callable[..., docker.DockerEnvironment]:
    """`docker.create` for that engine and the image that is made for the tests."""
    engine = "docker" if name == "docker" else str(found()[name])
    return functools.partial(docker.create, engine=engine, image=str(found()["image"]))
