"""What a provider's reply becomes, on every backend alike."""

from __future__ import annotations

import json

import pytest

from backends.asking import MODELS, PROTOCOLS, ask, client, every_backend, every_protocol, failing, marked
from rlm.testing import LMServer, Scripted
from rlm.types import Message

LONG = "The answer, in many words: é, 漢字, 🙂. " * 8
both_ways = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@every_backend
def test_a_reply_has_its_text_and_the_model_that_was_asked(name: str) -> None:
    with LMServer(LONG) as server:
        reply = ask(client(name, server))
    assert (reply.text, reply.model, reply.finish, reply.reasoning) == (LONG, MODELS[name], "stop", "")
    assert (reply.usage.calls, reply.usage.attempts) == (1, 1)


@every_backend
def test_a_streamed_reply_is_the_same_reply_and_arrives_in_pieces(name: str) -> None:
    pieces: list[str] = []
    with LMServer(Scripted(text=LONG, reasoning="hm", cached_tokens=2)) as server:
        made = client(name, server)
        streamed = ask(made, on_text=pieces.append)
        whole = ask(client(name, server))
        assert [request.stream for request in server.requests] == [True, False]
    assert streamed == whole
    assert len(pieces) > 1
    assert "".join(pieces) == LONG


@every_backend
@both_ways
def test_counts_include_cached_and_reasoning_tokens(name: str, streamed: bool) -> None:
    scripted = Scripted(
        text="yes", reasoning="hm", input_tokens=100, cached_tokens=60, output_tokens=30, reasoning_tokens=20
    )
    with LMServer(scripted) as server:
        usage = ask(client(name, server), on_text=(lambda _: None) if streamed else None).usage
    assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.reasoning_tokens) == (100, 60, 30, 20)
    assert usage.unmetered == 0


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_tokens_written_to_the_cache_are_counted(name: str) -> None:
    with LMServer(Scripted(text="yes", input_tokens=100, cached_tokens=10, cache_write_tokens=50)) as server:
        usage = ask(client(name, server)).usage
    assert (usage.input_tokens, usage.cached_tokens, usage.cache_write_tokens) == (100, 10, 50)


@every_backend
@both_ways
def test_a_reply_that_tells_no_counts_is_unmetered_and_unpriced(name: str, streamed: bool) -> None:
    with LMServer(Scripted(text="yes", usage=False)) as server:
        usage = ask(client(name, server), on_text=(lambda _: None) if streamed else None).usage
    assert (usage.unmetered, usage.unpriced, usage.total_tokens, usage.cost) == (1, 1, 0, None)


@every_protocol
@both_ways
def test_thinking_is_reasoning_and_never_text(name: str, streamed: bool) -> None:
    pieces: list[str] = []
    with LMServer(Scripted(text="It is 4.", reasoning="Two and two, let me see.")) as server:
        reply = ask(client(name, server), on_text=pieces.append if streamed else None)
    assert (reply.text, reply.reasoning) == ("It is 4.", "Two and two, let me see.")
    assert "".join(pieces) == ("It is 4." if streamed else "")


@every_protocol
@both_ways
def test_a_refusal_is_told_with_its_text(name: str, streamed: bool) -> None:
    with LMServer(Scripted(text="I cannot help with that.", finish="refusal")) as server:
        reply = ask(client(name, server), on_text=(lambda _: None) if streamed else None)
    assert (reply.text, reply.finish) == ("I cannot help with that.", "refusal")


@pytest.mark.needs("google-genai")
def test_a_prompt_that_gemini_blocks_is_a_refusal() -> None:
    with LMServer(Scripted(choices=False, finish="refusal")) as server:
        assert ask(client("gemini", server)).finish == "refusal"


@every_protocol
@both_ways
def test_a_reply_cut_by_the_token_limit_says_so(name: str, streamed: bool) -> None:
    with LMServer(Scripted(text="The answ", finish="length")) as server:
        reply = ask(client(name, server), on_text=(lambda _: None) if streamed else None)
    assert (reply.text, reply.finish) == ("The answ", "length")


