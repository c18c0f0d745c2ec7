"""The names that belong to the REPL itself, which no tool may take."""

from __future__ import annotations

import re
from functools import cache

_SESSION = re.compile(r"(?:context|history)(?:_\d+)?|answers|__\w+__")
"""What the host binds by and by; what begins and ends with two underscores is Python's own."""


def reserved(name: str) -> bool:
    """Whether a session binds that name itself, now or later."""
    return _SESSION.fullmatch(name) is not None or name in _kernels()


@cache
def _kernels() -> frozenset[str]:
    from rlm.repl.kernel import Kernel  # most programs give no tools

    return frozenset(Kernel(None).namespace)
