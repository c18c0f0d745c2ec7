"""OpenAI, and any server that speaks its protocol at a `base_url`."""

from __future__ import annotations

from typing import Any

from rlm.backends import _openai_compatible
from rlm.protocols import Client


def create(**backend_kwargs: Any) -> Client:
    """A client for OpenAI. Raises `ConfigurationError`."""
    return _openai_compatible.client("openai", _openai_compatible.OPENAI, backend_kwargs)
