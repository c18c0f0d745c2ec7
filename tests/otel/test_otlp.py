"""Spans over OTLP, from the SDK's exporter to an endpoint of its own on this machine."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from rlm import RLM
from rlm.otel import OpenTelemetryObserver
from rlm.testing import ScriptedClient

HALF = "\ud83d"


class Collector(ThreadingHTTPServer):
    """Takes what a collector takes at /v1/traces."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[ExportTraceServiceRequest] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/traces"


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        good = self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
        if good:
            self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        reply = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200 if good else 400)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_run_arrives_over_otlp_whatever_its_texts_hold(collector: Collector) -> None:
    provider = TracerProvider(resource=Resource.create({"service.name": "tested"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(collector.url)))
    observer = OpenTelemetryObserver(tracer_provider=provider, capture_content=True)
    reply = f"Half a pair: {HALF}.\n```repl\nprint('\\ud83d', '\\x00')\nFINAL(llm_query('\\ud83d \\u2028'))\n```"
    client = ScriptedClient(lambda messages: "leaf" if len(messages) == 1 else reply)
    answer = RLM(backend=client, observers=[observer]).completion("c", "q").response
    assert answer == "leaf"
    provider.shutdown()
    resources = [resource for request in collector.requests for resource in request.resource_spans]
    spans = [span for resource in resources for scope in resource.scope_spans for span in scope.spans]
    assert {scope.scope.name for resource in resources for scope in resource.scope_spans} == {"rlm"}
    assert sorted(span.name for span in spans) == [
        "chat scripted",
        "chat scripted",
        "execute_tool code_interpreter",
        "invoke_agent rlm",
    ]
    assert len({span.trace_id for span in spans}) == 1
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        if span.parent_span_id:
            parent = by_id[span.parent_span_id]
            assert parent.start_time_unix_nano <= span.start_time_unix_nano
            assert span.end_time_unix_nano <= parent.end_time_unix_nano
    told = [
        (attribute.key, attribute.value.string_value)
        for span in spans
        for attribute in span.attributes
        if "\\ud83d" in attribute.value.string_value
    ]
    assert {name for name, _ in told} == {
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
    }
    assert any(HALF in json.dumps(json.loads(text), ensure_ascii=False) for _, text in told)
