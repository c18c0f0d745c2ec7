"""The switch that keeps a test run from reaching a real provider, whatever SDK or transport would do it.

It listens to the interpreter's own audit events for name lookups and connections, so it holds for every thread, event
loop and HTTP client of the process. It does not see child processes, nor C libraries that open sockets themselves
(uvloop, gRPC's C core), nor where a proxy on this machine passes a request on to.
"""

from __future__ import annotations

import sys
import threading
from ipaddress import ip_address
from types import TracebackType
from typing import Self

from rlm.errors import RLMError


class LiveRequestRefused(RLMError):
    """The program tried to reach another machine while `refuse_live_requests` was on."""


class Refusal:
    """Live requests are refused until this one, and every other one, is lifted. A context manager that lifts itself."""

    def __init__(self) -> None:
        self._on = True

    def lift(self) -> None:
        """Allow what this refusal forbade; a second time changes nothing."""
        with _lock:
            if self._on:
                self._on = False
                _active.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.lift()


def refuse_live_requests() -> Refusal:
    """From here on, every connection of this process to a host that is not loopback fails with `LiveRequestRefused`.

    Process-wide. Ends with `.lift()` on what is returned, or with the block when used in `with`.
    """
    global _installed
    refusal = Refusal()
    with _lock:
        _active.add(refusal)
        if not _installed:
            sys.addaudithook(_audit)  # a hook cannot be taken out again; while nothing is active it does nothing
            _installed = True
    return refusal


_lock = threading.RLock()
_active: set[Refusal] = set()
_installed = False


def _audit(event: str, args: tuple[object, ...]) -> None:
    if not _active:
        return
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        host = args[1][0] if isinstance(args[1], tuple) and args[1] else None  # AF_UNIX addresses are no tuples
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    else:
        return
    if host is not None and not _is_loopback(host):
        shown = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        raise LiveRequestRefused(
            f"a request to {shown} was refused: live requests are switched off (rlm.testing.refuse_live_requests)"
        )


def _is_loopback(host: object) -> bool:
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    name = name.partition("%")[0].rstrip(".").lower()
    if name in ("", "localhost") or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
