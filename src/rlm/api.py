"""The face of the library: names become things here and nowhere else; the synchronous forms of the asynchronous
ones."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal

from rlm import engine
from rlm._options import (
    Callbacks,
    changed,
    check_kinds,
    check_observers,
    check_tools,
    environment_of,
    model_specs,
    public_options,
    secret_values,
)
from rlm._secret import secrets_of
from rlm.cache import open_cache
from rlm.errors import ConfigurationError
from rlm.events import Event, Observer
from rlm.kept import KeptRepl, KeptSession
from rlm.limits import Limits
from rlm.logger.rlm_logger import RLMLogger, begin
from rlm.mcp import MCP, Toolbox, tools_of
from rlm.portal import LoopLocal
from rlm.protocols import Client, Environment
from rlm.recording import Journals, path_of
from rlm.result import Completion, Output
from rlm.sync import Closing, blocking
from rlm.tree import Model, Scope, Settings, Tree
from rlm.types import UNSET

Backend = str | Client | Callable[..., Any]


class RLM(Closing):
    """A recursive language model: `completion(prompt)` where `prompt` may be far larger than any model's window.

    Args:
        backend: a name (`rlm doctor` lists them), a `Client`, or any function of the messages, asynchronous or not,
            that returns the reply's text.
        backend_kwargs: for the backend: `model_name`, `api_key`, `base_url`, `timeout`, `sampling_args`, `price`,
            `context_window`, …
        environment: where the model's code runs: a name or an `Environment`. `local` is this process: fast, and no
            sandbox (same process, same keys; C code that holds the interpreter lock stalls the program). `process` is
            a process of its own.
        environment_kwargs: for the environment; everywhere `cell_timeout` and `cell_grace` (seconds) and `setup_code`.
        depth: depth at which this instance counts as running: `max_depth` is reached that much earlier.
        max_depth: an `rlm_query` whose depth would reach it is a plain model call.
        max_iterations, max_errors, max_budget, max_tokens, max_timeout: see `Limits`.
        max_subcalls, max_concurrent_calls, max_concurrent_subcalls, on_limit: see `Limits`.
        limits: all of these and `max_depth` in one `Limits`, instead of one by one.
        custom_system_prompt: replaces the system prompt; taken literally.
        other_backends: models for sub-calls: the first for depth 1, the next for depth 2, …; all by name with `model=`.
        other_backend_kwargs: what `backend_kwargs` is for `backend`, one for each of them.
        model: `"provider/name"`, instead of `backend` and its `model_name`.
        sub_model: the same, or several, instead of `other_backends`; one of the root's provider is reached as the root
            is (`base_url`, `api_key`, …).
        logger: an `RLMLogger`.
        verbose: show the run on stderr, or in the notebook, while it goes on; see `rlm.live.LiveView`.
        persistent: keep the REPL from one completion to the next, in the event loop of the first; `close()` ends it.
        compaction: summarise the root's history when it nears its model's window.
        compaction_threshold_pct: the share of the window at which that is done, above 0 to 1.
        custom_tools: name → value or function, or name → `{"tool": …, "description": …}`; bound in the REPL.
        custom_sub_tools: the same for child RLMs; `None`: they get `custom_tools`.
        sampling_args: temperature, max_tokens, … for the root model.
        sub_sampling_args: the same for everything below it; `None`: `sampling_args`.
        orchestrator: whether the system prompt says who does what.
        user_prologue: an extra user message before the first turn.
        tools: MCP servers (`MCP("command")`), whose tools are functions in the REPL; child RLMs have them too.
        observers: functions that are given every event of every run, in order, on a thread of its own each; see
            `rlm.events.Observer`.
        checkpoint: a directory for the journal of one completion: what was paid for is written down before it is used,
            and the same call again goes on where a killed one stopped.
        checkpoint_sync: have it on the disk before it is used, which survives power loss too.
        replay: a journal, or its directory: the run it recorded, again, without a provider; another request is a
            `ReplayMismatchError`.
        cache: a directory of replies kept from run to run, for requests that are exactly the same.
        on_subcall_start: called with (depth, model, the first 100 characters of the prompt).
        on_subcall_complete: called with (depth, model, seconds, error or `None`).
        on_iteration_start: called with (depth, turn), turns from 0.
        on_iteration_complete: called with (depth, turn, seconds).

    Safe to use from any number of threads and event loops at once. `close()` is possible, not needed.

    Raises:
        ConfigurationError: a name or a value is wrong.
    """

    def __init__(
        self,
        backend: Backend | None = None,
        backend_kwargs: Mapping[str, Any] | None = None,
        environment: str | Environment = "local",
        environment_kwargs: Mapping[str, Any] | None = None,
        depth: int = 0,
        max_depth: int = 1,
        max_iterations: int = 30,
        max_budget: float | None = None,
        max_timeout: float | None = None,
        max_tokens: int | None = None,
        max_errors: int | None = None,
        custom_system_prompt: str | None = None,
        other_backends: Sequence[Backend] | None = None,
        other_backend_kwargs: Sequence[Mapping[str, Any]] | None = None,
        logger: RLMLogger | None = None,
        verbose: bool = False,
        persistent: bool = False,
        custom_tools: Mapping[str, Any] | None = None,
        custom_sub_tools: Mapping[str, Any] | None = None,
        compaction: bool = False,
        compaction_threshold_pct: float = 0.85,
        max_concurrent_subcalls: int = 4,
        on_subcall_start: Callable[[int, str, str], object] | None = None,
        on_subcall_complete: Callable[[int, str, float, str | None], object] | None = None,
        on_iteration_start: Callable[[int, int], object] | None = None,
        on_iteration_complete: Callable[[int, int, float], object] | None = None,
        sampling_args: Mapping[str, Any] | None = None,
        sub_sampling_args: Mapping[str, Any] | None = None,
        orchestrator: bool = True,
        user_prologue: str | None = None,
        *,
        model: str | None = None,
        sub_model: str | Sequence[str] | None = None,
        max_subcalls: int | None = None,
        max_concurrent_calls: int = 64,
        on_limit: Literal["raise", "return"] = "raise",
        limits: Limits | None = None,
        observers: Sequence[Observer] = (),
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_sync: bool = False,
        replay: str | os.PathLike[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
        tools: Sequence[MCP] = (),
    ) -> None:
        check_kinds(locals())  # which are the arguments yet
        if not 0 < compaction_threshold_pct <= 1:
            raise ConfigurationError(
                f"compaction_threshold_pct is a share of the window, above 0 to 1, not {compaction_threshold_pct!r}"
            )
        given = Limits(
            max_iterations=max_iterations,
            max_errors=max_errors,
            max_budget=max_budget,
            max_tokens=max_tokens,
            max_timeout=max_timeout,
            max_subcalls=max_subcalls,
            max_depth=max_depth,
            max_concurrent_calls=max_concurrent_calls,
            max_concurrent_subcalls=max_concurrent_subcalls,
            on_limit=on_limit,
        )
        if limits is not None and given != Limits():
            raise ConfigurationError("give the limits either one by one or as limits=Limits(…), not both")
        given = limits or given
        if depth < 0:
            raise ConfigurationError(f"depth must be a whole number of at least 0, not {depth!r}")
        self._limits = replace(given, max_depth=max(0, given.max_depth - depth))
        self._specs = model_specs(backend, backend_kwargs, model, other_backends, other_backend_kwargs, sub_model)
        self._makers = [spec.maker() for spec in self._specs]
        self._environment, self._environment_name = environment_of(environment, environment_kwargs)
        self._tools = check_tools("custom_tools", custom_tools) or {}
        self._sub_tools = check_tools("custom_sub_tools", custom_sub_tools)
        self._sampling = dict(sampling_args or {})
        self._sub_sampling = None if sub_sampling_args is None else dict(sub_sampling_args)
        self._system_prompt = custom_system_prompt
        self._guidance = orchestrator
        self._prologue = user_prologue
        self._logger = logger
        callbacks = Callbacks(on_subcall_start, on_subcall_complete, on_iteration_start, on_iteration_complete)
        self._observers: list[Observer] = [*check_observers(observers), *([callbacks] if callbacks.any else [])]
        if verbose:
            from rlm.live import LiveView

            self._observers.append(LiveView())
        self._compaction = (compaction, compaction_threshold_pct)
        self._journals = Journals(checkpoint, replay, sync=checkpoint_sync)
        if persistent:
            self._journals.refuse_kept()
        self._secrets = secret_values(self._specs, tools, self._environment, sampling_args, sub_sampling_args)
        if cache is not None and replay is not None:
            raise ConfigurationError("give cache= or replay=, not both: a replay asks no provider")
        self._cache = path_of("cache", cache)
        self._clients = LoopLocal(self._make_clients, _close_all)
        self._toolboxes = LoopLocal(functools.partial(Toolbox, tuple(tools)), Toolbox.aclose) if tools else None
        self._repl = KeptRepl(self._environment) if persistent else None

    def __repr__(self) -> str:
        return f"RLM({self._specs[0].label!r}, environment={self._environment_name!r}, {changed(self._limits)})"

    # Completions ----------------------------------------------------------------------------------------------------

    def completion(
        self, prompt: object, root_prompt: str | None = None, *, question: str | None = None, output: Any = None
    ) -> Completion:
        """Answer with `prompt` (text, lists, dicts, messages, …) as the REPL's `context`; `root_prompt`, or
        `question`, is what is asked.

        `output` is a type that Pydantic can check (`int`, `list[str]`, a model, …): `value` is then of that type, and
        an answer that is not goes back to the model. Works inside a running event loop too (it blocks it;
        `acompletion` does not). Ctrl-C cancels the run.

        Raises:
            RLMError: `LimitExceededError` at a limit (unless `on_limit="return"`), `LMError` where the provider failed
                for good, `SandboxError`, `SetupError`, `CancellationError` after Ctrl-C. `result` and
                `partial_answer` hold what the run had.
        """
        return blocking(functools.partial(self.acompletion, prompt, root_prompt, question=question, output=output))

    async def acompletion(
        self, prompt: object, root_prompt: str | None = None, *, question: str | None = None, output: Any = None
    ) -> Completion:
        """`completion` for asynchronous code. Cancelling it cancels the whole run; the `CancelledError` has the
        partial `result`."""
        return await self._answer(prompt, self._asking(_question(root_prompt, question), output))

    def session(self, context: object = UNSET) -> KeptSession:
        """A REPL that is kept: load once, ask many times. `with rlm.session(text) as s: s.ask("…"); s.ask("…")`.

        Raises:
            ConfigurationError: with `checkpoint=`, which is for one completion.
        """
        self._journals.refuse_kept()
        return KeptSession(self._environment, self._asking, context, repr(self))

    async def stream(
        self, prompt: object, root_prompt: str | None = None, *, question: str | None = None, output: Any = None
    ) -> AsyncGenerator[Event, None]:
        """The run's events as they happen; the last is its `RunFinished`. Leaving the loop early cancels the run."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        asking = self._asking(_question(root_prompt, question), output, (queue.put_nowait,), stream=True)
        task = asyncio.ensure_future(self._answer(prompt, asking))
        task.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (event := await queue.get()) is not None:
                yield event
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _asking(
        self, question: str | None, output: Any = None, observers: Sequence[Observer] = (), *, stream: bool = False
    ) -> Callable[[object, engine.Kept | None], Coroutine[Any, Any, Completion]]:
        """A question as a function of the context it is asked about, and of the session it is asked in."""
        wanted = _output(output)

        async def ask(context: object, kept: engine.Kept | None) -> Completion:
            return await self._run(context, question, observers, stream, wanted, kept)

        return ask

    async def _answer(
        self, prompt: object, ask: Callable[[object, engine.Kept | None], Coroutine[Any, Any, Completion]]
    ) -> Completion:
        return await ask(prompt, None) if self._repl is None else await self._repl.ask(prompt, ask)

    async def _run(
        self,
        prompt: object,
        question: str | None,
        observers: Sequence[Observer],
        stream: bool,
        output: Output | None,
        kept: engine.Kept | None,
    ) -> Completion:
        clients = await self._clients.get()
        live = stream or any(getattr(o, "live", False) for o in self._observers)
        logger, secrets = self._logger, self._secrets | secrets_of(os.environ)
        async with (
            self._journals.open(prompt, question, secrets) as journal,
            open_cache(self._cache, secrets) as cache,
        ):
            settings = self._settings(clients, await tools_of(self._toolboxes, journal), stream=live)
            path = os.urandom(4).hex() if journal is None else journal.run
            record = None if logger is None else begin(logger, path, prompt, secrets)
            inline: list[Observer] = [*observers, *([] if record is None else [record])]
            tree = Tree(settings, self._environment, self._observers, inline=inline, journal=journal, cache=cache)
            completion: Completion | None = None
            try:
                async with tree.observed():
                    completion = await engine.run(
                        Scope(tree=tree, path=path), prompt, question, output=output, kept=kept
                    )
            except (Exception, asyncio.CancelledError) as exc:
                partial = getattr(exc, "result", completion)
                if completion is not None:  # cancelled while it waited for an observer
                    exc.partial_answer = completion.response  # type: ignore[union-attr]
                if partial is not None:
                    exc.result = replace(partial, **tree.record(), logged=logger is not None)  # type: ignore[union-attr]
                raise
            finally:
                if record is not None:
                    record.close_run(path)
            if journal is not None:
                journal.ending = completion.status
        return replace(completion, **tree.record(), logged=logger is not None)

    def _settings(
        self, clients: Sequence[Client], offered: Mapping[str, tuple[object, str]], *, stream: bool
    ) -> Settings:
        models = tuple(
            Model(
                name=client.model,
                client=client,
                aliases=spec.aliases(client.model),
                origin=spec.origin(client),
                sampling=spec.sampling(client),
            )
            for spec, client in zip(self._specs, clients, strict=True)
        )
        return Settings(
            limits=self._limits,
            models=models,
            sampling=self._sampling,
            sub_sampling=self._sub_sampling,
            environment_name=self._environment_name,
            cell_timeout=getattr(self._environment, "cell_timeout", None),
            system_prompt=self._system_prompt,
            guidance=self._guidance,
            prologue=self._prologue,
            tools={**offered, **self._tools},
            sub_tools=None if self._sub_tools is None else {**offered, **self._sub_tools},
            compaction=self._compaction[0],
            compaction_share=self._compaction[1],
            options=public_options(self._limits, self._specs, self._environment_name),
            stream=stream,
        )

    # Resources ------------------------------------------------------------------------------------------------------

    def _make_clients(self) -> list[Client]:
        return [make() for make in self._makers]

    def close(self) -> None:
        """Close what the synchronous forms opened: connections, and the REPL of a `persistent` one."""
        blocking(self.aclose)

    async def aclose(self) -> None:
        """Close what was opened in the running event loop; more completions open it anew."""
        if self._repl is not None:
            await self._repl.aclose()
        if self._toolboxes is not None:
            await self._toolboxes.aclose()
        await self._clients.aclose()


