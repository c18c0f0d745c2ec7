"""Failures, on every backend alike: their kind, the provider's words, what to do, what was sent."""

from __future__ import annotations

import json
import socket
import traceback
from typing import Any

import pytest

from backends.asking import ASK, KEY, MODELS, ask, client, every_backend, every_protocol, failing, using
from rlm import registry
from rlm.errors import LMError
from rlm.testing import (
    LMServer,
    Scripted,
    context_length,
    empty_body,
    html_page,
    malformed_json,
    rate_limit,
    server_error,
)

SWIFT: dict[str, Any] = {"max_retries": 1}


@every_backend
def test_a_refused_key_names_the_variable_and_never_the_key(name: str) -> None:
    with LMServer(Scripted(status=401, error=f"Incorrect API key provided: {KEY}.")) as server:
        error = failing(client(name, server))
    assert (error.kind, error.status, error.model) == ("authentication", 401, MODELS[name])
    assert "Incorrect API key provided" in str(error)
    assert "_API_KEY" in error.hint
    shown = "".join(traceback.format_exception(error)) + repr(error) + str(error)
    assert KEY not in shown


@every_protocol
def test_no_key_is_shown_by_a_client(name: str) -> None:
    with LMServer() as server:
        made = client(name, server)
        assert KEY not in repr(made)
        assert KEY not in repr(vars(made))


@every_backend
def test_a_prompt_that_is_too_long_is_recognised(name: str) -> None:
    with LMServer(context_length()) as server:
        error = failing(client(name, server))
    assert (error.kind, error.usage.attempts, error.usage.unsettled) == ("context_length", 1, 0)


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens, however you requested 5000 tokens",
        "the request exceeds the available context size. try increasing the context size",
        "Input is too long for requested model.",
        "The prompt (total length 9000) exceeds the maximum model length. Increase `max_model_len`.",
        "input length and `max_tokens` exceed context limit: context window 200000",
    ],
)
def test_compatible_servers_say_too_long_in_many_ways(message: str) -> None:
    with LMServer(Scripted(status=400, error=message)) as server:
        assert failing(client("vllm", server)).kind == "context_length"


@every_protocol
def test_a_request_that_is_wrong_is_told_in_the_providers_words_and_not_repeated(name: str) -> None:
    with LMServer(Scripted(status=400, error="temperature: must be at most 2")) as server:
        error = failing(client(name, server), temperature=9)
        assert len(server.requests) == 1
    assert (error.kind, error.message) == ("bad_request", "temperature: must be at most 2")


@every_protocol
def test_a_model_the_provider_does_not_have_is_told(name: str) -> None:
    with LMServer(Scripted(status=404, error="The model `gpt-9` does not exist")) as server:
        assert failing(client(name, server)).kind == "unknown_model"


@every_protocol
def test_every_attempt_is_counted_when_a_retry_succeeds(name: str) -> None:
    with LMServer([rate_limit(), server_error(503), "at last"]) as server:
        reply = ask(client(name, server))
        assert len(server.requests) == 3
    assert (reply.text, reply.usage.calls, reply.usage.attempts) == ("at last", 1, 3)


@every_protocol
@pytest.mark.parametrize("streamed", [False, True])
def test_every_attempt_is_counted_when_none_succeeds(name: str, streamed: bool) -> None:
    with LMServer(rate_limit(0.02)) as server:
        error = failing(client(name, server), on_text=(lambda _: None) if streamed else None)
        assert len(server.requests) == error.usage.attempts == 3
    assert (error.kind, error.status, error.retry_after, error.usage.unsettled) == ("rate_limit", 429, 0.02, 0)


@every_protocol
def test_max_retries_is_kept(name: str) -> None:
    with LMServer(server_error()) as server:
        error = failing(client(name, server, max_retries=0))
    assert (error.kind, error.usage.attempts) == ("server", 1)


