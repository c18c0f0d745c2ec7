"""The language model of the benchmarks, a process of its own: the model's name says what it plays.

    loop-N     N turns; each prints the context, the last answers with it
    fan-N      one cell that asks N sub-calls at once and answers with the seconds that took
    first      answers at once with the time the request arrived and the memory of the process the cell runs in

A last message that starts with "item " is a sub-call: it is answered after 50 ms.
"""

from __future__ import annotations

import asyncio
import re
import time

from rlm.testing import LMServer, Request, Scripted

SUBCALL_SECONDS = 0.05
MARK = re.compile(r"<<(id-\d+)>>")

LOOP = """I look at turn {turn}.
```repl
x_{turn} = {turn}
print(f"turn {turn} <<{{context}}>>", "." * 200)
```"""
LOOP_END = """```repl
answer["content"] = {prefix!r} + context
answer["ready"] = True
```"""
FAN = """```repl
import json, time
prompts = [f"item {{i}}" for i in range({size})]
begun, cpu = time.perf_counter(), time.process_time()
replies = llm_query_batched(prompts)
took = {{"seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu}}
right = sum(str(r) == f"ok {{i}}" for i, r in enumerate(replies))
answer["content"] = json.dumps({{**took, "right": right}})
answer["ready"] = True
```"""
FIRST = """```repl
import json, os
with open("/proc/self/status") as status_file:
    lines = [line.split() for line in status_file]
memory = {{line[0][:-1]: int(line[1]) * 1024 for line in lines if line[0] in ("VmHWM:", "VmRSS:")}}
answer["content"] = json.dumps({{"arrived": {arrived!r}, "size": len(context), "pid": os.getpid(), **memory}})
answer["ready"] = True
```"""


def play(request: Request) -> Scripted:
    arrived = time.monotonic()  # one clock for all processes of a machine
    kind, _, size = request.model.partition("-")
    if request.text.startswith("item "):
        return Scripted(text=request.text.replace("item", "ok"), latency=SUBCALL_SECONDS)
    if kind == "first":
        return Scripted(text=FIRST.format(arrived=arrived))
    if kind == "fan":
        return Scripted(text=FAN.format(size=size))
    turn = sum(role == "assistant" for role, _ in request.messages)
    if turn < int(size) - 1:
        return Scripted(text=LOOP.format(turn=turn))
    marks = {mark for role, text in request.messages if role != "assistant" for mark in MARK.findall(text)}
    return Scripted(text=LOOP_END.format(prefix="" if len(marks) <= 1 else "MIXED "))


def main() -> None:
    server = LMServer(play, record=False)
    try:
        asyncio.run(server.serve(lambda: print(server.url, flush=True)))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
