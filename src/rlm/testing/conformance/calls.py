"""Models called from code: what a reply is (12), batches (13), and what arrives at the host."""

from __future__ import annotations

import asyncio

from rlm.errors import LMError
from rlm.testing.conformance._bench import Bench, Gathering, promise, reply, same
from rlm.types import UNSET, Message, Query, Reply


@promise(12)
async def llm_query_returns_the_reply_as_a_str(bench: Bench) -> None:
    async with bench.repl(answer=lambda query: f"reply to {query.prompt}") as repl:
        await repl.show("r = llm_query('a')")
        assert await repl.value("[isinstance(r, str), r == 'reply to a', r + '!', r[:5], len(r)]") == [
            True,
            True,
            "reply to a!",
            "reply",
            10,
        ]
        assert await repl.value("{r: [r.upper(), '-'.join([r, r])]}") == {
            "reply to a": ["REPLY TO A", "reply to a-reply to a"]
        }
        assert await repl.value("__import__('json').loads(__import__('json').dumps({'r': r}))") == {"r": "reply to a"}
        assert type(await repl.value("r")) is str or bench.traits.in_process
        assert await repl.show("r") == "'reply to a'\n"
        assert await repl.show("print(r)") == "reply to a\n"
        assert await repl.value("__import__('copy').deepcopy([r, (r,)])") == ["reply to a", ("reply to a",)]


@promise(12)
async def a_reply_carries_usage_model_and_finish(bench: Bench) -> None:
    def answer(query: Query) -> Reply:
        return reply("cut off", model="exact-name-2", finish="length" if query.prompt == "long" else "stop")

    async with bench.repl(answer=answer) as repl:
        await repl.show("short, long = llm_query('short'), llm_query('long')")
        assert await repl.value("[short.finish, long.finish, long.model]") == ["stop", "length", "exact-name-2"]
        usage = await repl.value("dict(long.usage)")
        assert {"calls": 1, "input_tokens": 7, "output_tokens": 3}.items() <= usage.items()
        assert await repl.value("[r.finish for r in llm_query_batched(['long', 'short'])]") == ["length", "stop"]
        assert await repl.value("rlm_query('long').model") == "exact-name-2"


