"""While live requests are refused nothing of this process reaches another machine; the suite itself runs that way."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import urllib.request

import anthropic
import openai
import pytest

from rlm import RLM
from rlm.testing import LiveRequestRefused, LMServer, refuse_live_requests

FAR = "192.0.2.1"
"""An address kept for documentation: nothing is there."""


def was_refused(error: BaseException | None) -> bool:
    """Whether a refusal is behind an error, however its SDK wrapped it."""
    if error is None or isinstance(error, LiveRequestRefused):
        return error is not None
    inside = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return any(was_refused(one) for one in (*inside, error.__cause__, error.__context__))


def test_this_suite_cannot_reach_another_machine() -> None:
    with pytest.raises(LiveRequestRefused, match=r"192\.0\.2\.1 was refused: live requests are switched off"):
        socket.create_connection((FAR, 443), timeout=1)


def test_a_name_is_refused_before_it_is_looked_up() -> None:
    with pytest.raises(LiveRequestRefused, match=r"api\.openai\.com"):
        socket.getaddrinfo("api.openai.com", 443)


def test_a_datagram_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there, pytest.raises(LiveRequestRefused):
        there.sendto(b"x", (FAR, 53))


@pytest.mark.parametrize("base_url", [None, f"http://{FAR}/v1"], ids=["name", "address"])
def test_the_openai_sdk_is_refused_over_both_its_transports(base_url: str | None) -> None:
    messages: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]

    async def ask(client: openai.AsyncOpenAI) -> None:
        async with client:
            await client.chat.completions.create(model="m", messages=messages)

    async def over_httpx() -> None:
        await ask(openai.AsyncOpenAI(api_key="k", base_url=base_url, max_retries=0))

    async def over_aiohttp() -> None:
        transport = openai.DefaultAioHttpClient()
        await ask(openai.AsyncOpenAI(api_key="k", base_url=base_url, max_retries=0, http_client=transport))

    for request in (over_httpx, over_aiohttp):
        with pytest.raises(Exception) as caught:
            asyncio.run(request())
        assert was_refused(caught.value)


def test_the_anthropic_sdk_is_refused() -> None:
    with anthropic.Anthropic(api_key="k", max_retries=0) as client:
        with pytest.raises(Exception) as caught:
            client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "hi"}])
    assert was_refused(caught.value)


@pytest.mark.needs("google-genai")
@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
def test_the_gemini_sdk_is_refused() -> None:
    from google import genai

    async def ask() -> None:
        client = genai.Client(api_key="k")
        try:
            await client.aio.models.generate_content(model="m", contents="hi")
        finally:
            await client.aio.aclose()
            client.close()

    with pytest.raises(LiveRequestRefused):
        asyncio.run(ask())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_passes(host: str) -> None:
    with LMServer() as server, urllib.request.urlopen(f"http://{host}:{server.port}/v1/models", timeout=10) as answer:
        assert answer.status == 200


def test_a_unix_socket_passes() -> None:
    with socket.socket(socket.AF_UNIX) as there, pytest.raises(FileNotFoundError):
        there.connect("/nowhere/at/all.sock")


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        ("127.8.9.10", True),
        ("::1", True),
        ("LOCALHOST", True),
        ("lm.localhost", True),
        (None, True),
        ("0.0.0.0", True),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("2001:db8::1", False),
        (b"api.anthropic.com", False),
    ],
)
def test_what_counts_as_this_machine(host: object, passes: bool) -> None:
    if passes:
        sys.audit("socket.getaddrinfo", host, 443, 0, 0, 0)
    else:
        with pytest.raises(LiveRequestRefused):
            sys.audit("socket.getaddrinfo", host, 443, 0, 0, 0)


def test_lifting_one_refusal_leaves_the_others() -> None:
    with refuse_live_requests() as mine:
        mine.lift()
        mine.lift()
    with pytest.raises(LiveRequestRefused):
        sys.audit("socket.connect", None, (FAR, 443))


def test_it_can_be_lifted_and_put_back() -> None:
    program = f"""
import sys
from rlm import RLM
from rlm.testing import LiveRequestRefused, refuse_live_requests

def refused():
    try:
        sys.audit("socket.connect", None, ("{FAR}", 443))
    except LiveRequestRefused:
        return True
    return False

states = [refused()]
with refuse_live_requests():
    states.append(refused())
states.append(refused())
again = refuse_live_requests()
states.append(refused())
again.lift()
states.append(refused())
print(states)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[False, True, False, True, False]"


@pytest.mark.parametrize(
    "backend", ["openai", "anthropic", "openrouter", pytest.param("gemini", marks=pytest.mark.needs("google-genai"))]
)
@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
def test_a_completion_that_would_reach_a_provider_says_that_it_was_refused(backend: str) -> None:
    model = RLM(backend=backend, backend_kwargs={"model_name": "m", "api_key": "k", "max_retries": 0})
    with pytest.raises(Exception, match="live requests are switched off"):
        model.completion("hi")
