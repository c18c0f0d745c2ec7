"""Loading the file that imports a provider's SDK, on the first call."""

from __future__ import annotations

import contextlib
import importlib
from types import ModuleType

from rlm.errors import SetupError


def preload(module: str) -> None:
    """Import it ahead of `load`, which tells what is missing if it is."""
    with contextlib.suppress(ImportError):
        importlib.import_module(f"rlm.backends.{module}")


def load(module: str, backend: str, *, package: str) -> ModuleType:
    """The module of this package that imports an SDK. Raises `SetupError` when the SDK is not there."""
    try:
        return importlib.import_module(f"rlm.backends.{module}")
    except ImportError as error:
        message = f"the {backend} backend needs the package {package}: pip install {package} ({error})"
        raise SetupError(message) from error
