"""The environment keeps every promise that code written by a model relies on."""

from typing import Any

import pytest

pytest.register_assert_rewrite("rlm.testing.conformance")

from rlm import registry  # noqa: E402
from rlm.protocols import Environment  # noqa: E402
from rlm.testing.conformance import Promise, Traits, check, promises  # noqa: E402

TRAITS = Traits()


@pytest.mark.parametrize("promise", promises(TRAITS), ids=str)
def test_offline_keeps_the_promise(promise: Promise) -> None:
    def create(**environment_kwargs: Any) -> Environment:
        # Any command that runs its arguments will do; this one is on every system.
        return registry.environment("offline")(command=("nice",), **environment_kwargs)

    check(promise, create, TRAITS)
