"""The environment conformance suite: what code in a cell may rely on, checked over any `Environment`.

Needs no pytest; in a pytest file it is used like this::

    @pytest.mark.parametrize("promise", promises(Traits()), ids=str)
    def test_my_environment_keeps_the_promise(promise):
        check(promise, create, Traits())

`create(**environment_kwargs)` makes the environment and takes at least `cell_timeout`, `cell_grace` and `setup_code`.
`pytest.register_assert_rewrite("rlm.testing.conformance")`, before the import, makes failures show more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rlm.protocols import Environment
from rlm.testing.conformance import (  # noqa: F401 - importing a room adds its promises
    answers,
    calls,
    endings,
    errors,
    failures,
    finding,
    flow,
    limits,
    names,
    namespace,
    output,
    runs,
    sessions,
    streams,
    text,
    tools,
    turns,
)
from rlm.testing.conformance._bench import PROMISES, Bench, Promise, Repl, ScriptedHost, Traits

__all__ = ["Bench", "Promise", "Repl", "ScriptedHost", "Traits", "check", "promises"]


def promises(traits: Traits) -> list[Promise]:
    """The promises that apply to an environment of these traits, in the order of the contract."""
    return sorted((p for p in PROMISES if p.applies(traits)), key=lambda p: p.number)


def check(promise: Promise, create: Callable[..., Environment], traits: Traits) -> None:
    """Hold an environment to one promise.

    Raises:
        AssertionError: the promise is broken.
        TimeoutError: it did not come to an end within `traits.deadline` seconds.
    """

    async def run() -> None:
        async with asyncio.timeout(traits.deadline):
            await promise.check(Bench(create, traits))

    asyncio.run(run())
