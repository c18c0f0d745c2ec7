"""A package of somebody else's: its environment and backend are found by their entry points and keep the promises."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "examples" / "third_party"
MODULES = ("rlm_offline.py", "rlm_shouting.py")
SAMPLE = "two_sessions or setup_code or await_works or worker_that_dies or overlap or tool_of_the_host or 20- or 24-"
"""Some promises of each kind: the whole suite takes a minute."""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory with the package as pip would have installed it."""
    folder = tmp_path / "site"
    folder.mkdir()
    for module in MODULES:
        shutil.copy(PACKAGE / module, folder)
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text("utf-8"))["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", "utf-8"
    )
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups), "utf-8")
    return folder


def python(site: Path, *arguments: str) -> str:
    """The output of an interpreter that has the package."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=site,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT / "src")])},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_environment_and_its_backend_are_used_by_name(site: Path) -> None:
    code = """
import asyncio
from rlm import RLM, registry
from rlm.types import Message

assert {"offline", "local"} <= set(registry.environment_names())
assert {"shouting", "openai"} <= set(registry.backend_names())

def model(messages):
    return "```repl\\nimport os\\nFINAL([context.upper(), os.getcwd().rpartition('-')[0]])\\n```"

rlm = RLM(backend=model, environment="offline", environment_kwargs={"command": ["nice"], "cell_timeout": 30})
print(rlm.completion("a context").response)
client = registry.backend("shouting")(model_name="loud")
print(asyncio.run(client.complete([Message("user", "quiet?")])).text)
"""
    output = python(site, "-c", code)
    assert "A CONTEXT" in output
    assert "rlm" in output
    assert output.endswith("QUIET?\n")


def test_what_it_is_not_given_properly_is_an_error_that_names_it(site: Path) -> None:
    code = """
from rlm import RLM
from rlm.errors import ConfigurationError, SetupError

def model(messages):
    return "never asked"

for kwargs in ({"cell_timeout": -1}, {"colour": "red"}):
    try:
        RLM(backend=model, environment="offline", environment_kwargs=kwargs)
    except ConfigurationError as error:
        print(error)
try:
    RLM(backend=model, environment="offline", environment_kwargs={"command": ["no-such-command"]}).completion("x")
except SetupError as error:
    print(error)
"""
    output = python(site, "-c", code)
    for word in ("cell_timeout", "colour", "there is no 'no-such-command' here: install it"):
        assert word in output


def test_doctor_finds_its_backend_working(site: Path) -> None:
    assert "ok  shouting" in python(site, "-m", "rlm", "doctor", "shouting")


def test_its_environment_keeps_the_promises(site: Path) -> None:
    tests = PACKAGE / "test_rlm_offline.py"
    output = python(
        site, *f"-m pytest -c {os.devnull} --rootdir {site} -q -p no:cacheprovider".split(), "-k", SAMPLE, str(tests)
    )
    assert int(output.rpartition(" passed")[0].split()[-1]) >= 20, output


@pytest.mark.skipif(
    subprocess.run(["sh", "-c", "unshare --map-root-user --net -- true"], capture_output=True, check=False).returncode
    != 0,
    reason="this system lets nobody make a network namespace",
)
def test_its_environment_has_no_network_by_default(site: Path) -> None:
    code = """
import asyncio
from rlm import registry

async def main():
    async with registry.environment("offline")().open() as session:
        await session.execute("import socket", None)
        cell = await session.execute("socket.if_nameindex()\\nsocket.create_connection(('127.0.0.1', 9))", None)
        print(cell.error.message)

asyncio.run(main())
"""
    output = python(site, "-c", code)
    assert "unreachable" in output.lower()


def test_the_page_for_contributors_shows_the_package_as_it_is() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    for name in (*MODULES, "test_rlm_offline.py"):
        assert f"```python\n{(PACKAGE / name).read_text('utf-8')}```" in page, name
    entries = (
        (PACKAGE / "pyproject.toml").read_text("utf-8").partition("[project.entry-points")[2].partition("\n[tool")[0]
    )
    assert f"```toml\n[project.entry-points{entries.rstrip()}\n```" in page


def test_the_environment_is_short() -> None:
    assert len((PACKAGE / "rlm_offline.py").read_text("utf-8").splitlines()) < 60
