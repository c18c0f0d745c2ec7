"""What is timed: the same program under this library and under the reference, which share a name and a surface.

python workload.py NAME URL [ARGUMENT …]       prints one JSON object
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

MB = 1_000_000


def agent(url: str, model: str, **options: Any) -> Any:
    from rlm import RLM

    settings = {"model_name": model, "api_key": "unused", "base_url": f"{url}/v1"}
    return RLM(backend="openai", backend_kwargs=settings, verbose=False, **options)


def ours() -> bool:
    import rlm

    return hasattr(rlm, "acompletion")


def loop(url: str, turns: str) -> dict[str, Any]:
    """One completion of many turns. CPU is this process's, so neither the server nor waiting is in it."""
    agent(url, "loop-2").completion("id-0")
    worker = agent(url, f"loop-{turns}", max_iterations=int(turns) + 5)
    begun, cpu = time.perf_counter(), time.process_time()
    response = worker.completion("id-1").response
    return {
        "seconds": time.perf_counter() - begun,
        "cpu": time.process_time() - cpu,
        "right": response == "id-1",
    }


def fan(url: str, size: str, concurrency: str) -> dict[str, Any]:
    options = {"max_concurrent_calls": int(concurrency)} if ours() else {}
    agent(url, "loop-2", **options).completion("id-0")
    told: dict[str, Any] = json.loads(agent(url, f"fan-{size}", **options).completion("go").response)
    return {**told, "right": told["right"] == int(size)}


def first(url: str, megabytes: str, environment: str) -> dict[str, Any]:
    """A big text: the seconds from the call to the first request, and the memory it took."""
    small = json.loads(agent(url, "first", environment=environment).completion("small").response)
    block = "".join(f"{n:07d} the order of customer {n * 7919 % 1000} was shipped\n" for n in range(20_000))
    block = block[:MB]
    Path("/proc/self/clear_refs").write_text("5")
    baseline = memory("VmRSS")
    text = block * int(megabytes)
    begun = time.monotonic()
    told = json.loads(agent(url, "first", environment=environment).completion(text).response)
    growth = memory("VmHWM") - baseline
    if told["pid"] != os.getpid():
        growth += told["VmHWM"] - small["VmHWM"]
    return {
        "seconds": told["arrived"] - begun,
        "total": time.monotonic() - begun,
        "growth": growth / len(text),
        "right": told["size"] == len(text),
    }


def many(url: str, completions: str, turns: str) -> dict[str, Any]:
    """Completions at once in one process: coroutines here, threads in the reference, which has no coroutines."""
    agent(url, "loop-2").completion("id-0")
    contexts = [f"id-{n}" for n in range(int(completions))]
    responses = [""] * len(contexts)
    worker = agent(url, f"loop-{turns}")

    async def gather() -> None:
        results = await asyncio.gather(*(worker.acompletion(context) for context in contexts), return_exceptions=True)
        responses[:] = [getattr(result, "response", repr(result)) for result in results]

    def one(n: int) -> None:
        try:
            responses[n] = agent(url, f"loop-{turns}").completion(contexts[n]).response
        except Exception as error:
            responses[n] = repr(error)

    begun, cpu = time.perf_counter(), time.process_time()
    if ours():
        asyncio.run(gather())
    else:
        threads = [threading.Thread(target=one, args=(n,)) for n in range(len(contexts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    took = {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu}
    right = sum(response == context for response, context in zip(responses, contexts, strict=True))
    wrong = next((r for r, c in zip(responses, contexts, strict=True) if r != c), None)
    return {**took, "right": right == len(contexts), "answers_right": right, "first_wrong": wrong}


def memory(name: str) -> int:
    """A figure of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


WORK = {function.__name__: function for function in (loop, fan, first, many)}

if __name__ == "__main__":
    figures = WORK[sys.argv[1]](sys.argv[2], *sys.argv[3:])
    # Not print(): under threads the reference leaves its own buffer in the place of sys.stdout.
    os.write(1, f"\n{json.dumps(figures)}\n".encode())
