"""Every environment keeps the promises of the REPL contract, and the suite that says so notices broken ones."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

import containers
from rlm.environments import ipython, local, process
from rlm.protocols import Environment, Host, Session
from rlm.testing.conformance import Promise, Traits, check, promises
from rlm.types import UNSET, Cell

LOCAL = Traits(in_process=True)
PROCESS = Traits()
CONTAINER = Traits(deadline=110)
# These look at all that this process has open, or at its environment: nothing else may run beside them.
ALONE = ("a_closed_session_leaves_no_process", "opening_that_is_cancelled", "the_hosts_streams_and_directory")
# What depends on the engine: processes, signals, streams and ends. The rest is the same kernel in the same worker.
ENGINES_OWN = ("endings", "limits", "sessions", "streams", "text")


@pytest.mark.parametrize("promise", promises(LOCAL), ids=str)
def test_local_keeps_the_promise(promise: Promise) -> None:
    check(promise, local.create, LOCAL)


@pytest.mark.parametrize("promise", promises(PROCESS), ids=str)
def test_process_keeps_the_promise(promise: Promise) -> None:
    check(promise, process.create, PROCESS)


@pytest.mark.parametrize("promise", promises(PROCESS), ids=str)
def test_ipython_keeps_the_promise(promise: Promise) -> None:
    check(promise, ipython.create, PROCESS)


def in_containers(*, alone: bool, rooms: tuple[str, ...] = ("",)) -> list[Promise]:
    found = [p for p in promises(CONTAINER) if p.check.__module__.endswith(rooms)]
    return [p for p in found if p.check.__name__.startswith(ALONE) is alone]


@pytest.mark.needs("docker engine")
@pytest.mark.parametrize("promise", in_containers(alone=False), ids=str)
def test_docker_keeps_the_promise(promise: Promise, ahead: Ahead) -> None:
    ahead.check(promise, "docker")


@pytest.mark.needs("podman")
@pytest.mark.parametrize("promise", in_containers(alone=False, rooms=ENGINES_OWN), ids=str)
def test_podman_keeps_the_promise(promise: Promise, ahead: Ahead) -> None:
    ahead.check(promise, "podman")


@pytest.mark.needs("docker engine")
@pytest.mark.parametrize("promise", in_containers(alone=True), ids=str)
def test_docker_alone_keeps_the_promise(promise: Promise) -> None:
    check(promise, containers.create("docker"), CONTAINER)


@pytest.mark.needs("podman")
@pytest.mark.parametrize("promise", in_containers(alone=True, rooms=ENGINES_OWN), ids=str)
def test_podman_alone_keeps_the_promise(promise: Promise) -> None:
    check(promise, containers.create("podman"), CONTAINER)


class Ahead:
    """Promises over containers, some at a time: most of a container's start and end is waiting for the engine."""

    AT_ONCE = 3

    def __init__(self, items: Sequence[pytest.Item]) -> None:
        self._pool = ThreadPoolExecutor(self.AT_ONCE)
        self._checks: dict[tuple[str, str], Future[None]] = {}
        if "PYTEST_XDIST_WORKER" not in os.environ:  # there, each process is given a part of the tests only
            for item in items:
                if isinstance(item, pytest.Function) and "ahead" in item.fixturenames:
                    promise, engine = item.callspec.params["promise"], item.originalname.split("_")[1]
                    if containers.missing(engine) is None:
                        self._checks[engine, str(promise)] = self._pool.submit(self._check, promise, engine)

    def check(self, promise: Promise, engine: str) -> None:
        if (engine, str(promise)) in self._checks:
            self._checks[engine, str(promise)].result()
        else:
            self._check(promise, engine)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _check(self, promise: Promise, engine: str) -> None:
        check(promise, containers.create(engine), CONTAINER)


@pytest.fixture(scope="module")
def ahead(request: pytest.FixtureRequest) -> Iterator[Ahead]:
    checks = Ahead(request.session.items)
    yield checks
    checks.close()


@dataclass(frozen=True)
class Spoiled:
    """A `local` environment each of whose cells is changed by `spoil` before it is handed out."""

    inner: Environment
    spoil: Callable[[Cell], Cell]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Session]:
        async with self.inner.open() as session:
            yield SpoiledSession(session, self.spoil)


@dataclass(frozen=True)
class SpoiledSession:
    inner: Session
    spoil: Callable[[Cell], Cell]

    async def bind(self, name: str, value: object) -> None:
        await self.inner.bind(name, value)

    async def execute(self, code: str, host: Host, *, timeout: float | None = None) -> Cell:
        return self.spoil(await self.inner.execute(code, host, timeout=timeout))


BROKEN: dict[str, tuple[Callable[[Cell], Cell], list[int]]] = {
    "loses output": (lambda cell: replace(cell, output=""), [3, 6, 7, 9, 11]),
    "hides errors": (lambda cell: replace(cell, error=None), [1, 2, 5, 7, 14, 20]),
    "loses answers": (lambda cell: replace(cell, answer=UNSET), [1, 10, 11, 12, 13, 18, 19, 20]),
    "loses drafts": (lambda cell: replace(cell, draft=UNSET), [19, 20]),
    "tells nothing": (lambda cell: replace(cell, notices=()), [10, 14]),
    "knows no time limit": (lambda cell: replace(cell, timed_out=False), [8, 9]),
}


@pytest.mark.parametrize("defect", BROKEN)
def test_the_suite_notices_an_environment_that(defect: str) -> None:
    spoil, numbers = BROKEN[defect]

    def create(**environment_kwargs: Any) -> Environment:
        return Spoiled(local.create(**environment_kwargs), spoil)

    broken = set()
    for promise in promises(LOCAL):
        if promise.number in numbers and promise.number not in broken:
            try:
                check(promise, create, LOCAL)
            except AssertionError:
                broken.add(promise.number)
    assert broken == set(numbers)


def test_every_promise_has_a_name_of_its_own() -> None:
    names = [str(promise) for promise in promises(PROCESS)]
    assert len(names) == len(set(names)) > 200


def test_what_only_a_process_of_its_own_can_promise_is_not_asked_of_another() -> None:
    assert set(map(str, promises(LOCAL))) - set(map(str, promises(PROCESS))) == {
        "18-any_object_may_be_bound_submitted_and_given_by_reference"
    }
    assert len(promises(LOCAL)) < len(promises(PROCESS))
