"""The environment `e2b`, over the unmodified SDK and a fake that speaks its protocol."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clouds._venv import Inner
from clouds.cases import cases

pytestmark = pytest.mark.timeout(600)  # the first makes the SDK's virtual environment


@pytest.mark.parametrize("case", cases("e2b"))
def test_e2b_keeps_the_promise(case: str, cloud: Callable[[str], Inner]) -> None:
    problem = cloud("e2b").problem(case)
    assert not problem, problem
