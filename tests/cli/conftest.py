"""The command run inside the test's own process: the same entry point, but the SDKs are imported once for all tests."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from command_line import environment
from rlm.cli.command import cli
from rlm.testing import LMServer


@dataclass(frozen=True)
class Ended:
    """What a process would have left."""

    returncode: int
    stdout: bytes
    stderr: bytes


@pytest.fixture
def rlm(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """`rlm("ask", "?", server=…, cwd=…)` is the command with those arguments."""

    def run(*arguments: str, server: LMServer | None = None, cwd: Path | None = None) -> Ended:
        wanted = environment(server)
        for name in os.environ.keys() - wanted.keys():
            monkeypatch.delenv(name)
        for name, value in wanted.items():
            monkeypatch.setenv(name, value)
        with contextlib.chdir(cwd or Path.cwd()), pytest.raises(SystemExit) as ended:
            cli.main(arguments, prog_name="rlm")
        stdout, stderr = capfdbinary.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Ended(code, stdout, stderr)

    return run
