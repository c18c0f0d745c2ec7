"""The local LM server, asked by the providers' own SDKs."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import anthropic
import openai
import pytest

from rlm.testing import LMServer, Request, Scripted, context_length, empty_body, html_page, malformed_json, rate_limit
from rlm.types import Usage

Start = Callable[..., LMServer]
THOUGHTFUL = Scripted(
    text="The answer is 42.",
    reasoning="Let me think.",
    input_tokens=100,
    output_tokens=20,
    reasoning_tokens=7,
    cached_tokens=60,
)


def ask_openai(server: LMServer, text: str = "hi", *, retries: int = 0, timeout: float = 20.0, **options: Any) -> Any:
    with openai.OpenAI(base_url=server.openai_base_url, api_key="k", max_retries=retries, timeout=timeout) as client:
        return client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}], **options)


def ask_anthropic(server: LMServer, **options: Any) -> Any:
    with anthropic.Anthropic(base_url=server.anthropic_base_url, api_key="k", max_retries=0) as client:
        return client.messages.create(model="c", max_tokens=9, messages=[{"role": "user", "content": "hi"}], **options)


def stream_openai(server: LMServer, **options: Any) -> list[Any]:
    with openai.OpenAI(base_url=server.openai_base_url, api_key="k", max_retries=0) as client:
        chunks = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=True, **options
        )
        return list(chunks)


def test_openai_has_the_text_the_reasoning_and_the_whole_usage(lm_server: Start) -> None:
    reply = ask_openai(lm_server(THOUGHTFUL))
    message, usage = reply.choices[0].message, reply.usage
    assert (message.content, message.reasoning_content) == ("The answer is 42.", "Let me think.")
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (100, 20, 120)
    assert usage.prompt_tokens_details.cached_tokens == 60
    assert usage.completion_tokens_details.reasoning_tokens == 7


@pytest.mark.parametrize(
    ("finish", "reason", "content", "refusal"),
    [
        ("stop", "stop", "text", None),
        ("length", "length", "text", None),
        ("refusal", "stop", None, "text"),
        ("content_filter", "content_filter", "text", None),
    ],
)
def test_openai_finishes(lm_server: Start, finish: str, reason: str, content: str | None, refusal: str | None) -> None:
    choice = ask_openai(lm_server(Scripted(text="text", finish=finish))).choices[0]
    assert (choice.finish_reason, choice.message.content, choice.message.refusal) == (reason, content, refusal)


def test_openai_streams_the_same_text_and_usage_only_when_asked(lm_server: Start) -> None:
    server = lm_server(THOUGHTFUL)
    plain = stream_openai(server)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in plain) == "The answer is 42."
    assert plain[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in plain)
    *_, last = stream_openai(server, stream_options={"include_usage": True})
    assert last.choices == []
    assert (last.usage.prompt_tokens, last.usage.prompt_tokens_details.cached_tokens) == (100, 60)


def test_a_router_tells_the_cost(lm_server: Start) -> None:
    assert ask_openai(lm_server(Scripted(text="x", cost=0.25))).usage.cost == 0.25


def test_a_provider_may_tell_no_usage(lm_server: Start) -> None:
    server = lm_server(Scripted(text="x", usage=False))
    assert ask_openai(server).usage is None
    assert server.usage == Usage(calls=1, attempts=1)


def test_anthropic_has_thinking_first_and_cached_tokens_apart(lm_server: Start) -> None:
    reply = ask_anthropic(lm_server(THOUGHTFUL))
    assert [block.type for block in reply.content] == ["thinking", "text"]
    usage = reply.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (40, 60, 20)
    assert usage.output_tokens_details.thinking_tokens == 7


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("refusal", "refusal"), ("pause_turn", "pause_turn")],
)
def test_anthropic_finishes(lm_server: Start, finish: str, reason: str) -> None:
    assert ask_anthropic(lm_server(Scripted(text="x", finish=finish))).stop_reason == reason


def test_anthropic_streams_to_the_same_message(lm_server: Start) -> None:
    server = lm_server(THOUGHTFUL)
    with anthropic.Anthropic(base_url=server.anthropic_base_url, api_key="k", max_retries=0) as client:
        with client.messages.stream(
            model="c", max_tokens=9, system="be brief", messages=[{"role": "user", "content": "hi"}]
        ) as stream:
            final = stream.get_final_message()
    assert [getattr(block, "thinking", None) or getattr(block, "text", None) for block in final.content] == [
        "Let me think.",
        "The answer is 42.",
    ]
    assert (final.stop_reason, final.usage.output_tokens, final.usage.cache_read_input_tokens) == ("end_turn", 20, 60)
    assert server.requests[0].messages == (("system", "be brief"), ("user", "hi"))


@pytest.mark.needs("google-genai")
@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
def test_gemini_whole_and_streamed(lm_server: Start) -> None:
    from google import genai

    async def ask() -> tuple[Any, list[Any]]:
        client = genai.Client(api_key="k", http_options={"base_url": server.gemini_base_url})
        config: Any = {"system_instruction": "be brief"}
        try:
            models = client.aio.models
            whole = await models.generate_content(model="gemini-x", contents="hi", config=config)
            stream = await models.generate_content_stream(model="gemini-x", contents="hi", config=config)
            return whole, [chunk async for chunk in stream]
        finally:
            await client.aio.aclose()
            client.close()

    server = lm_server(THOUGHTFUL)
    whole, chunks = asyncio.run(ask())
    used = whole.usage_metadata
    assert [(part.text, bool(part.thought)) for part in whole.candidates[0].content.parts] == [
        ("Let me think.", True),
        ("The answer is 42.", False),
    ]
    assert (used.prompt_token_count, used.cached_content_token_count) == (100, 60)
    assert (used.candidates_token_count, used.thoughts_token_count, used.total_token_count) == (13, 7, 120)
    assert "".join(chunk.text or "" for chunk in chunks) == "The answer is 42."
    assert chunks[-1].usage_metadata.total_token_count == 120
    assert server.requests[0].messages == (("system", "be brief"), ("user", "hi"))
    assert [request.stream for request in server.requests] == [False, True]


def test_any_text_survives_whole_and_streamed(lm_server: Start) -> None:
    text = 'NUL \0 CR \r\n U+2028 \u2028 emoji 🧪 quotes "\\" data: [DONE]\n\n' * 20
    server = lm_server(text)
    assert ask_openai(server, text).choices[0].message.content == text
    assert server.requests[0].text == text
    assert "".join(c.choices[0].delta.content or "" for c in stream_openai(server)) == text


def test_token_counts_are_a_quarter_of_the_characters(lm_server: Start) -> None:
    usage = ask_openai(lm_server("x" * 40), "y" * 80).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (20, 10)


def test_replies_come_in_order_and_a_script_that_has_run_out_says_so(lm_server: Start) -> None:
    server = lm_server(["one", Scripted(text="two")])
    assert [ask_openai(server).choices[0].message.content for _ in range(2)] == ["one", "two"]
    with pytest.raises(openai.BadRequestError, match="no reply left for request 3"):
        ask_openai(server, retries=2)


def test_a_function_of_the_request_may_be_async_and_its_failure_is_shown(lm_server: Start) -> None:
    async def script(request: Request) -> str:
        await asyncio.sleep(0)
        return f"{request.number} {request.model} {1 // (request.number - 2)}"

    server = lm_server(script)
    assert ask_openai(server).choices[0].message.content == "1 m -1"
    with pytest.raises(openai.BadRequestError, match="ZeroDivisionError"):
        ask_openai(server)


def test_every_attempt_is_recorded(lm_server: Start) -> None:
    server = lm_server([rate_limit(), Scripted(status=500, error="x", headers={"retry-after": "0.01"}), "fine"])
    assert ask_openai(server, retries=2, temperature=0.5).choices[0].message.content == "fine"
    assert [exchange.status for exchange in server.exchanges] == [429, 500, 200]
    assert server.usage == Usage(calls=1, attempts=3, output_tokens=1)
    assert server.requests[2].body["temperature"] == 0.5


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "api-key", "x-goog-api-key", "x-portkey-api-key"])
def test_no_key_is_recorded(lm_server: Start, name: str) -> None:
    server = lm_server()
    ask_openai(server, extra_headers={name: "Bearer sk-123"})
    assert server.requests[0].headers[name.lower()] == "[redacted]"
    assert "sk-123" not in repr(server.requests) + str(server.requests[0].headers)


def test_failures_speak_each_provider_s_language(lm_server: Start) -> None:
    with pytest.raises(openai.BadRequestError) as openai_error:
        ask_openai(lm_server(context_length()))
    assert openai_error.value.code == "context_length_exceeded"
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
        ask_anthropic(lm_server(context_length()))
    with pytest.raises(anthropic.RateLimitError):
        ask_anthropic(lm_server(rate_limit()))


@pytest.mark.parametrize("item", [malformed_json(), empty_body()], ids=["half a JSON", "nothing"])
def test_garbage_is_sent_as_it_stands(lm_server: Start, item: Scripted) -> None:
    with pytest.raises(ValueError):
        ask_openai(lm_server(item))


def test_html_and_empty_choices_arrive(lm_server: Start) -> None:
    assert "<h1>" in str(ask_openai(lm_server(html_page())))
    assert ask_openai(lm_server(Scripted(choices=False))).choices == []
    assert ask_anthropic(lm_server(Scripted(choices=False))).content == []


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_half_a_reply_and_then_a_closed_connection(lm_server: Start, stream: bool) -> None:
    server = lm_server(Scripted(text="x" * 400, cut=True))
    with pytest.raises(openai.APIConnectionError):
        stream_openai(server) if stream else ask_openai(server)
    assert server.usage.calls == 0


def test_a_stream_that_ends_early_and_one_that_fails_in_the_middle(lm_server: Start) -> None:
    chunks = stream_openai(lm_server(Scripted(text="x" * 400, ends_early=True)))
    assert chunks
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks)
    with pytest.raises(openai.APIError, match="overloaded"):
        stream_openai(lm_server(Scripted(text="x" * 400, error="overloaded")))


def test_a_client_that_leaves_a_hanging_request_is_noticed(lm_server: Start) -> None:
    server = lm_server(Scripted(hang=True))
    with pytest.raises(openai.APITimeoutError):
        ask_openai(server, timeout=0.2)
    server.wait_until(lambda seen: len(seen.exchanges) == 1)
    assert server.exchanges[0].dropped
    assert server.in_flight == 0


def test_the_server_stops_while_requests_hang() -> None:
    def ask() -> None:
        with pytest.raises(openai.APIConnectionError):
            ask_openai(server)

    with LMServer(Scripted(hang=True)) as server:
        asker = threading.Thread(target=ask)
        asker.start()
        server.wait_until(lambda seen: seen.in_flight == 1)
    asker.join(20)
    assert not asker.is_alive()


def test_it_says_how_many_were_in_flight_at_once(lm_server: Start) -> None:
    async def script(request: Request) -> str:
        await asyncio.to_thread(server.wait_until, lambda seen: seen.max_in_flight == 8)
        return "together"

    async def ask() -> None:
        async with openai.AsyncOpenAI(base_url=server.openai_base_url, api_key="k", max_retries=0) as client:
            calls = (client.chat.completions.create(model="m", messages=[]) for _ in range(8))
            await asyncio.gather(*calls)

    server = lm_server(script)
    asyncio.run(ask())
    assert server.max_in_flight == 8


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[1]", b'"x"', b"[" * 200_000], ids=lambda b: repr(b[:4]))
def test_a_request_that_is_no_request_is_refused_and_breaks_nothing(lm_server: Start, body: bytes) -> None:
    server = lm_server()
    for path, status in (("/v1/chat/completions", 400), ("/v1/messages", 400), ("/elsewhere", 404)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(server.url + path, data=body, timeout=20)
        with caught.value:
            assert caught.value.code == status
    assert ask_openai(server).choices[0].message.content == "ok"


def test_odd_messages_are_read_as_far_as_they_go(lm_server: Start) -> None:
    server = lm_server()
    content = [{"type": "text", "text": "a"}, {"type": "image_url"}, "b"]
    body = {"model": None, "messages": [{"role": "user", "content": content}, 7, {"content": None}]}
    request = urllib.request.Request(f"{server.url}/v1/chat/completions", data=json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200
    assert server.requests[0].messages == (("user", "ab"), ("None", ""))


def test_twenty_servers_run_side_by_side() -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(LMServer(str(n))) for n in range(20)]
        assert [ask_openai(server).choices[0].message.content for server in servers] == [str(n) for n in range(20)]


def test_waiting_for_what_does_not_come_times_out(lm_server: Start) -> None:
    with pytest.raises(TimeoutError, match="0 requests arrived"):
        lm_server().wait_until(lambda seen: seen.max_in_flight == 1, timeout=0.01)


def test_a_taken_port_is_an_error_of_the_program_that_asked_for_it(lm_server: Start) -> None:
    with pytest.raises(OSError, match="address already in use"):
        lm_server(port=lm_server().port)