@every_protocol
@both_ways
def test_an_empty_reply_is_returned_with_how_it_finished(name: str, streamed: bool) -> None:
    with LMServer([Scripted(text=""), Scripted(text="", reasoning="hm", finish="length")]) as server:
        options = {"on_text": lambda _: None} if streamed else {}
        first = ask(client(name, server), **options)
        second = ask(client(name, server), **options)
    assert (first.text, first.finish) == ("", "stop")
    assert (second.text, second.reasoning, second.finish) == ("", "hm", "length")


@every_protocol
def test_a_way_of_finishing_that_nobody_knows_is_other(name: str) -> None:
    with LMServer(Scripted(text="x", finish="CONFUSED")) as server:
        assert ask(client(name, server)).finish == "other"


@pytest.mark.parametrize("name", marked(*PROTOCOLS))
def test_any_text_survives_both_ways(name: str) -> None:
    text = "quotes \" ' \\ CR \r LF \n CRLF \r\n U+2028 \u2028 NEL \x85 NUL \x00 🙂 漢字"
    with LMServer(lambda request: request.text) as server:
        reply = ask(client(name, server), [Message("user", text)])
        streamed = ask(client(name, server), [Message("user", text)], on_text=lambda _: None)
    assert reply.text == text
    assert streamed.text == text


@pytest.mark.parametrize("name", marked(*PROTOCOLS))
def test_a_lone_surrogate_does_not_fail_the_call(name: str) -> None:
    with LMServer(lambda request: request.text) as server:
        assert ask(client(name, server), [Message("user", "a\udcffb é")]).text == "a?b é"


def test_line_separators_inside_a_streamed_event_do_not_cut_it() -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": "a\u2028b\x85c"}, "finish_reason": "stop"}]}
    body = b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\r\n\r\ndata: [DONE]\r\n\r\n"
    with LMServer(Scripted(body=body, content_type="text/event-stream")) as server:
        assert ask(client("openai", server), on_text=lambda _: None).text == "a\u2028b\x85c"


def test_a_reply_that_opens_with_a_think_block_is_split() -> None:
    with LMServer(["<think>\nso\n</think>\n\nIt is 4.", "<think>without an end", "see <think>this</think>"]) as server:
        replies = [ask(client("vllm", server)) for _ in range(3)]
    assert [(r.text, r.reasoning) for r in replies] == [
        ("It is 4.", "so"),
        ("", "without an end"),
        ("see <think>this</think>", ""),
    ]


def test_content_in_typed_parts_is_joined() -> None:
    message = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
            {"type": "text", "text": "a"},
            {"type": "text", "text": "b"},
        ],
    }
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
    with LMServer(Scripted(body=body)) as server:
        reply = ask(client("openai", server))
    assert (reply.text, reply.reasoning) == ("ab", "hm")


def test_a_server_that_answers_a_streamed_request_whole_is_understood() -> None:
    body = json.dumps({"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}]}).encode()
    pieces: list[str] = []
    with LMServer(Scripted(body=body)) as server:
        assert ask(client("openai", server), on_text=pieces.append).text == "whole"
        assert len(server.requests) == 1
    assert pieces == ["whole"]


def test_a_server_that_cannot_stream_is_asked_again_without() -> None:
    refusal = Scripted(status=400, error="Unrecognized request argument supplied: stream_options")
    pieces: list[str] = []
    with LMServer(lambda request: refusal if request.stream else "plain") as server:
        reply = ask(client("vllm", server), on_text=pieces.append)
    assert (reply.text, pieces, reply.usage.attempts) == ("plain", ["plain"], 2)


@every_protocol
def test_a_stream_that_ends_before_its_reply_is_malformed(name: str) -> None:
    with LMServer(Scripted(text=LONG, ends_early=True)) as server:
        error = failing(client(name, server), on_text=lambda _: None)
    assert error.kind == "malformed"
    assert (error.usage.attempts, error.usage.unsettled, error.usage.unpriced) == (1, 1, 1)