@pytest.mark.needs("google-genai")
def test_gemini_is_given_the_time_it_asks_for_in_the_body() -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.02s"}
    body = json.dumps({"error": {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED", "details": [detail]}})
    with LMServer(Scripted(status=429, body=body.encode())) as server:
        error = failing(client("gemini", server))
    assert (error.kind, error.retry_after, error.usage.attempts) == ("rate_limit", 0.02, 3)


@every_protocol
@pytest.mark.parametrize("garbage", [malformed_json(), html_page(), empty_body(), Scripted(body=b"[1]")])
def test_garbage_in_place_of_a_reply_is_malformed(name: str, garbage: Scripted) -> None:
    with LMServer(garbage) as server:
        error = failing(client(name, server))
    assert error.kind == "malformed"
    assert (error.usage.unmetered, error.usage.unpriced, error.usage.unsettled) == (1, 1, 1)


@every_protocol
def test_a_web_page_is_told_by_its_title(name: str) -> None:
    with LMServer(html_page(502)) as server:
        error = failing(client(name, server, max_retries=0))
    assert error.kind == "server"
    assert "<h1>" not in str(error)
    assert "Sign in" in str(error)


@pytest.mark.parametrize("body", [b"{}", b'{"choices": []}', b'{"choices": null}', b'{"choices": "no"}'])
def test_a_reply_without_a_choice_is_malformed(body: bytes) -> None:
    with LMServer(Scripted(body=body)) as server:
        assert failing(client("openai", server)).kind == "malformed"


@every_protocol
def test_half_a_reply_is_malformed(name: str) -> None:
    with LMServer(Scripted(text="word " * 100, cut=True)) as server:
        error = failing(client(name, server, **SWIFT))
    assert (error.kind, error.usage.attempts) == ("malformed", 2)


@every_protocol
def test_half_a_stream_is_malformed(name: str) -> None:
    with LMServer(Scripted(text="word " * 100, cut=True)) as server:
        error = failing(client(name, server), on_text=lambda _: None)
    assert error.kind == "malformed"


@every_protocol
def test_a_failure_inside_a_stream_is_told(name: str) -> None:
    with LMServer(Scripted(text="word " * 100, error="Overloaded")) as server:
        error = failing(client(name, server), on_text=lambda _: None)
    assert "Overloaded" in error.message


def test_a_router_tells_failures_in_a_reply_with_status_200() -> None:
    body = json.dumps({"error": {"code": 429, "message": "upstream is busy"}}).encode()
    with LMServer(Scripted(body=body)) as server:
        error = failing(client("openrouter", server))
    assert (error.kind, error.message) == ("rate_limit", "upstream is busy")


@every_protocol
@pytest.mark.parametrize("streamed", [False, True])
def test_no_answer_in_time_is_a_timeout(name: str, streamed: bool) -> None:
    with LMServer(Scripted(hang=True)) as server:
        error = failing(client(name, server, timeout=0.2, **SWIFT), on_text=(lambda _: None) if streamed else None)
    assert (error.kind, error.usage.attempts, error.usage.unsettled) == ("timeout", 2, 1)
    assert "timeout" in error.hint


@every_protocol
def test_a_server_that_is_not_there_is_a_connection_failure_that_used_nothing(name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        made = registry.backend(name)(model_name=MODELS[name], api_key=KEY, base_url=url, **SWIFT)
        error = failing(made)
    assert (error.kind, error.usage.attempts, error.usage.unsettled) == ("connection", 2, 0)
    assert "127.0.0.1" in error.message


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_a_filtered_prompt_is_a_refusal(name: str) -> None:
    body = json.dumps({"error": {"code": "content_filter", "message": "The prompt was filtered"}}).encode()
    with LMServer(Scripted(status=400, body=body)) as server:
        assert failing(client(name, server)).kind == "refusal"


def test_an_account_without_credit_is_told_what_to_do() -> None:
    error = Scripted(status=429, error="You exceeded your current quota", code="insufficient_quota")
    with LMServer(error) as server:
        assert "billing" in failing(client("openai", server, max_retries=0)).hint


@every_protocol
def test_an_observer_that_raises_is_not_taken_for_the_provider(name: str) -> None:
    def raising(text: str) -> None:
        raise ZeroDivisionError(text)

    with LMServer("hello") as server, pytest.raises(ZeroDivisionError):
        ask(client(name, server), on_text=raising)


@every_protocol
def test_twenty_kinds_of_garbage_never_raise_anything_but_an_lm_error(name: str) -> None:
    values: list[object] = [None, 0, "x", [], [None], {}, {"x": 1}]
    shapes = [
        *({"choices": [value]} for value in values),
        *({"choices": [{"message": {"content": value}, "finish_reason": value}]} for value in values),
        *({"type": "message", "content": value, "stop_reason": value, "usage": value} for value in values),
        *({"content": [value], "usage": {"input_tokens": value}} for value in values),
        *({"candidates": [value], "usageMetadata": value, "promptFeedback": value} for value in values),
        *({"candidates": [{"content": {"parts": [value]}, "finishReason": value}]} for value in values),
        *({"error": value} for value in values),
    ]
    with LMServer([Scripted(body=json.dumps(shape).encode()) for shape in shapes]) as server:

        async def work(made: Any) -> None:
            for _ in shapes:
                try:
                    reply = await made.complete(ASK)
                except LMError:
                    continue
                assert isinstance(reply.text, str)

        using(client(name, server), work)
        assert len(server.requests) == len(shapes)
