"""What is sent: sampling arguments, roles, cache marks, keys and addresses."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import pytest
from aiohttp import web

from backends.asking import KEY, MODELS, ask, client, every_protocol, using
from rlm import registry
from rlm.testing import LMServer
from rlm.types import Message, Reply

TALK = [Message("system", "S"), Message("user", "a"), Message("assistant", "b"), Message("user", "c")]


def sent(name: str, messages: list[Message] = TALK, *, kwargs: dict[str, Any] | None = None, **options: Any) -> Any:
    """The body of the one request that a call sends."""
    with LMServer() as server:
        ask(client(name, server, **(kwargs or {})), messages, **options)
        return server.requests[0].body


SAMPLING = {
    "temperature": 0.3,
    "top_p": 0.9,
    "max_tokens": 77,
    "stop": ["END"],
    "seed": 5,
    "reasoning_effort": "low",
    "extra_body": {"special": 1},
}


def test_sampling_arguments_reach_openai() -> None:
    body = sent("openai", **SAMPLING)
    assert {name: body[name] for name in ("temperature", "top_p", "stop", "seed", "reasoning_effort", "special")} == {
        "temperature": 0.3,
        "top_p": 0.9,
        "stop": ["END"],
        "seed": 5,
        "reasoning_effort": "low",
        "special": 1,
    }
    assert body["max_completion_tokens"] == 77
    assert "max_tokens" not in body


def test_sampling_arguments_reach_anthropic_under_its_names() -> None:
    body = sent("anthropic", **SAMPLING)
    assert (body["temperature"], body["top_p"], body["max_tokens"], body["seed"]) == (0.3, 0.9, 77, 5)
    assert (body["stop_sequences"], body["output_config"], body["special"]) == (["END"], {"effort": "low"}, 1)
    assert "stop" not in body
    assert "reasoning_effort" not in body


@pytest.mark.needs("google-genai")
def test_sampling_arguments_reach_gemini_under_its_names() -> None:
    body = sent("gemini", **SAMPLING)
    assert body["generationConfig"] == {
        "temperature": 0.3,
        "topP": 0.9,
        "maxOutputTokens": 77,
        "stopSequences": ["END"],
        "seed": 5,
        "thinkingConfig": {"thinkingBudget": 1024},
    }
    assert body["special"] == 1
    later = sent("gemini", kwargs={"model_name": "gemini-3-pro-preview"}, reasoning_effort="high", stop="X")
    assert later["generationConfig"] == {"thinkingConfig": {"thinkingLevel": "high"}, "stopSequences": ["X"]}


def test_openrouter_is_told_the_effort_and_to_report_the_cost_in_its_own_words() -> None:
    body = sent("openrouter", reasoning_effort="high")
    assert (body["reasoning"], body["usage"]) == ({"effort": "high"}, {"include": True})


@every_protocol
def test_a_calls_arguments_go_before_those_of_the_client_and_none_is_not_given(name: str) -> None:
    kwargs = {"sampling_args": {"temperature": 0.1, "seed": 1}}
    body = sent(name, kwargs=kwargs, temperature=0.8, seed=None, top_p=None)
    config = body.get("generationConfig", body)
    assert config["temperature"] == 0.8
    assert config["seed"] == 1
    assert not {"top_p", "topP"} & config.keys()


@pytest.mark.parametrize(
    ("name", "model", "field"),
    [
        ("openai", "o3", "max_completion_tokens"),
        ("portkey", "@openai/gpt-5-mini", "max_completion_tokens"),
        ("azure_openai", "my-deployment", "max_completion_tokens"),
        ("openai", "qwen3-8b", "max_tokens"),
        ("vllm", "qwen3-8b", "max_tokens"),
        ("openrouter", "anthropic/claude-sonnet-4.5", "max_tokens"),
    ],
)
def test_the_token_limit_goes_into_the_field_the_server_knows(name: str, model: str, field: str) -> None:
    body = sent(name, kwargs={"model_name": model}, max_tokens=9)
    assert {key: body[key] for key in body if "tokens" in key} == {field: 9}


@pytest.mark.parametrize(
    ("model", "limit"), [("claude-opus-4-20250514", 32_000), ("claude-3-5-haiku-20241022", 8_192), ("new-one", 32_000)]
)
def test_anthropic_is_sent_a_token_limit_that_its_model_takes(model: str, limit: int) -> None:
    assert sent("anthropic", kwargs={"model_name": model})["max_tokens"] == limit


def test_anthropic_is_sent_cache_marks_on_the_system_prompt_and_the_last_message() -> None:
    mark = {"type": "ephemeral"}
    body = sent("anthropic")
    assert body["system"] == [{"type": "text", "text": "S", "cache_control": mark}]
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
        {"role": "user", "content": [{"type": "text", "text": "c", "cache_control": mark}]},
    ]


def test_a_longer_history_repeats_what_was_sent_before_but_for_the_marks() -> None:
    def plain(body: Any) -> list[tuple[str, str]]:
        return [(turn["role"], block["text"]) for turn in body["messages"] for block in turn["content"]]

    first = sent("anthropic")
    second = sent("anthropic", [*TALK, Message("assistant", "d"), Message("user", "e")])
    assert second["system"] == first["system"]
    assert plain(second)[: len(plain(first))] == plain(first)


def test_a_prompt_that_is_sent_once_pays_for_no_cache() -> None:
    assert "cache_control" not in str(sent("anthropic", [Message("user", "hello")]))


def test_anthropic_turns_alternate_and_none_is_blank() -> None:
    talk = [Message("user", "a"), Message("user", "b"), Message("assistant", " \n"), Message("system", "later")]
    body = sent("anthropic", talk)
    assert [turn["role"] for turn in body["messages"]] == ["user"]
    assert [block["text"] for block in body["messages"][0]["content"]] == ["a", "b", "later"]
    assert "system" not in body


@pytest.mark.needs("google-genai")
def test_gemini_turns_have_its_roles_and_the_system_prompt_its_place() -> None:
    body = sent("gemini", [*TALK, Message("user", "d")])
    assert body["systemInstruction"] == {"parts": [{"text": "S"}]}
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "a"}]},
        {"role": "model", "parts": [{"text": "b"}]},
        {"role": "user", "parts": [{"text": "c"}, {"text": "d"}]},
    ]


@every_protocol
def test_messages_that_are_only_a_system_prompt_are_sent_as_a_question(name: str) -> None:
    with LMServer() as server:
        ask(client(name, server), [Message("system", "Say hello.")])
        assert server.requests[0].text == "Say hello."


@every_protocol
def test_another_model_may_be_asked(name: str) -> None:
    with LMServer() as server:
        reply = ask(client(name, server), model="other-model")
        assert server.requests[0].model == reply.model == "other-model"


@every_protocol
def test_extra_headers_are_sent(name: str) -> None:
    with LMServer() as server:
        made = client(name, server, default_headers={"X-Always": "1"})
        ask(made, extra_headers={"X-Once": "2"})
        headers = server.requests[0].headers
    assert (headers["x-always"], headers["x-once"]) == ("1", "2")


def test_portkey_gets_its_key_in_its_own_header_and_no_other() -> None:
    with LMServer() as server:
        ask(client("portkey", server))
        headers = server.requests[0].headers
    assert headers["x-portkey-api-key"] == "[redacted]"
    assert "authorization" not in headers


def test_azure_is_addressed_by_deployment_with_a_version_of_the_api() -> None:
    with LMServer() as server:
        ask(client("azure_openai", server, azure_deployment="my one"))
        ask(client("azure_openai", server), model="other")
        first, second = server.requests
    assert first.path.startswith("/openai/deployments/my")
    assert second.path == "/openai/deployments/other/chat/completions"
    assert first.headers["api-key"] == "[redacted]"


PROGRAM = """
import asyncio, sys
from rlm import registry
from rlm.types import Message
async def main():
    made = registry.backend(sys.argv[1])(model_name=sys.argv[2])
    print((await made.complete([Message("user", "hi")])).text)
    await made.aclose()
