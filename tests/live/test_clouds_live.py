"""The same cases as over the fakes, over the real clouds. Costs money: some hundred sandboxes, for seconds each.

    E2B_API_KEY=… make test ARGS="-m live tests/live -k e2b"

Not selected without `-m live`; a cloud without its key in the environment is skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from clouds._venv import KEYS, Inner, MissingError, python
from clouds.cases import cases

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]


@pytest.fixture(scope="session")
def live() -> Iterator[Callable[[str], Inner]]:
    inners: dict[str, Inner] = {}

    def get(cloud: str) -> Inner:
        if missing := [name for name in KEYS[cloud] if not os.environ.get(name)]:
            pytest.skip(f"needs the account of {cloud}: {' and '.join(missing)} not set")
        try:
            python(cloud)
        except MissingError as exc:
            pytest.skip(f"needs the SDK of {cloud}: {exc}")
        return inners.setdefault(cloud, Inner(cloud, live=True))

    yield get
    for inner in inners.values():
        inner.close()


@pytest.mark.parametrize(
    ("cloud", "case"), [(cloud, case) for cloud in KEYS for case in cases(cloud, live=True)], ids=lambda value: value
)
def test_the_real_cloud_keeps_the_promise(cloud: str, case: str, live: Callable[[str], Inner]) -> None:
    problem = live(cloud).problem(case)
    assert not problem, problem