def completion(
    prompt: object, model: str, *, question: str | None = None, output: Any = None, **options: Any
) -> Completion:
    """`RLM.completion` in one call: `rlm.completion(prompt, "openai/gpt-5-mini", question="…")`. `options` are those of
    `RLM`."""
    return blocking(functools.partial(acompletion, prompt, model, question=question, output=output, **options))


async def acompletion(
    prompt: object, model: str, *, question: str | None = None, output: Any = None, **options: Any
) -> Completion:
    """`completion` for asynchronous code."""
    async with RLM(model=model, **options) as rlm:
        return await rlm.acompletion(prompt, question, output=output)


async def stream(
    prompt: object, model: str, *, question: str | None = None, output: Any = None, **options: Any
) -> AsyncGenerator[Event, None]:
    """The events of one completion, as they happen: `async for event in rlm.stream(prompt, "openai/gpt-5-mini")`."""
    async with RLM(model=model, **options) as rlm, aclosing(rlm.stream(prompt, question, output=output)) as events:
        async for event in events:
            yield event


def _output(kind: Any) -> Output | None:
    if kind is None:
        return None
    from rlm.typed import output_of  # Pydantic, which takes a while to import

    return output_of(kind)


def _question(root_prompt: str | None, question: str | None) -> str | None:
    if root_prompt is not None and question is not None:
        raise ConfigurationError("question and root_prompt are two names for the same thing: give one")
    return question if root_prompt is None else root_prompt


async def _close_all(clients: list[Client]) -> None:
    for client in clients:
        await client.aclose()