@promise(12)
async def a_reply_may_be_awaited(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("a = await llm_query('a')")
        await repl.show(
            """
            import asyncio
            async def ask(p):
                return await llm_query(p)
            both = await asyncio.gather(ask("b"), ask("c"))
            plain = await asyncio.gather(llm_query("d"), llm_query("e"))
            """
        )
        await repl.show("inside = asyncio.run(ask('f'))")
        assert await repl.value("[a, both, plain, inside]") == ["a", ["b", "c"], ["d", "e"], "f"]
        assert await repl.value("[(await rlm_query('g')), (await llm_query('h')).model]") == ["g", "scripted"]


@promise(12)
async def the_prompt_and_the_model_asked_for_arrive_at_the_host(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show(
            "llm_query('p1')\nllm_query('p2', model='big')\nllm_query('p3', 'small')\nllm_query(prompt='p4')"
        )
        assert [(q.kind, q.prompt, q.model, q.context) for q in repl.host.queries] == [
            ("llm", "p1", None, UNSET),
            ("llm", "p2", "big", UNSET),
            ("llm", "p3", "small", UNSET),
            ("llm", "p4", None, UNSET),
        ]
        await repl.show("llm_query_batched(['p5', 'p6'], model='big')")
        assert sorted((str(q.prompt), q.model) for q in repl.host.queries[4:]) == [("p5", "big"), ("p6", "big")]


@promise(12)
async def a_list_of_messages_is_a_prompt(bench: Bench) -> None:
    async with bench.repl() as repl:
        messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
        assert await repl.value(f"llm_query({messages})") == "hi"
        assert repl.host.queries[-1].prompt == (Message("system", "be brief"), Message("user", "hi"))
        assert await repl.value(f"llm_query_batched([{messages}, 'plain'])") == ["hi", "plain"]


@promise(12)
async def a_prompt_that_is_none_fails_in_the_cell_and_is_not_sent(bench: Bench) -> None:
    async with bench.repl() as repl:
        for prompt in (
            "5",
            "None",
            "b'bytes'",
            "[5]",
            "{'role': 'user'}",
            "[{'role': 'user'}]",
            "[{'role': 'x', 'content': 'y'}]",
            "object()",
        ):
            cell = await repl.fails(f"llm_query({prompt})")
            assert cell.error is not None
            assert "llm_query" in cell.error.traceback, cell
        await repl.fails("llm_query()", "TypeError")
        await repl.fails("llm_query('a', temperature=1)", "TypeError")
        assert not repl.host.queries
        await repl.still_works()


@promise(12)
async def rlm_query_gives_its_child_a_context_when_there_is_one(bench: Bench) -> None:
    async with bench.repl(answer=lambda query: f"child of {query.prompt}") as repl:
        assert await repl.value("rlm_query('q')") == "child of q"
        await repl.show(
            "rlm_query('q', context=['a', {'b': (1, 2)}])\nrlm_query('q', 'text')\nrlm_query('q', 'text', 'big')"
        )
        await repl.show(
            "rlm_query(prompt='q', context='', model='m')\nrlm_query('q', context=[])\nrlm_query('q', context=0)"
        )
        rows = [(q.kind, q.prompt, q.context, q.model) for q in repl.host.queries]
        expected = [
            ("rlm", "q", UNSET, None),
            ("rlm", "q", ["a", {"b": (1, 2)}], None),
            ("rlm", "q", "text", None),
            ("rlm", "q", "text", "big"),
            ("rlm", "q", "", "m"),
            ("rlm", "q", [], None),
            ("rlm", "q", 0, None),
        ]
        assert len(rows) == len(expected)
        for row, wanted in zip(rows, expected, strict=True):
            assert row[2] is UNSET if wanted[2] is UNSET else same(row[2], wanted[2]), (row, wanted)
            assert (row[0], row[1], row[3]) == (wanted[0], wanted[1], wanted[3])


@promise(13)
async def batched_calls_are_all_in_flight_at_once_and_keep_their_order(bench: Bench) -> None:
    async with bench.repl(answer=Gathering(50)) as repl:
        await repl.show("replies = llm_query_batched([f'prompt {i}' for i in range(50)])")
        assert await repl.value("replies") == [f"prompt {i}" for i in range(50)]
        assert await repl.value("[type(replies) is list, isinstance(replies[0], str), replies[7].model]") == [
            True,
            True,
            "scripted",
        ]


@promise(13)
async def the_order_of_a_batch_is_that_of_its_prompts_whichever_is_answered_first(bench: Bench) -> None:
    order: list[str] = []
    answered = [asyncio.Event() for _ in range(5)]

    async def backwards(query: Query) -> str:
        index = int(str(query.prompt))
        await repl.host.asked(5)
        if index < 4:
            await answered[index + 1].wait()
        order.append(str(query.prompt))
        answered[index].set()
        return f"reply {index}"

    async with bench.repl(answer=backwards) as repl:
        assert await repl.value("llm_query_batched(['0', '1', '2', '3', '4'])") == [f"reply {i}" for i in range(5)]
    assert order == ["4", "3", "2", "1", "0"]


@promise(13)
async def rlm_query_batched_gives_each_prompt_its_context_and_runs_them_at_once(bench: Bench) -> None:
    async with bench.repl(answer=Gathering(4)) as repl:
        code = "rlm_query_batched(['a', 'b', 'c', 'd'], contexts=['A', ['B'], {'c': 1}, None], model='m')"
        assert await repl.value(code) == ["a", "b", "c", "d"]
        seen = {q.prompt: (q.kind, q.context, q.model) for q in repl.host.queries}
        assert seen["a"] == ("rlm", "A", "m")
        assert seen["b"] == ("rlm", ["B"], "m")
        assert seen["c"] == ("rlm", {"c": 1}, "m")
        assert seen["d"] == ("rlm", UNSET, "m")
        cell = await repl.fails("rlm_query_batched(['a', 'b'], contexts=['only one'])")
        assert cell.error is not None
        assert len(repl.host.queries) == 4
        assert await repl.value("rlm_query_batched(['e', 'f'])") == ["e", "f"]


@promise(13)
async def the_batched_forms_take_the_names_models_use(bench: Bench) -> None:
    async with bench.repl() as repl:
        for function in ("llm_query_batched", "rlm_query_batched"):
            for name in ("prompts", "queries", "inputs"):
                assert await repl.value(f"{function}({name}=['a', 'b'])") == ["a", "b"]
            assert await repl.value(f"{function}('one string')") == ["one string"]
            assert await repl.value(f"{function}(prompts='one string')") == ["one string"]
            assert await repl.value(f"{function}([])") == []
            assert await repl.value(f"{function}(('a', 'b'))") == ["a", "b"]
            assert await repl.value(f"{function}(c for c in 'ab')") == ["a", "b"]
            await repl.fails(f"{function}()", "TypeError")
            await repl.fails(f"{function}(['a', 5])", "TypeError")


@promise(13)
async def the_entries_of_a_batch_say_which_they_are(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("llm_query_batched(['a', 'b', 'c'])")
        await repl.show("llm_query_batched(['d'])\nllm_query('e')")
        rows = {q.prompt: q.batch for q in repl.host.queries}
        first, second = rows["a"], rows["d"]
        assert first is not None
        assert second is not None
        assert [rows["a"], rows["b"], rows["c"]] == [(first[0], i, 3) for i in range(3)]
        assert second[1:] == (0, 1)
        assert second[0] != first[0]
        assert rows["e"] is None


@promise(13)
async def a_thousand_calls_in_one_batch_all_come_back(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("prompts = [f'{i} ' + 'x' * 1000 for i in range(1000)]\nreplies = llm_query_batched(prompts)")
        assert await repl.value("replies == prompts") is True
        assert len(repl.host.queries) == 1000


@promise(16)
async def a_prompt_too_long_or_a_model_unknown_is_an_lmerror_of_that_kind(bench: Bench) -> None:
    def answer(query: Query) -> str:
        if query.model:
            raise LMError("no model 'nope'; there are: big, small", kind="unknown_model")
        raise LMError(
            "the prompt has at least 90,000 tokens, the model takes 8,192", kind="context_length", hint="split it"
        )

    async with bench.repl(answer=answer) as repl:
        cell = await repl.fails("llm_query('x', model='nope')", "LMError")
        assert cell.error is not None
        assert "big, small" in cell.error.message
        await repl.show("try:\n    llm_query('x')\nexcept LMError as e:\n    seen = [e.kind, e.message, e.hint]")
        assert await repl.value("seen") == [
            "context_length",
            "the prompt has at least 90,000 tokens, the model takes 8,192",
            "split it",
        ]
