"""Whatever a run prints and passes on: nothing counts as read that no model was given, and what was given is found."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm import RLM, LMError, Message, RLMLogger
from rlm._finder import SliceFinder
from rlm.coverage import Coverage, Reading
from rlm.testing import ScriptedClient
from rlm.trajectory import read
from rlm.viewer import Log

WORDS = ("alpha", "Ωmega", "two words", "x=1;", "\t", "„quoted“", "line\nbreak", "🙂", "'", '"')


def unique_text(seed: int, size: int) -> str:
    """Text of which no twenty characters stand twice, as good as surely."""
    rng = random.Random(seed)
    return "".join(f"{rng.getrandbits(64):016x}{rng.choice(WORDS)}" for _ in range(size // 16 + 1))[:size]


@st.composite
def contexts(draw: st.DrawFn) -> Any:
    seed, size = draw(st.integers(0, 999)), draw(st.integers(60, 12_000))
    match draw(st.sampled_from(["text", "list", "dict", "repeated"])):
        case "text":
            return unique_text(seed, size)
        case "list":
            text = unique_text(seed, size)
            step = draw(st.integers(20, 700))
            return [text[at : at + step] for at in range(0, size, step)]
        case "dict":
            text = unique_text(seed, size)
            half = size // 2
            return {"a": [text[:half], {"b": text[half:]}], 3: None}
        case _:
            lines = [unique_text(seed + n, draw(st.integers(5, 90))) for n in range(draw(st.integers(1, 4)))]
            return "\n".join(draw(st.lists(st.sampled_from(lines), min_size=1, max_size=60)))


@st.composite
def cells(draw: st.DrawFn) -> str:
    """A cell that shows or passes slices of the context's text, joined in the REPL as `text`."""
    a, b = sorted((draw(st.integers(0, 12_000)), draw(st.integers(0, 12_000))))
    piece = f"text[{a}:{b}]"
    return draw(
        st.sampled_from(
            [
                f"print({piece})",
                f"print('«', {piece}, '»')",
                f"print(repr({piece}))",
                f"print(grep(text[{a}:{a + 12}] or 'x', text, regex=False))",
                f"print(peek(context, {a % 7} if isinstance(context, (list, str)) else 'a', 3_000))",
                f"llm_query('«' + {piece} + '»')",
                f"llm_query_batched(['«' + {piece} + '»', '«' + text[{b}:{b + 500}] + '»'])",
                f"llm_query_batched(['fail «' + {piece} + '»'])",
                f"rlm_query('child? «' + text[{a}:{a + 200}] + '»', context={piece} or 'none')",
                f"rlm_query('limit? «»', context=[{piece}])",
            ]
        )
    )


def answered(messages: Sequence[Message]) -> bool:
    return not (len(messages) == 1 and messages[0].content.startswith("fail"))


def run_over(folder: str, context: Any, code: Sequence[str], depth: int) -> tuple[Any, list[str]]:
    """A run's result, and the texts that models were given and answered."""
    join = "text = context if isinstance(context, str) else '\\n'.join(context) if isinstance(context, list) else "
    join += "context['a'][0] + context['a'][1]['b']"

    def model(messages: Sequence[Message]) -> str:
        if not answered(messages):
            raise LMError("slow down", kind="rate_limit")
        if len(messages) == 1:
            return "seen"
        turn = sum(message.role == "assistant" for message in messages)
        if "child?" in messages[1].content:
            inner = ["print(context[:300])", "FINAL(llm_query('«' + str(context)[100:400] + '»'))"]
            return f"```repl\n{inner[turn]}\n```"
        cell = [f"{join}\n{code[0]}", *code[1:], "FINAL('done')"][turn]
        return f"```repl\n{cell}\n```"

    client = ScriptedClient(model)
    rlm = RLM(backend=client, environment="local", max_depth=depth, logger=RLMLogger(log_dir=folder))
    result = rlm.completion(context, "root?")
    given = [m.content for call in client.calls if answered(call.messages) for m in call.messages if m.role == "user"]
    return result, list(dict.fromkeys(given))


