"""How `RLM`'s arguments are read: which models, which tools, which callbacks, and what of them may be recorded."""

from __future__ import annotations

import difflib
import functools
import inspect
import keyword
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import NoneType
from typing import Any

from rlm import registry
from rlm._secret import command_secrets, secrets_of
from rlm.calling import is_async
from rlm.errors import ConfigurationError
from rlm.events import CallFinished, CallStarted, Event, Observer, TurnFinished, TurnStarted
from rlm.limits import Limits
from rlm.mcp import MCP
from rlm.policy.names import reserved
from rlm.policy.prompt import describe_tool
from rlm.protocols import Client, Environment

DEFAULT_BACKEND = "openai"
PREVIEW = 100
KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "custom_system_prompt user_prologue": ((str, NoneType), "text"),
    "backend_kwargs environment_kwargs custom_tools custom_sub_tools sampling_args sub_sampling_args": (
        (Mapping, NoneType),
        "a dict with names as keys",
    ),
    "other_backends other_backend_kwargs": ((list, tuple, NoneType), "a list"),
    "observers tools": ((list, tuple), "a list"),
    "sub_model": ((str, list, tuple, NoneType), '"provider/name", or a list of them'),
    "model": ((str, NoneType), '"provider/name"'),
    "depth": ((int,), "a whole number"),
    "compaction_threshold_pct": ((int, float), "a share of the window, above 0 to 1"),
    "limits": ((Limits, NoneType), "a Limits(…)"),
}
"""What may be given, by the names of the arguments."""
OWN = ("model_name", "price", "context_window", "sampling_args", "azure_deployment")
"""What of `backend_kwargs` is about one model; the rest is how its provider is reached."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One configured model, before there is a client for it."""

    backend: str | Client | Callable[..., Any]
    kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def label(self) -> str:
        if isinstance(self.backend, str):
            provider, name = self.backend, self.kwargs.get("model_name")
        else:
            provider = type(self.backend).__name__
            given = self.kwargs.get("model_name")
            name = given or getattr(self.backend, "model", None) or getattr(self.backend, "__name__", None)
        return f"{provider}/{name}" if name else provider

    def maker(self) -> Callable[[], Client]:
        """What makes its client; wrong names and values are found now."""
        backend = self.backend
        if not isinstance(backend, str) and hasattr(backend, "complete"):
            if self.kwargs:
                raise ConfigurationError("backend_kwargs go with the name of a backend, not with a Client object")
            return functools.partial(_given, backend)
        if not isinstance(backend, str) and not callable(backend):
            raise ConfigurationError(
                f"backend must be a name, a Client or any function of the messages, asynchronous or not: {backend!r}"
            )
        make = functools.partial(registry.backend(backend), **self.kwargs)
        try:
            make()
        except TypeError as exc:
            raise ConfigurationError(f"backend_kwargs for {self.label}: {exc}") from exc
        return make

    def origin(self, client: Client) -> str:
        """Whose models these are, and where their requests go: what tells two of the same name apart."""
        told = getattr(client, "origin", None)
        if isinstance(told, str):
            return told
        if isinstance(self.backend, str):
            return f"{self.backend} {self.kwargs.get('base_url') or ''}"
        kind: Any = self.backend if hasattr(self.backend, "__qualname__") else type(self.backend)
        return f"{kind.__module__}.{kind.__qualname__}"

    def sampling(self, client: Client) -> Mapping[str, Any]:
        """What its client adds to every request."""
        given: Mapping[str, Any] = self.kwargs.get("sampling_args") or getattr(client, "sampling_args", None) or {}
        return given

    def beside(self, provider: str, name: str) -> ModelSpec:
        """Another model, reached as this one is where it is the same provider's."""
        if provider != self.backend:
            return ModelSpec(backend=provider, kwargs={"model_name": name})
        if name == self.kwargs.get("model_name"):
            return self
        reach = {key: value for key, value in self.kwargs.items() if key not in OWN}
        return ModelSpec(backend=provider, kwargs={**reach, "model_name": name})

    def aliases(self, name: str) -> tuple[str, ...]:
        return (f"{self.backend}/{name}",) if isinstance(self.backend, str) else ()


