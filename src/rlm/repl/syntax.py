"""Source to syntax tree, from many threads at once."""

from __future__ import annotations

import ast
import threading

ATTEMPTS = 5
_lock = threading.Lock()


def parse(code: str, name: str, flags: int = 0) -> ast.Module:
    """The tree of `code`; top-level `await` is allowed. Raises what `compile` raises.

    CPython counts the depth of trees under construction once for all threads, and raises SystemError when two are at it
    (python/cpython#106905): so one at a time here, and again where a thread of somebody else's was the other.
    """
    flags |= ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    for attempt in range(ATTEMPTS):
        try:
            with _lock:
                tree: ast.Module = compile(code, name, "exec", flags, dont_inherit=True)
                return tree
        except SystemError:
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")
