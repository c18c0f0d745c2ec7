"""The server as a program of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request


def test_it_prints_its_address_and_answers_until_it_is_ended() -> None:
    command = [sys.executable, "-W", "error", "-m", "rlm.testing.server", "--reply", "FINAL(42)", "--latency", "0.01"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            url = program.stdout.readline().strip()
            body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
            with urllib.request.urlopen(f"{url}/v1/chat/completions", data=body, timeout=20) as answer:
                assert json.load(answer)["choices"][0]["message"]["content"] == "FINAL(42)"
        finally:
            program.terminate()
