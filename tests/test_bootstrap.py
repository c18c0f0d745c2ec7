"""Setting up the checkout: what `tools/bootstrap.py` asks for, from where, and that it trusts one wheel of pip only."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "tools" / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def index(folder: Path, name: str, content: bytes) -> str:
    """A package index as a folder; its URL."""
    (folder / "pip").mkdir()
    (folder / "pip" / "index.html").write_text(f'<a href="../files/{name}#sha256=abc">{name}</a>')
    (folder / "files").mkdir()
    (folder / "files" / name).write_bytes(content)
    return folder.as_uri()


def test_each_level_asks_for_its_dependency_groups(bootstrap: ModuleType) -> None:
    assert bootstrap.requirements("run") == []
    assert any(r.startswith("pytest") for r in bootstrap.requirements("test"))
    assert not any(r.startswith("mypy") for r in bootstrap.requirements("test"))
    assert set(bootstrap.requirements("docs")) < set(bootstrap.requirements("test"))
    assert set(bootstrap.requirements("test")) < set(bootstrap.requirements("dev"))


def test_everything_that_is_asked_for_has_a_fixed_version(bootstrap: ModuleType) -> None:
    import re
    import tomllib

    project = tomllib.loads(bootstrap.PYPROJECT.read_text())["project"]
    fixed = {line.partition("==")[0].lower() for line in bootstrap.CONSTRAINTS.read_text().splitlines() if "==" in line}
    asked = [*project["dependencies"], *bootstrap.requirements("dev")]
    assert {re.split(r"[\[><=!~;\s]", requirement)[0].lower() for requirement in asked} <= fixed


@pytest.mark.parametrize(
    "fixed", [ROOT / "tools" / "constraints.txt", *sorted((ROOT / "tests" / "clouds").glob("*.txt"))]
)
def test_every_fixed_version_runs_on_the_first_python_that_we_promise(fixed: Path) -> None:
    """Debian's Python is 3.11.2; a later one installs what that one refuses. Looks at what is installed."""
    versions = {line.strip() for line in fixed.read_text().splitlines() if "==" in line}
    venv = Path(sys.prefix) if fixed.stem == "constraints" else ROOT / ".venvs" / fixed.stem
    found = {
        f"{distribution.name}=={distribution.version}": str(distribution.metadata.get("Requires-Python") or "")
        for distribution in distributions(path=[str(folder) for folder in venv.glob("lib/python*/site-packages")])
    }
    refused = {name: asks for name, asks in found.items() if name in versions and "3.11.0" not in SpecifierSet(asks)}
    assert refused == {}


def test_pip_is_fetched_from_the_index_that_pip_would_use(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_INDEX_URL", "PIP_CONFIG_FILE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".config" / "pip").mkdir(parents=True)
    (tmp_path / ".config" / "pip" / "pip.conf").write_text("[global]\nindex-url = https://mirror.example/simple/\n")
    assert bootstrap.index_url() == "https://mirror.example/simple/"
    monkeypatch.setenv("PIP_INDEX_URL", "https://other.example/simple")
    assert bootstrap.index_url() == "https://other.example/simple"


def test_a_wheel_that_is_not_the_one_we_know_is_refused(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index(tmp_path, bootstrap.PIP_WHEEL, b"not pip"))
    with pytest.raises(bootstrap.BootstrapError, match="sha256"):
        bootstrap.fetch_pip()


def test_an_index_without_the_wheel_is_named(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index(tmp_path, "pip-1.0.tar.gz", b""))
    with pytest.raises(bootstrap.BootstrapError, match="PIP_INDEX_URL"):
        bootstrap.fetch_pip()


def test_an_index_that_cannot_be_reached_is_an_error_that_says_what_to_set(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "nowhere").as_uri())
    with pytest.raises(bootstrap.BootstrapError, match="PIP_INDEX_URL"):
        bootstrap.fetch_pip()


def test_the_script_runs_on_any_python_it_may_meet_and_refuses_a_level_it_does_not_know() -> None:
    done = subprocess.run(
        [sys.executable, "-I", ROOT / "tools" / "bootstrap.py", "everything"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "run|docs|test|dev" in done.stderr
