"""What is kept back is enough for the last answer: long histories, long replies, output of many tokens."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rlm import RLM, Message, Usage

LAST = "the best I have"


class Model:
    """One whose replies have so many tokens, the first of them another number; what it prints is all it is shown."""

    def __init__(self, reply: int, printed: str, *, ratio: float = 0.25, code: str = "", first: int | None = None):
        self.first, self.reply, self.printed = reply if first is None else first, reply, printed
        self.ratio, self.code = ratio, code

    async def __call__(self, messages: Sequence[Message], **sampling: int) -> tuple[str, Usage]:
        told = int(sum(len(m.content) for m in messages) * self.ratio)
        if messages[0].role != "system":
            return "s" * 40, Usage(calls=1, attempts=1, input_tokens=told, output_tokens=10)
        if "final answer" in messages[-1].content:
            return LAST, Usage(calls=1, attempts=1, input_tokens=told, output_tokens=5)
        size = self.first if len(messages) == 2 else self.reply
        text = f"```repl\n# {'w' * int(size / self.ratio)}\n{self.code}\nprint({self.printed})\n```"
        return text, Usage(calls=1, attempts=1, input_tokens=told, output_tokens=size)


CASES = {
    "short": Model(100, "'x' * 100"),
    "long output": Model(100, "'x' * 20_000"),
    "long replies": Model(3_000, "'x' * 100"),
    "both": Model(3_000, "'x' * 20_000"),
    "sub-calls take the rest": Model(1_000, "'x' * 20_000", code="llm_query_batched(['p' * 400] * 400)"),
    "many tokens a character": Model(1_000, "'字' * 20_000", ratio=1.0),
    "replies grow": Model(4_000, "'x' * 20_000", first=100),
}


@pytest.mark.parametrize("limit", range(16_000, 80_000, 4_000))
@pytest.mark.parametrize("case", CASES)
def test_the_last_answer_has_room(case: str, limit: int) -> None:
    result = RLM(backend=CASES[case], max_tokens=limit, on_limit="return").completion("c", "q")
    assert result.response == LAST
    assert result.limit in ("max_tokens", "max_iterations")
    assert result.usage_summary.total.total_tokens <= limit


@pytest.mark.parametrize("limit", [0.03, 0.05, 0.08, 0.13])
@pytest.mark.parametrize("case", CASES)
def test_the_last_answer_has_room_in_dollars(case: str, limit: float) -> None:
    kwargs = {"price": {"input": 1.0, "output": 4.0}}
    rlm = RLM(backend=CASES[case], backend_kwargs=kwargs, max_budget=limit, on_limit="return")
    result = rlm.completion("c", "q")
    assert result.response == LAST
    assert result.limit in ("max_budget", "max_iterations")
    cost = result.usage_summary.total_cost
    assert cost is not None
    assert cost <= limit
