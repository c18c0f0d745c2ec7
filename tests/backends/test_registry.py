"""A file's name is its registration; other packages add theirs by entry points."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rlm import registry
from rlm.errors import ConfigurationError

REFERENCE = ("openai", "vllm", "openrouter", "vercel", "portkey", "anthropic", "gemini", "azure_openai")


def test_every_backend_of_the_reference_is_there() -> None:
    assert set(REFERENCE) <= set(registry.backend_names())
    assert "local" in registry.environment_names()


def test_no_private_file_is_a_name() -> None:
    assert not [name for name in (*registry.backend_names(), *registry.environment_names()) if name.startswith("_")]
    for private in ("_callable", "_openai_compatible"):
        with pytest.raises(ConfigurationError):
            registry.backend(private)


@pytest.mark.parametrize(
    ("wrong", "near"), [("opnai", "openai"), ("Anthropic", "anthropic"), ("open_router", "openrouter")]
)
def test_an_unknown_backend_is_told_with_the_nearest_and_all_there_are(wrong: str, near: str) -> None:
    with pytest.raises(ConfigurationError, match=f"did you mean '{near}'") as caught:
        registry.backend(wrong)
    assert all(name in str(caught.value) for name in registry.backend_names())


def test_an_unknown_environment_is_told_with_all_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown environment 'moon'.*local"):
        registry.environment("moon")


@pytest.mark.parametrize("name", ["", "..", "openai.x", "os", "a b"])
def test_no_name_reaches_outside_its_folder(name: str) -> None:
    with pytest.raises(ConfigurationError):
        registry.backend(name)


def test_looking_for_names_imports_no_sdk() -> None:
    code = """
import sys
from rlm import registry
registry.backend_names(), registry.environment_names()
for name in registry.backend_names():
    registry.backend(name)
print([m for m in ("openai", "anthropic", "google.genai", "aiohttp", "httpx2", "genai_prices") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=110, check=True)
    assert done.stdout == "[]\n"


def installed(folder: Path, package: str, entries: str) -> None:
    """A package on disk as an installer leaves it: a module and its metadata."""
    (folder / f"{package}.py").write_text("def create(**kwargs):\n    return kwargs\n")
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entries)


def seen(folder: Path, code: str) -> str:
    program = f"import sys; sys.path.insert(0, sys.argv[1])\nfrom rlm import registry\n{code}"
    command = [sys.executable, "-c", program, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=True).stdout


def test_a_package_adds_a_backend_and_an_environment(tmp_path: Path) -> None:
    installed(tmp_path, "acme", "[rlm.backends]\nacme = acme\n[rlm.environments]\nmoon = acme:create\n")
    out = seen(
        tmp_path,
        "print(registry.backend('acme')(model_name='m'), registry.environment('moon')(a=1))\n"
        "print('acme' in registry.backend_names(), 'moon' in registry.environment_names())",
    )
    assert out == "{'model_name': 'm'} {'a': 1}\nTrue True\n"


@pytest.mark.parametrize("name", ["openai", "openrouter"])
def test_a_name_that_is_taken_is_an_error_that_names_both(tmp_path: Path, name: str) -> None:
    installed(tmp_path, "acme", f"[rlm.backends]\n{name} = acme\n")
    out = seen(
        tmp_path,
        f"try: registry.backend({name!r})\nexcept registry.ConfigurationError as error: print(error)",
    )
    assert "registered 2 times" in out
    assert "acme" in out
    assert "rlm/backends/" in out


def test_two_packages_with_one_name_are_an_error_that_names_both(tmp_path: Path) -> None:
    installed(tmp_path, "acme", "[rlm.backends]\nmine = acme\n")
    installed(tmp_path, "bolt", "[rlm.backends]\nmine = bolt\n")
    out = seen(tmp_path, "try: registry.backend('mine')\nexcept registry.ConfigurationError as error: print(error)")
    assert "of acme" in out
    assert "of bolt" in out


def test_a_registration_without_create_is_an_error_that_says_so(tmp_path: Path) -> None:
    installed(tmp_path, "acme", "[rlm.backends]\nmine = json\n")
    out = seen(tmp_path, "try: registry.backend('mine')\nexcept registry.ConfigurationError as error: print(error)")
    assert "no function create()" in out
