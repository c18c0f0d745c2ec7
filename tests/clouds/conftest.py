"""One program beside each fake, for the whole run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from clouds._venv import Inner, MissingError, python


@pytest.fixture(scope="session")
def _inners() -> Iterator[dict[str, Inner]]:
    inners: dict[str, Inner] = {}
    yield inners
    for inner in inners.values():
        inner.close()


@pytest.fixture
def cloud(_inners: dict[str, Inner], not_run: Callable[[str, str], NoReturn]) -> Callable[[str], Inner]:
    """`cloud("modal")` is where cases are run over the fake of that cloud; not run where its SDK cannot be had."""

    def get(name: str) -> Inner:
        try:
            python(name)
        except MissingError as exc:
            not_run(f"the SDK of {name}", str(exc))
        return _inners.setdefault(name, Inner(name))

    return get
