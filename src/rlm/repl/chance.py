"""Chance that comes out the same each time: for runs whose code is executed again."""

from __future__ import annotations

import random
import types
from typing import Any


def seed(names: dict[str, Any], value: Any, shared: bool) -> None:
    """Seed `random` for a session whose builtins are `names`. In a process that is shared with others the session gets
    a `random` of its own, so that neither disturbs the other; it is what `import random` in a cell gives."""
    if not shared:
        random.seed(value)
        return
    own = types.ModuleType("random", random.__doc__)
    vars(own).update(vars(random))
    source = random.Random(value)
    setattr(own, "_inst", source)  # noqa: B010 - modules have no such attribute for type checkers
    for name in dir(random):
        method = getattr(random, name)
        if getattr(method, "__self__", None) is getattr(random, "_inst"):  # noqa: B009
            setattr(own, name, getattr(source, name))
    ordinary = names["__import__"]

    def import_(name: str, *args: Any, **kwargs: Any) -> Any:
        return own if name == "random" else ordinary(name, *args, **kwargs)

    names["__import__"] = import_