asyncio.run(main())
"""


@pytest.mark.parametrize(("name", "address", "told"), [("openai", "OPENAI", True), ("openrouter", "OPENROUTER", False)])
def test_the_organisation_at_openai_is_told_to_openai_alone(name: str, address: str, told: bool) -> None:
    mine = {"OPENAI_ORG_ID": "org-mine", "OPENAI_PROJECT_ID": "proj-mine"}
    with LMServer("found") as server:
        environment = {**os.environ, **mine, f"{address}_API_KEY": KEY, f"{address}_BASE_URL": server.url + "/v1"}
        command = [sys.executable, "-W", "error", "-c", PROGRAM, name, MODELS[name]]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=False)
        headers = server.requests[0].headers
    assert (done.stdout, done.stderr) == ("found\n", "")
    assert [name in headers for name in ("openai-organization", "openai-project")] == [told, told]


@pytest.mark.parametrize(
    ("name", "address", "path"),
    [
        ("openai", "OPENAI_BASE_URL", "/v1"),
        ("openrouter", "OPENROUTER_BASE_URL", "/v1"),
        ("anthropic", "ANTHROPIC_BASE_URL", ""),
        pytest.param("gemini", "GOOGLE_GEMINI_BASE_URL", "", marks=pytest.mark.needs("google-genai")),
        ("azure_openai", "AZURE_OPENAI_ENDPOINT", ""),
    ],
)
def test_key_and_address_are_read_from_the_environment_when_first_used(name: str, address: str, path: str) -> None:
    keys = {"openai": "OPENAI", "openrouter": "OPENROUTER", "anthropic": "ANTHROPIC", "gemini": "GEMINI"}
    variable = f"{keys.get(name, 'AZURE_OPENAI')}_API_KEY"
    with LMServer("found") as server:
        environment = {**os.environ, variable: KEY, address: server.url + path}
        command = [sys.executable, "-W", "error", "-c", PROGRAM, name, MODELS[name]]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert (done.stdout, done.stderr) == ("found\n", "")


def test_a_server_of_ones_own_needs_no_key() -> None:
    with LMServer("fine") as server:
        made = registry.backend("vllm")(model_name="qwen3-8b", base_url=server.openai_base_url)
        assert ask(made).text == "fine"


def served(handler: Any, path: str) -> Reply:
    """What the openai backend makes of a server that the local LM server cannot play."""

    async def run() -> Reply:
        app = web.Application()
        app.router.add_post(path, handler)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}{path.removesuffix('/chat/completions')}"
        made = registry.backend("openai")(model_name="gpt-5-mini", api_key=KEY, base_url=url)
        try:
            return await made.complete(TALK)
        finally:
            await made.aclose()
            await runner.cleanup()

    return asyncio.run(run())


def test_a_redirect_is_followed() -> None:
    with LMServer("here") as server:

        async def moved(request: web.Request) -> web.Response:
            raise web.HTTPTemporaryRedirect(f"{server.openai_base_url}/chat/completions")

        reply = served(moved, "/old/chat/completions")
        assert [message.content for message in TALK] == [text for _, text in server.requests[0].messages]
    assert reply.text == "here"


@pytest.mark.parametrize("coding", [web.ContentCoding.gzip, web.ContentCoding.deflate])
def test_a_compressed_reply_is_unpacked(coding: web.ContentCoding) -> None:
    async def packed(request: web.Request) -> web.Response:
        choice = {"message": {"content": "word " * 500}, "finish_reason": "stop"}
        response = web.json_response({"choices": [choice]})
        response.enable_compression(coding)
        return response

    assert served(packed, "/v1/chat/completions").text == "word " * 500


def test_a_closed_client_is_an_error_of_the_program() -> None:
    with LMServer() as server:
        made = client("openai", server)
        ask(made)
        with pytest.raises(RuntimeError, match="closed"):
            using(made, lambda c: c.complete(TALK))
