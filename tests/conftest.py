"""What every test runs under: no live provider request, and no suite that silently did not run."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from typing import Any, NoReturn

import pytest

pytest.register_assert_rewrite("rlm.testing.conformance")  # its assertions show what they compared

from rlm.testing import LMServer, refuse_live_requests  # noqa: E402

refuse_live_requests()
# A shell has what it starts in the background ignore these two, and so would all that is started from here.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def _container_engine(name: str) -> str | None:
    import containers

    return containers.missing(name)


def _gemini() -> str | None:
    return None if find_spec("google") and find_spec("google.genai") else "google-genai is not installed"


def _browser() -> str | None:
    if not find_spec("playwright"):
        return "playwright is not installed"
    return None if shutil.which("chromium") else "there is no chromium: make browser"


NEEDS: dict[str, Callable[[], str | None]] = {
    "docker engine": partial(_container_engine, "docker"),
    "podman": partial(_container_engine, "podman"),
    "google-genai": _gemini,
    "browser": _browser,
}
"""What a machine may lack: name → why it is not there, `None` when it is."""
_missing: dict[str, str | None] = {}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores: many tests wait for an engine, a fake cloud or a time limit."""
    return (os.cpu_count() or 1) + 1


def pytest_configure(config: pytest.Config) -> None:
    names = ", ".join(NEEDS)
    config.addinivalue_line(
        "markers", f"needs(name): not run, and said so at the end, where the machine lacks it ({names})"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        name = str(marker.args[0])
        if name not in _missing:
            _missing[name] = NEEDS[name]()
        if reason := _missing[name]:
            _not_run(name, reason)


@pytest.fixture
def not_run() -> Callable[[str, str], NoReturn]:
    """`not_run("what it needs", "why it is not here")` ends a test that finds out while it runs."""
    return _not_run


@pytest.fixture
def lm_server() -> Iterator[Callable[..., LMServer]]:
    """`lm_server(script, latency=…)` starts a local LM server that stops with the test."""
    with ExitStack() as stack:

        def start(*args: Any, **options: Any) -> LMServer:
            return stack.enter_context(LMServer(*args, **options))

        yield start


def _not_run(name: str, reason: str) -> NoReturn:
    pytest.skip(f"needs {name}: {reason}")


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def _skipped(session: pytest.Session) -> Counter[str]:
    """Reasons of all that was skipped, however it was: whoever calls `pytest.skip` is named here too."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter is not None else []
    return Counter(_reason(report.longrepr) for report in reports)


def _reason(longrepr: object) -> str:
    return str(longrepr[2] if isinstance(longrepr, tuple) else longrepr).removeprefix("Skipped: ")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    passed = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    if _in_ci() and passed and _skipped(session):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    session = terminalreporter._session
    skipped = _skipped(session) if session is not None else Counter()
    if not skipped:
        return
    terminalreporter.section("not run", red=_in_ci(), yellow=not _in_ci())
    for reason, tests in sorted(skipped.items()):
        terminalreporter.write_line(f"not run: {reason} ({tests} test{'s' * (tests != 1)})")
    if _in_ci():
        terminalreporter.write_line("CI is set: what was not run is a failure")
