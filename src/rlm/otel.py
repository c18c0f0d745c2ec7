"""Runs as OpenTelemetry spans, by the semantic conventions for generative AI (v0.1.0): an observer of the events.

Needs `pip install "rlm[otel]"`; which spans there are, and what is on them, is in docs/observing.md.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rlm import __version__
from rlm.errors import SetupError
from rlm.events import (
    CallFinished,
    CallStarted,
    CellFinished,
    CellStarted,
    Compacted,
    Event,
    LimitApproached,
    ReplyReceived,
    RunFinished,
    RunStarted,
    TurnFinished,
    TurnStarted,
    Warned,
)
from rlm.types import Reply, Usage

try:
    from opentelemetry import context as otel_context
    from opentelemetry import trace
    from opentelemetry.trace import Span, SpanKind, StatusCode, TracerProvider
except ImportError as exc:
    raise SetupError(f'rlm.otel needs the package opentelemetry-api: pip install "rlm[otel]" ({exc})') from exc

AGENT: Final = "rlm"
TOOL: Final = "code_interpreter"
CAPTURE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
PROVIDERS: Final[Mapping[str, str]] = {"azure_openai": "azure.ai.openai", "gemini": "gcp.gemini"}
"""Backends whose name in the conventions is another."""
FINISH: Final[Mapping[str, str]] = {"refusal": "content_filter"}
UNSENT: Final = ("max_tokens", "max_budget")
"""Limits at which the call that would have been next is not made."""

LONGEST_NAME: Final = 200

Attributes = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class _Agent:
    """An agent at work: its span, and what is open in it."""

    span: Span
    model: str
    providers: Mapping[str, str]
    cell: Span | None = None
    calls: dict[int, tuple[Span, str | None]] = field(default_factory=dict)
    """Calls to models, and to the agents of those paths."""
    asking: float | None = None
    """Since when its model is being asked, while it is."""
    told: str | None = None
    """What is new to its model, until the model has answered."""
    compacted: bool = False

    def provider(self, model: str) -> str:
        return self.providers.get(model) or next(iter(self.providers.values()), "_OTHER")


class OpenTelemetryObserver:
    """An observer that makes spans: `RLM(…, observers=[OpenTelemetryObserver()])`.

    `tracer_provider` is the global one unless given. The span of a run is a child of the span that is active where the
    completion is called. With `capture_content` prompts, replies, code, output and error messages are on the spans too;
    unless given, the variable OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT decides (`true`, `span_only` or
    `span_and_event`).
    """

    def __init__(self, *, tracer_provider: TracerProvider | None = None, capture_content: bool | None = None) -> None:
        self._tracer = trace.get_tracer("rlm", __version__, tracer_provider)
        if capture_content is None:
            capture_content = os.environ.get(CAPTURE, "").lower() in ("true", "span_only", "span_and_event")
        self._content = capture_content
        self._agents: dict[str, _Agent] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._run_started(event)
        agent = self._agents.get(event.run)
        if agent is None:
            return
        match event:
            case TurnStarted():
                agent.asking = event.time
            case ReplyReceived() | Compacted():
                self._replied(agent, event)
            case CellStarted():
                self._cell_started(agent, event)
            case CellFinished():
                self._cell_finished(agent, event)
            case CallStarted():
                self._call_started(agent, event)
            case CallFinished():
                self._call_finished(agent, event)
            case TurnFinished():
                agent.told = event.shown
            case LimitApproached():
                facts: Attributes = {"limit": event.limit, "used": event.used, "allowed": event.allowed}
                facts["waiting"] = event.waiting
                agent.span.add_event("rlm.limit_approached", facts, _nanoseconds(event.time))
            case Warned():
                agent.span.add_event("rlm.warning", {"message": _valid(event.text)}, _nanoseconds(event.time))
            case RunFinished():
                self._run_finished(agent, event)
            case _:
                return

    def _run_started(self, event: RunStarted) -> None:
        agent = self._agents.get(event.run)
        if agent is None:  # a child's began with the call that made it
            providers = _providers(dict(event.options), event.model)
            agent = self._agent(event.run, event.model, providers, event.time, otel_context.get_current())
            self._say(agent.span, "gen_ai.input.messages", _message("user", event.question))
        agent.told = event.question
        agent.span.set_attributes({"rlm.environment": event.environment, "rlm.context.size": event.context_size})

    def _agent(
        self, path: str, model: str, providers: Mapping[str, str], time: float, parent: otel_context.Context
    ) -> _Agent:
        attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": AGENT,
            "gen_ai.request.model": model,
            "rlm.run": path,
        }
        span = self._start(f"invoke_agent {AGENT}", SpanKind.INTERNAL, attributes, time, parent)
        agent = self._agents[path] = _Agent(span=span, model=model, providers=providers)
        span.set_attribute("gen_ai.provider.name", agent.provider(model))
        return agent

    def _run_finished(self, agent: _Agent, event: RunFinished) -> None:
        error = "timeout" if event.error is None else event.error[0]
        if agent.cell is not None:
            _end(agent.cell, event.time, error)
        for span, _ in agent.calls.values():
            _end(span, event.time, error)
        if agent.asking is not None and event.limit not in UNSENT:
            span = self._chat(agent, agent.model, agent.asking, agent.span)
            kind = re.match(r"\[(\w+)\]", event.error[1]) if event.error else None
            _end(span, event.time, kind[1] if kind else error)
        facts = {"rlm.status": event.status, "rlm.limit": event.limit}
        agent.span.set_attributes({name: value for name, value in facts.items() if value is not None})
        agent.span.set_attributes(_usage(sum((usage for _, usage in event.usage), Usage())))
        self._say(agent.span, "gen_ai.output.messages", _message("assistant", event.response))
        self._fail(agent.span, event.error)
        if event.parent is None:
            agent.span.end(_nanoseconds(event.time))
            del self._agents[event.run]

    def _replied(self, agent: _Agent, event: ReplyReceived | Compacted) -> None:
        span = self._chat(agent, agent.model, event.time - event.seconds, agent.span)
        span.set_attribute("rlm.turn", event.turn)
        if isinstance(event, Compacted):
            agent.compacted = True
        else:
            self._say(span, "gen_ai.input.messages", _message("user", agent.told))
        again = isinstance(event, Compacted) or not event.reply.text.strip()
        agent.asking = event.time if again else None
        self._answered(span, event.reply)
        span.end(_nanoseconds(event.time))

    def _cell_started(self, agent: _Agent, event: CellStarted) -> None:
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": TOOL,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": f"{event.run}:{event.turn}.{event.block}",
            "gen_ai.agent.name": AGENT,
            "rlm.turn": event.turn,
        }
        parent = trace.set_span_in_context(agent.span)
        agent.cell = self._start(f"execute_tool {TOOL}", SpanKind.INTERNAL, attributes, event.time, parent)
        self._say(agent.cell, "gen_ai.tool.call.arguments", {"code": event.code})

    def _cell_finished(self, agent: _Agent, event: CellFinished) -> None:
        span, agent.cell = agent.cell, None
        if span is None:
            return
        cell = event.cell
        result = {"output": cell.output, **({"error": cell.error.traceback} if cell.error else {})}
        self._say(span, "gen_ai.tool.call.result", result)
        if cell.error is not None:
            self._fail(span, (cell.error.type, cell.error.message))
        elif cell.timed_out:
            self._fail(span, ("timeout", "the cell ran out of time"))
        span.end(_nanoseconds(event.time))

    def _call_started(self, agent: _Agent, event: CallStarted) -> None:
        within = agent.cell or agent.span
        if event.child is not None:
            parent = trace.set_span_in_context(within)
            child = self._agent(event.child, event.model, agent.providers, event.time, parent)
            span = child.span
        else:
            span = self._chat(agent, event.model, event.time, within)
        self._say(span, "gen_ai.input.messages", _message("user", event.prompt))
        span.set_attributes({"rlm.turn": event.turn, "rlm.call": event.call})
        agent.calls[event.call] = span, event.child

    def _call_finished(self, agent: _Agent, event: CallFinished) -> None:
        span, child = agent.calls.pop(event.call, (None, None))
        if span is None:
            return
        self._agents.pop(child or "", None)
        span.set_attribute("rlm.waited", event.waited)
        if event.reply is not None and child is None:
            self._answered(span, event.reply)
        self._fail(span, event.error)
        span.end(_nanoseconds(event.time))

    def _chat(self, agent: _Agent, model: str, time: float, parent: Span) -> Span:
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": agent.provider(model),
            "gen_ai.request.model": model,
        }
        span = self._start(f"chat {model}", SpanKind.CLIENT, attributes, time, trace.set_span_in_context(parent))
        if agent.compacted and parent is agent.span:
            span.set_attribute("gen_ai.conversation.compacted", True)
        return span

    def _answered(self, span: Span, reply: Reply) -> None:
        finish = FINISH.get(reply.finish, reply.finish)
        span.set_attributes({"gen_ai.response.model": reply.model, "gen_ai.response.finish_reasons": [finish]})
        span.set_attributes(_usage(reply.usage))
        said = _message("assistant", reply.text)
        self._say(span, "gen_ai.output.messages", said and [{**said[0], "finish_reason": finish}])

    def _start(
        self, name: str, kind: SpanKind, attributes: Attributes, time: float, parent: otel_context.Context
    ) -> Span:
        return self._tracer.start_span(name, parent, kind, attributes, start_time=_nanoseconds(time))

    def _say(self, span: Span, name: str, content: object) -> None:
        """Put content on a span, where that was asked for."""
        if self._content and content is not None and span.is_recording():
            span.set_attribute(name, json.dumps(content))

    def _fail(self, span: Span, error: tuple[str, str] | None) -> None:
        if error is not None:
            span.set_attribute("error.type", _error_type(error[0]))
            span.set_status(StatusCode.ERROR, _valid(error[1]) if self._content else None)


def _end(span: Span, time: float, error: str) -> None:
    span.set_attribute("error.type", _error_type(error))
    span.set_status(StatusCode.ERROR)
    span.end(_nanoseconds(time))


def _usage(usage: Usage) -> Attributes:
    """Tokens and dollars, where all of them are known."""
    out: Attributes = {}
    if not usage.unmetered:
        out = {"gen_ai.usage.input_tokens": usage.input_tokens, "gen_ai.usage.output_tokens": usage.output_tokens}
        for name, count in (
            ("cache_read.input_tokens", usage.cached_tokens),
            ("cache_write.input_tokens", usage.cache_write_tokens),
            ("reasoning.output_tokens", usage.reasoning_tokens),
        ):
            if count:
                out[f"gen_ai.usage.{name}"] = count
    if usage.cost is not None:
        out["rlm.usage.dollars"] = usage.cost
    if usage.reused:
        out["rlm.usage.reused"] = usage.reused
    return out


def _message(role: str, text: str | None) -> list[Attributes] | None:
    return None if text is None else [{"role": role, "parts": [{"type": "text", "content": text}]}]


def _providers(options: Mapping[str, Any], model: str) -> dict[str, str]:
    """The provider of each configured model, the root's first."""
    found: dict[str, str] = {}
    for label in (options.get("backend", ""), *options.get("other_backends", ())):
        provider, _, name = str(label).partition("/")
        found.setdefault(name or model, PROVIDERS.get(provider, provider) or "_OTHER")
    return found


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


def _error_type(name: str) -> str:
    return _valid(name[:LONGEST_NAME])  # a class that code in a cell made may have any name


def _valid(text: str) -> str:
    """The text as UTF-8 can hold it."""
    return text.encode("utf-8", "replace").decode()
