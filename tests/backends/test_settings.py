"""`backend_kwargs`: what is wrong is said at construction, what is missing at the first completion."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

import warm
from backends.asking import KEY, MODELS, ask
from rlm import registry
from rlm.errors import ConfigurationError, SetupError
from rlm.protocols import Client

NAMES = sorted({*MODELS, "ollama", "vercel"})


def test_every_client_is_made_anywhere_without_key_or_sdk() -> None:
    code = """
import sys
for sdk in ("openai", "anthropic", "google.genai", "aiohttp", "httpx2"):
    sys.modules[sdk] = None
from rlm import registry
print([registry.backend(name)(model_name="m", api_key=None).model for name in sys.argv[1:]])
"""
    command = [sys.executable, "-c", code, *NAMES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert (done.stdout, done.stderr) == (f"{['m' for _ in NAMES]}\n", "")


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"'modelname' .did you mean 'model_name'.*sampling_args, price"):
        registry.backend(name)(modelname="m")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, "model_name"),
        ({"model_name": None}, "model_name"),
        ({"model_name": " "}, "model_name"),
        ({"api_key": 7}, "api_key"),
        ({"base_url": "localhost:8000"}, "http://"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": "5"}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"sampling_args": ["temperature"]}, "sampling_args"),
        ({"price": {"input": 1}}, "price"),
        ({"price": {"input": 1, "output": 2, "inptu": 3}}, "price"),
        ({"price": {"input": -1, "output": 2}}, "input"),
        ({"price": {"input": None, "output": 2}}, "input"),
        ({"price": 5}, "price"),
        ({"context_window": 0}, "context_window"),
        ({"context_window": 1.5}, "context_window"),
        ({"max_retries": -1}, "max_retries"),
        ({"max_retries": None, "default_headers": "x"}, "default_headers"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_it(kwargs: dict[str, Any], message: str) -> None:
    given = {"model_name": "m", **kwargs} if kwargs else {}
    with pytest.raises(ConfigurationError, match=message):
        registry.backend("openai")(**given)


def test_azure_takes_one_address() -> None:
    with pytest.raises(ConfigurationError, match="not both"):
        registry.backend("azure_openai")(model_name="m", base_url="http://a", azure_endpoint="http://b")


def test_none_is_accepted_where_a_value_is_optional() -> None:
    optional = ("api_key", "base_url", "sampling_args", "price", "context_window", "max_retries", "default_headers")
    made: Client = registry.backend("openai")(model_name="m", timeout=None, **dict.fromkeys(optional))
    assert made.model == "m"


WITHOUT = """
import asyncio, os, sys
for variable in list(os.environ):
    if variable.endswith(("_API_KEY", "_BASE_URL", "_ENDPOINT")):
        del os.environ[variable]
if sys.argv[2]:
    sys.modules[sys.argv[2]] = None
from rlm import registry
from rlm.errors import SetupError
from rlm.types import Message
kwargs = {"api_key": "k"} if sys.argv[2] else {}
made = registry.backend(sys.argv[1])(model_name="m", **kwargs)
try:
    asyncio.run(made.complete([Message("user", "hi")]))
except SetupError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("openai", "OPENAI_API_KEY"),
        ("openrouter", "OPENROUTER_API_KEY"),
        ("vercel", "AI_GATEWAY_API_KEY"),
        ("portkey", "PORTKEY_API_KEY"),
        ("anthropic", "ANTHROPIC_API_KEY"),
        ("gemini", "GEMINI_API_KEY"),
        ("azure_openai", "AZURE_OPENAI_ENDPOINT"),
    ],
)
def test_a_missing_key_fails_the_first_completion_and_names_the_variable(name: str, variable: str) -> None:
    done = warm.run("-c", WITHOUT, name, "", env=os.environ)
    assert done.returncode == 0, done.stderr
    assert f"set the environment variable {variable}" in done.stdout.decode()


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("openai", "openai", "openai"),
        ("anthropic", "anthropic", "anthropic"),
        ("gemini", "google.genai", "google-genai"),
    ],
)
def test_a_missing_sdk_fails_the_first_completion_and_says_what_to_install(
    name: str, module: str, package: str
) -> None:
    command = [sys.executable, "-c", WITHOUT, name, module]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=True)
    assert f"pip install {package}" in done.stdout


def test_a_blank_key_counts_as_missing() -> None:
    made = registry.backend("portkey")(model_name="m", api_key=" \n", base_url="https://api.portkey.ai/v1")
    with pytest.raises(SetupError, match="PORTKEY_API_KEY"):
        ask(made)


@pytest.mark.parametrize("key", ["sk-caf\u00e9-012345", "sk-0123\n45678"])
def test_a_key_that_cannot_be_one_is_told_without_being_shown(key: str) -> None:
    with pytest.raises(SetupError, match="copy it again") as caught:
        ask(registry.backend("openai")(model_name="m", api_key=key))
    assert key not in str(caught.value)


def test_secrets_do_not_show_in_settings() -> None:
    from rlm.backends._settings import check

    kwargs = {"model_name": "m", "api_key": KEY, "default_headers": {"Authorization": KEY}}
    assert KEY not in repr(check("openai", kwargs, extras=("default_headers",)))
