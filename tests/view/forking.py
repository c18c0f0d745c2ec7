"""A program that forks while a run is shown; the child shows one of its own."""

from __future__ import annotations

import os

from rlm import RLM
from rlm.testing import ScriptedClient

ANSWER = "```repl\nFINAL('done')\n```"


def fork() -> None:
    child = os.fork()
    if child == 0:
        RLM(backend=ScriptedClient(ANSWER), verbose=True).completion("x")
        os.write(1, b"child ")
        os._exit(0)
    os.write(1, f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])} ".encode())


replies = ["```repl\nfork()\n```", ANSWER]
RLM(backend=ScriptedClient(replies), verbose=True, custom_tools={"fork": fork}).completion("x")
os.write(1, b"parent")
