"""OpenAI's models on Azure, through the SDK's own class: the path names a deployment, the key has its own header."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from rlm.backends import _openai_compatible, _settings
from rlm.backends._client import Connection, ProviderClient
from rlm.backends._load import load
from rlm.backends._settings import Settings
from rlm.errors import ConfigurationError, SetupError
from rlm.protocols import Client

EXTRAS = (
    *_openai_compatible.EXTRAS,
    "azure_endpoint",
    "azure_deployment",
    "api_version",
    "azure_ad_token",
    "azure_ad_token_provider",
)
KEY = "AZURE_OPENAI_API_KEY"
API_VERSION = "2024-10-21"
"""The latest version of the API that is not a preview."""


def create(**backend_kwargs: Any) -> Client:
    """A client for Azure OpenAI. `model_name` is the deployment unless `azure_deployment` is given.

    Raises:
        ConfigurationError: a name or value is wrong.
    """
    settings = _settings.check("azure_openai", backend_kwargs, extras=EXTRAS)
    if settings.base_url and "azure_endpoint" in settings.extras:
        raise ConfigurationError("azure_openai takes base_url or azure_endpoint, not both")
    return ProviderClient(
        settings,
        AzureDialect(settings),
        _connect,
        sdk="_openai_sdk",
        address=lambda: f"{_address(settings)} {settings.extras.get('azure_deployment', '')}",
        priced_as="azure_openai",
        key_variable=KEY,
    )


class AzureDialect(_openai_compatible.ChatDialect):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, _openai_compatible.OPENAI)

    def path(self, model: str, *, stream: bool) -> str:
        if "/deployments" in (self._settings.base_url or ""):
            return "/chat/completions"
        deployment = self._settings.extras.get("azure_deployment") if model == self._settings.model_name else None
        return f"/deployments/{quote(deployment or model, safe='')}/chat/completions"

    def _takes_completion_tokens(self, model: str) -> bool:
        return True


def _address(settings: Settings) -> str:
    given = settings.base_url or settings.extras.get("azure_endpoint")
    return given or os.environ.get("AZURE_OPENAI_ENDPOINT") or ""


def _connect(settings: Settings) -> Connection:
    extras: dict[str, Any] = {"api_version": os.environ.get("OPENAI_API_VERSION", API_VERSION), **settings.extras}
    # The path names the deployment: told to the SDK, it would be put into the address as well.
    extras.pop("azure_deployment", None)
    if not settings.base_url:
        extras.setdefault("azure_endpoint", os.environ.get("AZURE_OPENAI_ENDPOINT"))
        if not extras["azure_endpoint"]:
            raise SetupError(
                "no address for azure_openai: set the environment variable AZURE_OPENAI_ENDPOINT, "
                "or pass backend_kwargs={'azure_endpoint': …}"
            )
    if "azure_ad_token" in extras or "azure_ad_token_provider" in extras:
        key = None
    else:
        key = _settings.find_key(settings, (KEY,), needed=True)
    sdk = load("_openai_sdk", settings.backend, package="openai")
    connection: Connection = sdk.connect_azure(replace(settings, extras=extras), key=key)
    return connection
