"""Cells run by IPython in a process of its own: magics, `!commands`, `In`, `Out`, `_` and IPython's displays.

It is `process` with another kernel, and protects as that does. There is no Jupyter kernel and no port.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, fields
from typing import Any, Final

from rlm.environments import process
from rlm.errors import ConfigurationError, SetupError
from rlm.protocols import ByteStream

KERNEL_MODES: Final = ("in_process", "subprocess")
OLDEST: Final = 9
"""The first IPython whose shell is known to work here."""


@dataclass(frozen=True, kw_only=True)
class IPythonEnvironment(process.ProcessEnvironment):
    """See the module."""

    @property
    def kernel(self) -> str:
        return "ipython_kernel"

    def connect(self, argv: Sequence[str]) -> AbstractAsyncContextManager[ByteStream]:
        _check_installed()
        return super().connect(argv)


def create(
    *, kernel_mode: str = "in_process", startup_timeout: float = 60, **process_kwargs: Any
) -> IPythonEnvironment:
    """`kernel_mode` is accepted for programs that set it: both mean this. Everything else is as in `process`."""
    if kernel_mode not in KERNEL_MODES:
        raise ConfigurationError(f"kernel_mode must be one of {', '.join(KERNEL_MODES)}, not {kernel_mode!r}")
    base = process.create(**process_kwargs)
    values: dict[str, Any] = {field.name: getattr(base, field.name) for field in fields(base) if field.init}
    values["startup_timeout"] = startup_timeout
    return IPythonEnvironment(**values)


def _check_installed() -> None:
    try:
        version = importlib.metadata.version("ipython")
    except importlib.metadata.PackageNotFoundError:
        raise SetupError('the ipython environment needs IPython: pip install "rlm[ipython]"') from None
    if int(version.partition(".")[0]) < OLDEST:
        raise SetupError(
            f'the ipython environment needs IPython {OLDEST} or newer, not {version}: pip install "rlm[ipython]"'
        )
