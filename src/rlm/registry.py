"""A file's name is its registration.

The backend `NAME` is the module `rlm.backends.NAME`, else an OpenAI-compatible vendor of
`rlm.backends._openai_compatible.VENDORS`, else an entry point of the group `rlm.backends`. The environment `NAME` is
the module `rlm.environments.NAME`, else an entry point of the group `rlm.environments`. Each exposes one function:

    def create(**backend_kwargs: Any) -> Client            def create(**environment_kwargs: Any) -> Environment

An entry point may name the module (`acme = "acme.rlm_backend"`) or the function itself. `create` checks names and
values and raises `ConfigurationError`; it imports no SDK and needs no key, which fail at first use with `SetupError`.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rlm.errors import ConfigurationError
from rlm.protocols import Client, Environment

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

BACKENDS = "rlm.backends"
ENVIRONMENTS = "rlm.environments"


def backend(name: str | Callable[..., Any]) -> Callable[..., Client]:
    """The function that makes a client from `backend_kwargs`; `name` may also be a function that answers messages.

    Raises:
        ConfigurationError: there is no such backend, or two; lists what there is.
    """
    if callable(name):
        from rlm.backends import _callable

        return functools.partial(_callable.create, name)
    if name in _vendors():
        _refuse_twins(BACKENDS, name, _entries(BACKENDS))
        from rlm.backends import _openai_compatible

        return functools.partial(_openai_compatible.create, name)
    return _find(BACKENDS, name, backend_names)


def environment(name: str) -> Callable[..., Environment]:
    """The function that makes an environment from `environment_kwargs`.

    Raises:
        ConfigurationError: there is no such environment, or two; lists what there is.
    """
    return _find(ENVIRONMENTS, name, environment_names)


def backend_names() -> tuple[str, ...]:
    """Every backend there is, sorted; imports none of them."""
    return tuple(sorted({*_files(BACKENDS), *_vendors(), *_entries(BACKENDS)}))


def environment_names() -> tuple[str, ...]:
    """Every environment there is, sorted; imports none of them."""
    return tuple(sorted({*_files(ENVIRONMENTS), *_entries(ENVIRONMENTS)}))


def _find(group: str, name: str, names: Callable[[], tuple[str, ...]]) -> Callable[..., Any]:
    kind = group.rpartition(".")[2].removesuffix("s")
    if not isinstance(name, str):
        raise ConfigurationError(f"{kind}= takes a name, not a {type(name).__name__}; there are: {', '.join(names())}")
    entries = _entries(group)  # looks through every installed package, which takes milliseconds: once
    _refuse_twins(group, name, entries)
    if name in _files(group):
        found = importlib.import_module(f"{group}.{name}")
    elif name in entries:
        found = entries[name][0].load()
    else:
        known = names()
        near = difflib.get_close_matches(name, known, 1)
        hint = f", did you mean {near[0]!r}?" if near else ";"
        raise ConfigurationError(f"unknown {kind} {name!r}{hint} there are: {', '.join(known)}")
    create = found if callable(found) else getattr(found, "create", None)
    if not callable(create):
        raise ConfigurationError(f"the {kind} {name!r} has no function create()")
    return create


def _refuse_twins(group: str, name: str, entries: Mapping[str, Sequence[EntryPoint]]) -> None:
    """Two registrations of one name are an error: which of them ran would depend on what is installed."""
    places = [f"the file {group.replace('.', '/')}/{name}.py"] if name in _files(group) else []
    if group == BACKENDS and name in _vendors():
        places.append("the vendor table of rlm/backends/_openai_compatible.py")
    for entry in entries.get(name, ()):
        dist = entry.dist.name if entry.dist is not None else "an unknown package"
        places.append(f"the entry point {entry.value} of {dist}")
    if len(places) > 1:
        raise ConfigurationError(f"{name!r} is registered {len(places)} times in {group}: {' and '.join(places)}")


def _files(group: str) -> tuple[str, ...]:
    package = importlib.import_module(group)
    names = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(name for name in names if not name.startswith("_"))


def _vendors() -> Mapping[str, object]:
    from rlm.backends._openai_compatible import VENDORS

    return VENDORS


def _entries(group: str) -> dict[str, list[EntryPoint]]:
    from importlib.metadata import entry_points  # slow to import, and asked for names that no file has

    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=group):
        # A package that is on the path twice lists its entry points twice.
        if entry.value not in (other.value for other in found.setdefault(entry.name, [])):
            found[entry.name].append(entry)
    return found