class _Borrowed:
    """A client that the caller made, and closes."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.model = client.model
        self.info = client.info
        self.complete = client.complete
        self.origin = getattr(client, "origin", None)
        self.sampling_args = getattr(client, "sampling_args", None)

    async def aclose(self) -> None:
        """Left to its owner."""


def _given(client: Any) -> Client:
    return _Borrowed(client)


def check_kinds(given: Mapping[str, object]) -> None:
    """Raise `ConfigurationError` for an argument of `RLM` of another kind than it takes: found later, it would be a
    failure of the run, or be taken for something else."""
    for names, (kind, words) in KINDS.items():
        for name in names.split():
            if not isinstance(given[name], kind):
                raise ConfigurationError(f"{name} is {words}, not {type(given[name]).__name__}")


def split_model(model: str) -> tuple[str, str]:
    """`provider/name`; a name alone is the default provider's."""
    if not str(model).strip("/"):
        raise ConfigurationError(f'a model is given as "provider/name", not {model!r}')
    provider, slash, name = model.partition("/")
    if not slash:
        return DEFAULT_BACKEND, model
    if not name:
        raise ConfigurationError(f'a model is given as "provider/name", not {model!r}')
    return provider, name


def model_specs(
    backend: Any,
    backend_kwargs: Mapping[str, Any] | None,
    model: str | None,
    other_backends: Sequence[Any] | None,
    other_backend_kwargs: Sequence[Mapping[str, Any]] | None,
    sub_model: str | Sequence[str] | None,
) -> tuple[ModelSpec, ...]:
    """The root's model and those for sub-calls."""
    root_kwargs = dict(backend_kwargs or {})
    if model is not None:
        if backend is not None:
            raise ConfigurationError('give model="provider/name" or backend=…, not both')
        if "model_name" in root_kwargs:
            raise ConfigurationError("the model is given twice: by model= and by backend_kwargs['model_name']")
        backend, root_kwargs["model_name"] = split_model(model)
    root = ModelSpec(backend=DEFAULT_BACKEND if backend is None else backend, kwargs=root_kwargs)
    if sub_model is not None:
        if other_backends:
            raise ConfigurationError("give sub_model=… or other_backends=…, not both")
        names = [sub_model] if isinstance(sub_model, str) else list(sub_model)
        subs = [root.beside(provider, name) for provider, name in map(split_model, names)]
        return (root, *(sub for sub in subs if sub is not root))
    backends, kwargs = list(other_backends or ()), [dict(k) for k in other_backend_kwargs or ()]
    if len(kwargs) > len(backends) or (kwargs and len(kwargs) != len(backends)):
        raise ConfigurationError(
            f"other_backends has {len(backends)} entries and other_backend_kwargs {len(kwargs)}: one for each is needed"
        )
    return (
        root,
        *(ModelSpec(backend=b, kwargs=k) for b, k in zip(backends, kwargs or [{}] * len(backends), strict=True)),
    )


def check_tools(setting: str, tools: Mapping[str, Any] | None) -> dict[str, tuple[object, str]] | None:
    """name → (tool, description)."""
    if tools is None:
        return None
    out: dict[str, tuple[object, str]] = {}
    for name, value in tools.items():
        if not str(name).isidentifier() or keyword.iskeyword(name):
            raise ConfigurationError(f"{setting}: {name!r} cannot be a name in Python")
        if reserved(name):
            raise ConfigurationError(f"{setting}: {name!r} is a name of the REPL itself; give the tool another")
        if isinstance(value, Mapping) and "tool" in value:
            out[name] = (value["tool"], str(value.get("description", "")) or describe_tool(value["tool"]))
        else:
            out[name] = (value, describe_tool(value))
    return out


def check_observers(observers: Sequence[Observer]) -> Sequence[Observer]:
    """Functions of one event each, which are not coroutine functions: nobody would await them."""
    given: Any = observers  # what was given may be anything
    for observer in given:
        if not callable(observer) or is_async(observer):
            raise ConfigurationError(f"an observer is a plain function of an event, not {observer!r}")
    return observers


