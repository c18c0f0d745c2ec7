"""Where a request really goes: a sub-model of the root's provider is reached as the root is, and replies are kept apart
by address."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from backends.asking import marked
from rlm import RLM, ConfigurationError, registry
from rlm.testing import LMServer, Request, Scripted


def script(request: Request) -> Scripted:
    if request.messages[0][0] != "system":
        return Scripted(text=f"{request.model} was asked")
    return Scripted(text="```repl\nFINAL(llm_query('p'))\n```")


@pytest.mark.parametrize("sub", ["openai/small", ["openai/small", "openai/smaller"]], ids=["one", "several"])
@pytest.mark.parametrize("given", ["backend", "model"])
def test_a_sub_model_of_the_same_provider_is_reached_as_the_root_is(
    sub: str | list[str], given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LMServer(script) as server, LMServer(script) as elsewhere:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
        monkeypatch.setenv("OPENAI_BASE_URL", elsewhere.openai_base_url)
        kwargs: dict[str, Any] = {
            "base_url": server.openai_base_url,
            "api_key": "sk-of-the-root",
            "default_headers": {"x-team": "blue"},
            "price": {"input": 1, "output": 1},
            "context_window": 9_000,
            "sampling_args": {"temperature": 0},
        }
        model: dict[str, Any] = {"model": "openai/large"}
        if given == "backend":
            kwargs["model_name"], model = "large", {"backend": "openai"}
        with RLM(backend_kwargs=kwargs, sub_model=sub, **model) as rlm:
            assert rlm.completion("c", "q").response == "small was asked"
        assert not elsewhere.requests
        assert [request.headers["x-team"] for request in server.requests] == ["blue", "blue"]


def test_a_sub_model_of_another_provider_has_nothing_of_the_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    with LMServer(script) as server, LMServer(script) as elsewhere:
        monkeypatch.setenv("VLLM_BASE_URL", elsewhere.openai_base_url)
        kwargs = {"base_url": server.openai_base_url, "api_key": "sk-of-the-root"}
        with RLM(model="openai/large", backend_kwargs=kwargs, sub_model="vllm/small") as rlm:
            assert rlm.completion("c", "q").response == "small was asked"
        assert [request.model for request in elsewhere.requests] == ["small"]


def test_what_is_the_roots_alone_is_not_its_sub_models() -> None:
    kwargs = {"price": {"input": 1, "output": 1}, "base_url": "http://localhost:1"}
    rlm = RLM(model="openai/large", backend_kwargs=kwargs, sub_model="openai/small", max_budget=1.0)
    with pytest.raises(ConfigurationError, match="the price of 'small' is not known"), rlm:
        rlm.completion("c", "q")


@pytest.mark.parametrize("sub", ["openai/large", ["openai/large", "openai/small"]], ids=["one", "several"])
def test_the_roots_own_model_may_be_named_for_sub_calls(sub: str | list[str]) -> None:
    with LMServer(script) as server:
        kwargs = {"base_url": server.openai_base_url, "api_key": "k", "price": {"input": 1, "output": 1}}
        with RLM(model="openai/large", backend_kwargs=kwargs, sub_model=sub) as rlm:
            assert "was asked" in rlm.completion("c", "q").response


async def value(name: str, kwargs: dict[str, Any], cache: Path, *, as_client: bool) -> object:
    if not as_client:
        async with RLM(backend=name, backend_kwargs=kwargs, cache=cache) as rlm:
            return (await rlm.acompletion("c", "q")).value
    made = registry.backend(name)(**kwargs)
    try:
        return (await RLM(backend=made, cache=cache).acompletion("c", "q")).value
    finally:
        await made.aclose()


ADDRESSES = {
    "openai": "OPENAI_BASE_URL",
    "vercel": "AI_GATEWAY_BASE_URL",
    "vllm": "VLLM_BASE_URL",
    "azure_openai": "AZURE_OPENAI_ENDPOINT",
    "anthropic": "ANTHROPIC_BASE_URL",
    "gemini": "GOOGLE_GEMINI_BASE_URL",
}


@pytest.mark.parametrize("place", ["environment", "argument", "client"])
@pytest.mark.parametrize("name", marked(*ADDRESSES))
def test_the_cache_keeps_replies_of_different_addresses_apart(
    name: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        with LMServer(Scripted(text=f"```repl\nFINAL({number})\n```")) as server:
            url = server.url if name in ("anthropic", "gemini", "azure_openai") else server.openai_base_url
            kwargs: dict[str, Any] = {"model_name": "m", "api_key": "k"}
            if place == "environment":
                monkeypatch.setenv(ADDRESSES[name], url)
            else:
                kwargs["azure_endpoint" if name == "azure_openai" else "base_url"] = url
            for _ in range(2):
                assert asyncio.run(value(name, kwargs, tmp_path, as_client=place == "client")) == number
            assert len(server.requests) == 1


def test_the_cache_keeps_deployments_apart(tmp_path: Path) -> None:
    with LMServer(lambda request: Scripted(text=f"```repl\nFINAL({request.path!r})\n```")) as server:
        said = []
        for deployment in ("a", "b"):
            kwargs = {"model_name": "m", "api_key": "k", "azure_endpoint": server.url, "azure_deployment": deployment}
            with RLM(backend="azure_openai", backend_kwargs=kwargs, cache=tmp_path) as rlm:
                said.append(rlm.completion("c", "q").response)
    assert "/a/" in said[0]
    assert "/b/" in said[1]
