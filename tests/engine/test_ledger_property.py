"""The ledger against what the provider saw: random trees with retries, failures and cancellations over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlm import RLM, Completion
from rlm.events import CallFinished
from rlm.testing import LMServer, Request, Scripted, malformed_json, rate_limit, server_error

LEAVES = ("ok", "cached", "retried", "broken", "garbage", "refused", "silent")
leaf = st.sampled_from(LEAVES)
tree = st.recursive(leaf, lambda children: st.lists(children, min_size=1, max_size=4), max_leaves=10).filter(
    lambda t: isinstance(t, list)
)

CODE = """
plan = json.loads(context)
leaves = [x for x in plan if isinstance(x, str)]
nodes = [x for x in plan if not isinstance(x, str)]
got = llm_query_batched([f"leaf {i} of {context}: {x}" for i, x in enumerate(leaves)])
got += rlm_query_batched(["go"] * len(nodes), contexts=[json.dumps(x) for x in nodes])
"""


class Provider:
    """A provider that does to each sub-call what its prompt says, and counts what it told."""

    def __init__(self, hang: bool = False) -> None:
        self.tries: Counter[str] = Counter()
        self.told = Counter[str]()
        self.hang = hang

    def __call__(self, request: Request) -> Scripted:
        if not request.text.startswith("leaf "):
            turns = sum(role == "assistant" for role, _ in request.messages)
            code = f"import json{CODE}" if turns == 0 else "FINAL(str(len(got)))"
            return self._answer(Scripted(text=f"```repl\n{code}\n```", input_tokens=100, output_tokens=20))
        self.tries[request.text] += 1
        match request.text.rpartition(": ")[2]:
            case "cached":
                return self._answer(Scripted(text="yes", input_tokens=50, cached_tokens=30, output_tokens=5))
            case "retried" if self.tries[request.text] % 3:
                return rate_limit(0) if self.tries[request.text] % 3 == 1 else server_error(503, 0)
            case "broken":
                return Scripted(status=400, error="bad request")
            case "garbage":
                return malformed_json()
            case "refused":
                return self._answer(Scripted(text="I cannot", finish="refusal", input_tokens=8, output_tokens=2))
            case "silent":
                return Scripted(text="no counts", usage=False)
            case "retried, hang" if self.tries[request.text] < 3:
                return rate_limit(0)
            case "hang" | "retried, hang":
                return Scripted(hang=True)
            case _:
                return self._answer(Scripted(text="fine", input_tokens=7, output_tokens=3))

    def _answer(self, reply: Scripted) -> Scripted:
        self.told["input"] += reply.input_tokens or 0
        self.told["output"] += reply.output_tokens or 0
        self.told["cached"] += reply.cached_tokens
        return reply


def make(server: LMServer) -> RLM:
    return RLM(
        backend="openai",
        backend_kwargs={"model_name": "m", "base_url": server.openai_base_url, "api_key": "k", "max_retries": 2},
        max_depth=9,
        max_concurrent_calls=8,
        max_iterations=5,
    )


def count(plan: Any, kind: str) -> int:
    return sum(count(x, kind) if isinstance(x, list) else x == kind for x in plan)


def check(result: Completion, provider: Provider, server: LMServer) -> None:
    total = result.usage_summary.total
    assert total.attempts == len(server.requests)
    assert (total.input_tokens, total.output_tokens, total.cached_tokens) == (
        provider.told["input"],
        provider.told["output"],
        provider.told["cached"],
    )
    own = [e.usage for e in result.trajectory if isinstance(e, CallFinished) and e.depth == 0]
    assert sum(usage.attempts for usage in own) <= total.attempts
    assert total.cost is None


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree)
def test_what_is_reported_is_what_the_provider_saw(plan: list[Any]) -> None:
    provider = Provider()
    with LMServer(provider) as server, make(server) as rlm:
        result = rlm.completion(json.dumps(plan), "go")
        check(result, provider, server)
    total = result.usage_summary.total
    assert result.status == "answered"
    assert total.unsettled == count(plan, "garbage")
    assert total.unmetered == count(plan, "garbage") + count(plan, "silent")


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(["hang", "retried, hang"]), min_size=1, max_size=4))
def test_calls_cut_off_are_counted_and_listed_as_unsettled(calls: list[str]) -> None:
    provider, hanging = Provider(), len(calls)
    requests = 1 + calls.count("hang") + 3 * calls.count("retried, hang")
    with LMServer(provider) as server:

        async def main() -> Completion:
            async with make(server) as rlm:
                task = asyncio.ensure_future(rlm.acompletion(json.dumps(calls), "go"))
                await asyncio.to_thread(server.wait_until, lambda s: len(s.requests) == requests)
                task.cancel()
                try:
                    await task
                except asyncio.CancelledError as exc:
                    return exc.result  # type: ignore[attr-defined, no-any-return]
                raise AssertionError("not cancelled")

        result = asyncio.run(main())
        check(result, provider, server)
    total = result.usage_summary.total
    assert total.unsettled == hanging
    assert total.calls == 1 + hanging