def environment_of(environment: str | Environment, kwargs: Mapping[str, Any] | None) -> tuple[Environment, str]:
    """The environment and what it is called."""
    if isinstance(environment, str):
        create = registry.environment(environment)
        try:
            return create(**(kwargs or {})), environment
        except TypeError as exc:
            told = unknown_keyword(environment, create, kwargs or {})
            raise ConfigurationError(told or f"environment_kwargs for {environment!r}: {exc}") from exc
    if not hasattr(environment, "open"):
        raise ConfigurationError(f"environment must be a name or an Environment, not {environment!r}")
    if kwargs:
        raise ConfigurationError(
            "environment_kwargs go with the name of an environment, not with an Environment object"
        )
    return environment, type(environment).__name__


def unknown_keyword(environment: str, create: Callable[..., Environment], kwargs: Mapping[str, Any]) -> str | None:
    """Which of the keywords it does not take, and what it does; `None` where they are not what is wrong."""
    try:
        parameters = inspect.signature(create).parameters.values()
    except ValueError:  # a built-in that tells no signature
        return None
    accepted = [one.name for one in parameters if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)]
    unknown = [name for name in kwargs if name not in accepted]
    if not unknown or any(one.kind is one.VAR_KEYWORD for one in parameters):
        return None
    near = difflib.get_close_matches(str(unknown[0]), accepted, 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{environment} takes no {unknown[0]!r}{hint}; environment_kwargs may be: {', '.join(accepted)}"


def changed(limits: Limits) -> str:
    """The limits that are not the default, as they were given."""
    plain = Limits()
    changed = {n: getattr(limits, n) for n in Limits.__dataclass_fields__ if getattr(limits, n) != getattr(plain, n)}
    return ", ".join(f"{name}={value!r}" for name, value in changed.items()) or "no limits but the defaults"


def public_options(limits: Limits, specs: Sequence[ModelSpec], environment: str) -> tuple[tuple[str, object], ...]:
    """What a record of the run may say of its configuration: nothing that was given as a keyword to a provider but
    its model's name."""
    options: dict[str, object] = {name: value for name, value in asdict(limits).items() if value is not None}
    options["backend"] = specs[0].label
    options["other_backends"] = [spec.label for spec in specs[1:]]
    options["environment"] = environment
    return tuple(options.items())


def secret_values(specs: Sequence[ModelSpec], servers: Sequence[MCP], *given: object) -> set[str]:
    """Every key that was given, so that none is written down wherever it may turn up."""
    keys = secrets_of(*(spec.kwargs for spec in specs), *(server.env for server in servers), *given)
    return keys.union(*(command_secrets(server.command) for server in servers))


@dataclass(frozen=True)
class Callbacks:
    """The reference library's callbacks, as an observer."""

    on_subcall_start: Callable[[int, str, str], object] | None = None
    on_subcall_complete: Callable[[int, str, float, str | None], object] | None = None
    on_iteration_start: Callable[[int, int], object] | None = None
    on_iteration_complete: Callable[[int, int, float], object] | None = None
    _models: dict[tuple[str, int], str] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        mine = (self.on_subcall_start, self.on_subcall_complete, self.on_iteration_start, self.on_iteration_complete)
        return any(callback is not None for callback in mine)

    def __call__(self, event: Event) -> None:
        match event:
            case CallStarted():
                self._models[event.run, event.call] = event.model
                if self.on_subcall_start:
                    self.on_subcall_start(event.depth + 1, event.model, event.prompt[:PREVIEW])
            case CallFinished():
                model = self._models.pop((event.run, event.call))
                if self.on_subcall_complete:
                    error = None if event.error is None else event.error[1]
                    self.on_subcall_complete(event.depth + 1, model, event.seconds, error)
            case TurnStarted() if self.on_iteration_start:
                self.on_iteration_start(event.depth, event.turn)
            case TurnFinished() if self.on_iteration_complete:
                self.on_iteration_complete(event.depth, event.turn, event.seconds)
            case _:
                return
