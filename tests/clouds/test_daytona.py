"""The environment `daytona`, over the unmodified SDK and a fake that speaks its protocol."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clouds._venv import Inner
from clouds.cases import cases

pytestmark = pytest.mark.timeout(600)  # the first makes the SDK's virtual environment


@pytest.mark.parametrize("case", cases("daytona"))
def test_daytona_keeps_the_promise(case: str, cloud: Callable[[str], Inner]) -> None:
    problem = cloud("daytona").problem(case)
    assert not problem, problem