def text_of(context: Any, reading: Reading) -> str:
    for key in reading.path:
        context = context[key]
    return str(context[reading.at : reading.at + reading.length])


def texts(context: Any) -> list[tuple[tuple[Any, ...], str]]:
    match context:
        case str():
            return [((), context)]
        case list():
            return [((n,), item) for n, item in enumerate(context)]
        case _:
            return [(("a", 0), context["a"][0]), (("a", 1, "b"), context["a"][1]["b"])]


def pieces_in(text: str, given: Sequence[str], shortest: int) -> list[tuple[int, int]]:
    """The stretches of a text, of at least that length, that stand in a text that was given; found the slow way."""
    found: list[tuple[int, int]] = []
    for other in given:
        begin = 0
        while begin + shortest <= len(text):
            if text[begin : begin + shortest] not in other:
                begin += 1
                continue
            end = begin + shortest
            while end < len(text) and text[begin : end + 1] in other:
                end += 1
            found.append((begin, end))
            begin = end - shortest + 2
    return found


@settings(max_examples=60, deadline=None)
@given(context=contexts(), code=st.lists(cells(), min_size=1, max_size=4), depth=st.integers(1, 2))
def test_what_is_read_is_what_models_were_given(context: Any, code: list[str], depth: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        result, sent = run_over(folder, context, code, depth)
        coverage: Coverage = result.coverage
        (path,) = Path(folder).iterdir()
        assert read(path).coverage == coverage
        assert read(path).evidence == result.evidence
        log = Log(path)
        log.update()
        shown = log.summary.to_dict()["coverage"]
    assert (shown["read"], shown["unread"]) == (coverage.read, [1 - coverage.most, 1 - coverage.share])
    assert 0.0 <= coverage.share <= coverage.most <= 1.0
    for reading in coverage.readings:
        assert any(text_of(context, reading) in text for text in sent), reading
    if not repeats_itself(context):
        for path_, text in texts(context):
            read_ = {n for r in coverage.readings if r.path == path_ for n in range(r.at, r.at + r.length)}
            for begin, end in pieces_in(text, sent, coverage.shortest):
                assert read_.issuperset(range(begin, end)), (path_, begin, end)


def repeats_itself(context: Any) -> bool:
    whole = "".join(text for _, text in texts(context))
    return len({whole[at : at + 20] for at in range(len(whole) - 19)}) < len(whole) - 19


@settings(max_examples=200, deadline=None)
@given(
    source=st.text("ab \n", max_size=400).map(lambda text: text * 3),
    pieces=st.lists(st.tuples(st.integers(0, 1_200), st.integers(0, 1_200), st.text("abc", max_size=9)), max_size=6),
)
def test_a_piece_that_is_found_is_in_both_texts(source: str, pieces: list[tuple[int, int, str]]) -> None:
    finder = SliceFinder([source[:600], source[600:]], 40)
    text = "".join(source[min(a, b) : max(a, b)] + between for a, b, between in pieces)
    hits = finder.find(text)
    for hit in hits:
        assert hit.size >= 40
        assert text[hit.begin : hit.end] == [source[:600], source[600:]][hit.leaf][hit.at : hit.at + hit.size]
    assert all(a.begin < b.begin and a.end < b.end for a, b in pairwise(hits))


@pytest.mark.parametrize("shortest", [40, 57, 200])
def test_pieces_one_right_after_the_other_are_all_found(shortest: int) -> None:
    rng = random.Random(shortest)
    text = unique_text(1, 20_000)
    source = [text[:7_000], text[7_000:]]
    finder = SliceFinder(source, shortest)
    for _ in range(200):
        places = [(leaf := rng.randrange(2), rng.randrange(len(source[leaf]) - shortest)) for _ in range(30)]
        hits = finder.find("".join(source[leaf][at : at + shortest] for leaf, at in places))
        read_ = {(hit.leaf, hit.at + n) for hit in hits for n in range(hit.size)}
        assert all(read_.issuperset((leaf, at + n) for n in range(shortest)) for leaf, at in places)
