"""Runs the command `rlm` in a process of its own, with a local LM server in every provider's place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import warm
from rlm.testing import LMServer, Request

RLM = (sys.executable, "-m", "rlm")
KEYS = (
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "PORTKEY_API_KEY",
    "GEMINI_API_KEY",
    "OPENROUTER_API_KEY",
    "AI_GATEWAY_API_KEY",
)
DEADLINE = 90.0


def environment(server: LMServer | None = None, **more: str) -> dict[str, str]:
    """This process's environment without keys and settings of the person's; with a server, its address and a key."""
    unwanted = {*KEYS, "RLM_MODEL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "PYTHONUNBUFFERED"}
    inherited = {n: v for n, v in os.environ.items() if n.upper() not in unwanted and not n.endswith("_BASE_URL")}
    if server is not None:
        inherited |= {
            "OPENAI_API_KEY": "key-of-the-test",
            "OPENAI_BASE_URL": server.openai_base_url,
            "ANTHROPIC_API_KEY": "key-of-the-test",
            "ANTHROPIC_BASE_URL": server.anthropic_base_url,
        }
    return inherited | more


def rlm(
    *arguments: str, server: LMServer | None = None, cwd: Path | None = None, stdin: bytes = b"", **more: str
) -> subprocess.CompletedProcess[bytes]:
    return warm.run("-m", "rlm", *arguments, stdin=stdin, cwd=cwd, env=environment(server, **more), timeout=DEADLINE)


def is_root(request: Request) -> bool:
    return any(role == "system" for role, _ in request.messages)


def turns(request: Request) -> int:
    return sum(role == "assistant" for role, _ in request.messages)


def code(source: str) -> str:
    return f"```repl\n{source}\n```"


def one_line(stderr: bytes) -> str:
    """The one line an error is; fails on a traceback or more."""
    lines = stderr.decode().splitlines()
    assert len(lines) == 1, stderr.decode()
    return lines[0]
