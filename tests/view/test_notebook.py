"""The live view in a notebook: a real Jupyter kernel, and what it sends to the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from command_line import DEADLINE, environment

Message = dict[str, Any]

PROGRAM = """
from rlm import RLM
from rlm.testing import ScriptedClient

def script(messages):
    if not any(message.role == "system" for message in messages):
        return "a reply"
    if not any(message.role == "assistant" for message in messages):
        return "I <b>look</b>.\\n```repl\\nprint('<script>', len(context))\\nllm_query_batched(['q'] * 300)\\n```"
    return "```repl\\nFINAL('<i>done</i>')\\n```"

rlm = RLM(backend=ScriptedClient(script, latency=0.4), verbose=True)
"""


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[[str], list[Message]]]:
    """`run(code)` executes a cell and gives what the kernel sent to the page."""
    manager = KernelManager(kernel_name="python3", transport="ipc")
    manager.start_kernel(env=environment())
    client: BlockingKernelClient = manager.client()  # type: ignore[assignment]
    client.start_channels()
    client.wait_for_ready(timeout=DEADLINE)

    def execute(code: str) -> list[Message]:
        messages: list[Message] = []
        reply = client.execute_interactive(code, timeout=DEADLINE, output_hook=messages.append)
        assert reply["content"]["status"] == "ok", reply["content"]
        for message in messages:
            assert message["parent_header"]["msg_id"] == reply["parent_header"]["msg_id"], "shown in another cell"
        return [message for message in messages if message["msg_type"] not in ("status", "execute_input")]

    yield execute
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    manager.cleanup_resources()


@pytest.mark.parametrize("call", ["rlm.completion('x', 'How many?')", "await rlm.acompletion('x', 'How many?')"])
def test_a_run_is_two_displays_that_are_updated_in_place(run: Callable[[str], list[Message]], call: str) -> None:
    run(PROGRAM)
    messages = run(f"print(({call}).response)")
    kinds = [message["msg_type"] for message in messages]
    assert kinds.count("display_data") == 2
    assert set(kinds) == {"display_data", "update_display_data", "stream"}
    shown: dict[str, list[str]] = {}
    for message in messages:
        if message["msg_type"] != "stream":
            name = message["content"]["transient"]["display_id"]
            shown.setdefault(name, []).append(message["content"]["data"]["text/html"])
    record, live = shown.values()
    assert any("thinking" in html for html in live)
    assert live[-1] == ""
    for words in ("turn 1", "300 sub-calls", "&lt;script&gt; 1", "I &lt;b&gt;look", "&lt;i&gt;done&lt;/i&gt;"):
        assert words in record[-1], words
    assert not any("<script" in html or "<i>" in html or "<b>" in html for html in [*record, *live])
    printed = [message["content"] for message in messages if message["msg_type"] == "stream"]
    assert printed == [{"name": "stdout", "text": "<i>done</i>\n"}]
