"""Runs as OpenTelemetry spans, against the SDK's own exporters."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.trace import SpanKind, StatusCode

from rlm import RLM, LMError, RLMError
from rlm.events import Event
from rlm.otel import OpenTelemetryObserver
from rlm.testing import LMServer, Request, ScriptedClient

SECRET = "the launch code is 1234"
CODE = {
    0: [f"llm_query('leaf {SECRET}')\nrlm_query('depth 1')", f"raise KeyError('{SECRET}')", f"FINAL('{SECRET}')"],
    1: [f"try:\n    llm_query('fail')\nexcept LMError as error:\n    print(error, '{SECRET}')", "FINAL('2')"],
}


def repl(code: str) -> str:
    return f"```repl\n{code}\n```"


def model(messages: Any) -> str:
    if messages[0].role == "user":
        if messages[0].content == "fail":
            raise LMError("slow down", kind="rate_limit")
        return f"a leaf: {SECRET}"
    depth = int("depth 1" in messages[1].content)
    return repl(CODE[depth][sum(message.role == "assistant" for message in messages)])


class Started(SpanProcessor):
    """Counts what begins and what ends."""

    def __init__(self) -> None:
        self.open: Counter[int] = Counter()

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.open[span.context.span_id] += 1

    def on_end(self, span: Any) -> None:
        self.open[span.context.span_id] -= 1


class Recorder:
    """A tracer provider and what was exported of its spans."""

    def __init__(self, **options: Any) -> None:
        self.provider = TracerProvider()
        self.exporter, self.started = InMemorySpanExporter(), Started()
        self.provider.add_span_processor(self.started)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.observer = OpenTelemetryObserver(tracer_provider=self.provider, **options)

    @property
    def spans(self) -> list[ReadableSpan]:
        assert set(self.started.open.values()) <= {0}, "a span was left open"
        return sorted(self.exporter.get_finished_spans(), key=lambda span: (span.start_time, -span.end_time))  # type: ignore[operator, return-value]

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name.startswith(name)]

    def run(self, script: Any = model, **options: Any) -> Any:
        root, sub = ScriptedClient(script, model="root"), ScriptedClient(script, model="sub")
        rlm = RLM(backend=root, other_backends=[sub], observers=[self.observer], **{"max_depth": 2, **options})
        return rlm.completion("the context", f"what is it? {SECRET}")


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def drawn(spans: list[ReadableSpan], parent: int | None = None, depth: int = 0) -> list[str]:
    """The tree of the spans, a line each, in the order they began."""
    own = [span for span in spans if (span.parent.span_id if span.parent else None) == parent]
    return [
        line
        for span in own
        for line in ("  " * depth + span.name, *drawn(spans, span.context.span_id if span.context else 0, depth + 1))
    ]


def test_a_run_is_an_agent_its_cells_are_tools_and_calls_lie_in_the_cell_that_made_them() -> None:
    recorder = Recorder()
    recorder.run()
    assert drawn(recorder.spans) == [
        "invoke_agent rlm",
        "  chat root",
        "  execute_tool code_interpreter",
        "    chat sub",
        "    invoke_agent rlm",
        "      chat sub",
        "      execute_tool code_interpreter",
        "        chat sub",
        "      chat sub",
        "      execute_tool code_interpreter",
        "  chat root",
        "  execute_tool code_interpreter",
        "  chat root",
        "  execute_tool code_interpreter",
    ]
    kinds = {(span.name.split()[0], span.kind) for span in recorder.spans}
    assert kinds == {
        ("invoke_agent", SpanKind.INTERNAL),
        ("execute_tool", SpanKind.INTERNAL),
        ("chat", SpanKind.CLIENT),
    }
    for span in recorder.spans:
        assert attributes(span)["gen_ai.operation.name"] == span.name.split()[0]


def test_the_names_are_those_of_the_semantic_conventions() -> None:
    recorder = Recorder(capture_content=True)
    recorder.run()
    known = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")}
    known |= {error_attributes.ERROR_TYPE}
    used = {name for span in recorder.spans for name in attributes(span)}
    assert {name for name in used if not name.startswith("rlm.")} <= known
    required = {"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"}
    for span in recorder.named("chat"):
        assert required <= set(attributes(span))
    (root, child) = (attributes(span) for span in recorder.named("invoke_agent"))
    assert (root["gen_ai.agent.name"], root["gen_ai.request.model"]) == ("rlm", "root")
    assert (child["gen_ai.agent.name"], child["gen_ai.request.model"]) == ("rlm", "sub")
    assert child["rlm.run"] == root["rlm.run"] + "/0"
    tool = attributes(recorder.named("execute_tool")[0])
    assert (tool["gen_ai.tool.name"], tool["gen_ai.tool.type"]) == ("code_interpreter", "function")
    assert tool["gen_ai.tool.call.id"] == f"{root['rlm.run']}:0.0"


def test_replies_tell_tokens_model_and_finish_and_the_run_tells_the_sum() -> None:
    recorder = Recorder()
    result = recorder.run()
    chats = [attributes(span) for span in recorder.named("chat")]
    answered = [chat for chat in chats if "error.type" not in chat]
    total = result.usage_summary.total
    assert sum(chat["gen_ai.usage.input_tokens"] for chat in answered) == total.input_tokens
    assert sum(chat["gen_ai.usage.output_tokens"] for chat in answered) == total.output_tokens
    root = attributes(recorder.named("invoke_agent")[0])
    assert root["gen_ai.usage.input_tokens"] == total.input_tokens
    assert {(chat["gen_ai.response.model"], chat["gen_ai.response.finish_reasons"]) for chat in answered} == {
        ("root", ("stop",)),
        ("sub", ("stop",)),
    }
    assert "rlm.usage.dollars" not in root


def test_failures_have_a_type_and_the_rest_has_none() -> None:
    recorder = Recorder()
    recorder.run()
    failed = {span.name: attributes(span)["error.type"] for span in recorder.spans if not span.status.is_ok}
    assert failed == {"chat sub": "rate_limit", "execute_tool code_interpreter": "KeyError"}
    assert sum(span.status.status_code is StatusCode.ERROR for span in recorder.spans) == 2


def test_no_content_is_told_unless_that_is_asked_for() -> None:
    recorder = Recorder()
    recorder.run()
    assert not any(SECRET in span.to_json() for span in recorder.spans)
    assert not any("messages" in name or "call.arguments" in name for s in recorder.spans for name in attributes(s))


def test_content_is_told_where_it_is_asked_for() -> None:
    recorder = Recorder(capture_content=True)
    recorder.run()
    root = attributes(recorder.named("invoke_agent")[0])
    assert json.loads(root["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": f"what is it? {SECRET}"}]}
    ]
    assert json.loads(root["gen_ai.output.messages"])[0]["parts"][0]["content"] == SECRET
    leaf = attributes(recorder.named("chat sub")[0])
    assert json.loads(leaf["gen_ai.input.messages"])[0]["parts"][0]["content"] == f"leaf {SECRET}"
    assert json.loads(leaf["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": f"a leaf: {SECRET}"}], "finish_reason": "stop"}
    ]
    tools = recorder.named("execute_tool")
    assert json.loads(attributes(tools[0])["gen_ai.tool.call.arguments"]) == {"code": CODE[0][0]}
    (broken,) = [span for span in tools if not span.status.is_ok]
    assert "KeyError" in json.loads(attributes(broken)["gen_ai.tool.call.result"])["error"]
    assert SECRET in str(broken.status.description)


@pytest.mark.parametrize(("value", "told"), [("true", True), ("SPAN_ONLY", True), ("event_only", False), ("", False)])
def test_the_conventions_variable_asks_for_content_too(monkeypatch: pytest.MonkeyPatch, value: str, told: bool) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", value)
    recorder = Recorder()
    recorder.run()
    assert any(SECRET in span.to_json() for span in recorder.spans) is told


def test_the_span_active_where_a_completion_is_called_is_the_parent_of_its_run() -> None:
    recorder = Recorder()
    tracer = recorder.provider.get_tracer("app")
    with tracer.start_as_current_span("blocking"):
        recorder.run()
    rlm = RLM(backend=ScriptedClient(lambda _: repl("FINAL(1)")), observers=[recorder.observer])

    async def request(number: int) -> None:
        with tracer.start_as_current_span(f"request {number}"):
            await rlm.acompletion("c", "q")

    async def main() -> None:
        await asyncio.gather(*(request(number) for number in range(20)))

    asyncio.run(main())
    spans = recorder.spans
    assert drawn(spans)[:3] == ["blocking", "  invoke_agent rlm", "    chat root"]
    for number in range(20):
        (request_span,) = [span for span in spans if span.name == f"request {number}"]
        own = [span for span in spans if span.context.trace_id == request_span.context.trace_id]  # type: ignore[union-attr]
        assert drawn(own) == [
            f"request {number}",
            "  invoke_agent rlm",
            "    chat scripted",
            "    execute_tool code_interpreter",
        ]


def test_an_observer_that_is_late_tells_the_times_at_which_things_happened() -> None:
    recorder = Recorder()
    gate, ended = threading.Event(), threading.Event()

    class Late:
        def __call__(self, event: Event) -> None:
            assert gate.wait(60)
            recorder.observer(event)
            if type(event).__name__ == "RunFinished":
                ended.set()

    result = RLM(backend=ScriptedClient([repl("FINAL(1)")]), observers=[Late()]).completion("c", "q")
    gate.set()
    assert ended.wait(60)
    times = {type(event).__name__: int(event.time * 1e9) for event in result.trajectory}
    agent, chat, tool = recorder.spans
    assert (agent.start_time, agent.end_time) == (times["RunStarted"], times["RunFinished"])
    assert chat.end_time == times["ReplyReceived"]
    assert times["TurnStarted"] - 1_000_000 <= int(chat.start_time or 0) <= times["ReplyReceived"]
    assert (tool.start_time, tool.end_time) == (times["CellStarted"], times["CellFinished"])


def test_a_run_that_its_model_ends_tells_the_call_that_failed() -> None:
    recorder = Recorder()
    with pytest.raises(LMError):
        recorder.run([repl("x = 1"), LMError("down", kind="server")])
    agent, *_, last = recorder.spans
    assert (agent.name, attributes(agent)["error.type"]) == ("invoke_agent rlm", "LMError")
    assert (last.name, attributes(last)["error.type"]) == ("chat root", "server")
    assert drawn(recorder.spans) == [
        "invoke_agent rlm",
        "  chat root",
        "  execute_tool code_interpreter",
        "  chat root",
    ]


def test_a_run_that_is_cancelled_leaves_no_span_open() -> None:
    recorder = Recorder()
    hanging = asyncio.Event()

    async def hangs(messages: Any) -> str:
        if messages[0].role == "user":
            hanging.set()
            await asyncio.Event().wait()
        return repl("rlm_query_batched(['a', 'b'])") if "q" in messages[1].content else repl("llm_query('leaf')")

    async def main() -> None:
        rlm = RLM(backend=hangs, max_depth=2, observers=[recorder.observer])
        task = asyncio.create_task(rlm.acompletion("c", "q"))
        await hanging.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    agents = recorder.named("invoke_agent")
    assert len(agents) == 3
    assert {attributes(span)["error.type"] for span in agents} == {"CancelledError", "cancelled"}


def test_the_limit_that_ended_a_run_and_how_near_others_came_are_told() -> None:
    recorder = Recorder()
    recorder.run(lambda _: repl("print(1)"), max_iterations=2, max_subcalls=2)
    (agent,) = recorder.named("invoke_agent")
    assert (attributes(agent)["rlm.status"], attributes(agent)["rlm.limit"]) == ("forced", "max_iterations")
    assert agent.status.is_ok
    recorder = Recorder()
    with pytest.raises(RLMError):
        recorder.run(lambda messages: repl("llm_query('x')\n1 / 0"), max_subcalls=2, max_errors=2)
    (agent,) = recorder.named("invoke_agent")
    assert attributes(agent)["error.type"] == "ErrorThresholdExceededError"
    assert attributes(agent)["rlm.limit"] == "max_errors"
    told = [event for event in agent.events if event.name == "rlm.limit_approached"]
    assert [(event.attributes or {})["used"] for event in told] == [1, 2]


def test_what_is_not_known_is_not_told(lm_server: Callable[..., LMServer]) -> None:
    from rlm.testing import Scripted

    server = lm_server(Scripted(text=repl("FINAL(1)"), usage=False))
    recorder = Recorder()
    kwargs = {"model_name": "m", "api_key": "none-needed", "base_url": server.openai_base_url}
    RLM(backend="openai", backend_kwargs=kwargs, observers=[recorder.observer]).completion("c", "q")
    for span in recorder.named("chat") + recorder.named("invoke_agent"):
        assert not any("tokens" in name or "dollars" in name for name in attributes(span))


def test_providers_are_named_as_the_conventions_name_them(lm_server: Callable[..., LMServer]) -> None:
    def answer(request: Request) -> str:
        return "leaf" if request.text == "leaf" else repl("FINAL(llm_query('leaf'))")

    server = lm_server(answer)
    recorder = Recorder()
    key = {"api_key": "none-needed"}
    RLM(
        backend="openai",
        backend_kwargs={"model_name": "big", "base_url": server.openai_base_url, **key},
        other_backends=["anthropic"],
        other_backend_kwargs=[{"model_name": "small", "base_url": server.anthropic_base_url, **key}],
        observers=[recorder.observer],
    ).completion("c", "q")
    named = {span.name: attributes(span)["gen_ai.provider.name"] for span in recorder.named("chat")}
    assert named == {"chat big": "openai", "chat small": "anthropic"}


def test_a_summary_of_the_history_is_a_call_and_marks_those_that_follow() -> None:
    def forgetful(messages: Any) -> str:
        if "summar" in messages[-1].content.lower() and len(messages) > 3:
            return "so far nothing"
        turn = sum(message.role == "assistant" for message in messages)
        return repl("print('x' * 6_000)") if turn < 2 and not summarised(messages) else repl("FINAL(1)")

    def summarised(messages: Any) -> bool:
        return any("so far nothing" in message.content for message in messages)

    recorder = Recorder()
    client = ScriptedClient(forgetful, context_window=4_000)
    RLM(backend=client, compaction=True, observers=[recorder.observer]).completion("c", "q")
    marks = ["gen_ai.conversation.compacted" in attributes(span) for span in recorder.named("chat")]
    assert marks[0] is False
    assert marks[-1] is True
    assert len(marks) > sum(span.name.startswith("execute_tool") for span in recorder.spans)


MISSING = """
import sys
sys.modules["opentelemetry"] = None
try:
    import rlm.otel
except Exception as exc:
    print(type(exc).__name__, exc)
"""


def test_without_the_package_it_is_said_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith('SetupError rlm.otel needs the package opentelemetry-api: pip install "rlm[otel]"')
