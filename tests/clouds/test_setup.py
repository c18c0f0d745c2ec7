"""Environments over a cloud can be configured anywhere; what is missing is told at the first session."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clouds._venv import MissingError, python, variables
from rlm import RLM, registry
from rlm.errors import ConfigurationError

OPEN = """
import asyncio, sys
from rlm import registry
from rlm.errors import SetupError

async def main():
    async with registry.environment(sys.argv[1])().open():
        raise AssertionError("there is nothing to open it with")

if sys.argv[2] == "no SDK":
    sys.modules[{"prime": "prime_sandboxes"}.get(sys.argv[1], sys.argv[1])] = None
try:
    asyncio.run(main())
except SetupError as error:
    print(error)
"""
TOKENS = {
    "modal": "set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET",
    "e2b": "set E2B_API_KEY",
    "daytona": "set DAYTONA_API_KEY",
    "prime": "set PRIME_API_KEY",
}


def said(interpreter: Path | str, cloud: str, lacks: str, home: Path) -> str:
    command = [str(interpreter), "-W", "error", "-c", OPEN, cloud, lacks]
    environment = {**variables(), "HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=home, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("cloud", sorted(TOKENS))
def test_a_missing_sdk_is_told_at_the_first_session(cloud: str, tmp_path: Path) -> None:
    assert f'pip install "rlm[{cloud}]"' in said(sys.executable, cloud, "no SDK", tmp_path)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("cloud", sorted(TOKENS))
def test_a_missing_key_is_told_at_the_first_session(cloud: str, tmp_path: Path) -> None:
    try:
        interpreter = python(cloud)
    except MissingError as exc:
        pytest.skip(f"needs the SDK of {cloud}: {exc}")
    assert TOKENS[cloud] in said(interpreter, cloud, "no key", tmp_path)


def test_the_samples_of_the_mission_page_construct_without_any_sdk() -> None:
    rlm = RLM(
        backend="openai",
        backend_kwargs={"model_name": "gpt-5-mini"},
        environment="modal",
        environment_kwargs={"app_name": "my-rlm-app", "timeout": 600},
    )
    rlm.close()


@pytest.mark.parametrize(
    ("cloud", "wrong"),
    [
        ("modal", {"timeout": 0}),
        ("modal", {"timeout": "600"}),
        ("modal", {"app_name": ""}),
        ("modal", {"cell_timeout": -1}),
        ("e2b", {"timeout": 1.5}),
        ("e2b", {"timeout": True}),
        ("e2b", {"cell_grace": 0}),
        ("daytona", {"timeout": 0}),
        ("daytona", {"cpu": 0}),
        ("daytona", {"memory": 1.5}),
        ("daytona", {"disk": True}),
        ("daytona", {"auto_stop_interval": -1}),
        ("daytona", {"ttl_minutes": None}),
        ("daytona", {"name": ""}),
        ("prime", {"timeout_minutes": 0}),
        ("prime", {"docker_image": None}),
        ("prime", {"name": 5}),
    ],
)
def test_wrong_values_are_found_when_it_is_configured(cloud: str, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        registry.environment(cloud)(**wrong)


@pytest.mark.parametrize("cloud", sorted(TOKENS))
def test_an_unknown_keyword_is_a_configuration_error(cloud: str) -> None:
    with pytest.raises(ConfigurationError, match="color"):
        RLM(model="openai/m", environment=cloud, environment_kwargs={"color": "red"})
