"""Any text survives, both ways, by every road (11)."""

from __future__ import annotations

from rlm.errors import LMError
from rlm.testing.conformance._bench import Bench, promise
from rlm.types import Query

TEXTS = {
    "nul": "a\0b\0",
    "lone surrogates": "\ud800 a \udfff \udc80",
    "a surrogate pair as two code points": "\ud83d\ude00",
    "line ends": "a\rb\r\nc\nd\n\re\r",
    "unicode line ends": "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg",
    "emoji and combining": "👩‍👩‍👧 🇨🇭 e\u0301 \u200b\ufeff 𝔘",
    "controls": "".join(map(chr, range(32))) + "\x7f\x1b[31m\x9b",
    "quotes and escapes": "'''\"\"\"\\'\\\"\\n\\u0041\\ud800 {x} %s ${y} ]]> </script>",
    "code points of every plane": "".join(map(chr, range(0x20, 0x110000, 0x1234))),
    "empty": "",
    "only spaces": "  \t ",
}
EVERYTHING = "".join(TEXTS.values())
LONG = ("long line " + "é👩\ud800\0") * 150_000
"""Two million characters, three megabytes, on one line."""


@promise(11)
async def any_text_survives_as_context(bench: Bench) -> None:
    async with bench.repl() as repl:
        for text in (*TEXTS.values(), EVERYTHING):
            await repl.session.bind("context", text)
            assert await repl.value(f"context == {text!r}") is True
            assert await repl.value("[len(context), list(map(ord, context[:2000]))]") == [
                len(text),
                list(map(ord, text[:2000])),
            ]


@promise(11)
async def any_text_survives_at_any_depth_of_the_context_as_value_and_as_key(bench: Bench) -> None:
    context = {"texts": dict(TEXTS), "keys": {text: i for i, text in enumerate(TEXTS.values())}, "list": [[EVERYTHING]]}
    async with bench.repl(context=context) as repl:
        assert await repl.value(f"context == {context!r}") is True
        assert await repl.value("context") == context


@promise(11)
async def any_text_survives_as_prompt_and_reply(bench: Bench) -> None:
    seen: list[object] = []

    def answer(query: Query) -> str:
        seen.append(query.prompt)
        return str(query.prompt)[::-1]

    async with bench.repl(answer=answer) as repl:
        for text in (*TEXTS.values(), EVERYTHING):
            assert await repl.value(f"llm_query({text!r}) == {text[::-1]!r}") is True
            assert seen[-1] == text
        texts = [*TEXTS.values(), EVERYTHING]
        assert await repl.value(f"llm_query_batched({texts!r})") == [text[::-1] for text in texts]


@promise(11)
async def any_text_survives_as_answer_and_draft(bench: Bench) -> None:
    async with bench.repl() as repl:
        for text in (*TEXTS.values(), EVERYTHING):
            assert await repl.value(repr(text)) == text
            cell = await repl.run(f"answer['content'] = {text!r}\nx = 1")
            assert cell.error is None
            assert not text or cell.draft == text


@promise(11)
async def any_text_survives_as_output(bench: Bench) -> None:
    async with bench.repl() as repl:
        for text in (*TEXTS.values(), EVERYTHING):
            cell = await repl.run(f"print({text!r}, end='')")
            assert cell.error is None
            assert cell.output == text
            assert await repl.value(f"_out[{cell.number}] == {text!r}") is True
        before = len("".join(repl.host.printed))
        await repl.show(f"import sys\nn = sys.stderr.write({EVERYTHING!r})")
        assert before <= len("".join(repl.host.printed))


@promise(11)
async def any_text_survives_as_argument_and_result_of_a_tool(bench: Bench) -> None:
    async with bench.repl() as repl:
        seen: list[object] = []

        def tool(text: str, **named: str) -> dict[str, str]:
            seen.append((text, named))
            return {text: text[::-1]}

        repl.host.tools["tool"] = tool
        await repl.session.bind("tool", tool)
        for text in (*TEXTS.values(), EVERYTHING):
            assert await repl.value(f"tool({text!r}, named={text!r}) == { ({text: text[::-1]})!r}") is True
            assert seen[-1] == (text, {"named": text})


@promise(11)
async def any_text_survives_in_an_error(bench: Bench) -> None:
    async with bench.repl() as repl:
        for text in (*TEXTS.values(), EVERYTHING[:2000]):
            cell = await repl.fails(f"raise ValueError({text!r})", "ValueError")
            assert cell.error is not None
            assert cell.error.message == text


@promise(11)
async def code_of_any_text_is_run_or_refused_and_harms_nothing(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("kept = 1")
        for text in TEXTS.values():
            for code in (text, f"# {text}", f"x = r'''{text}'''"):
                await repl.session.execute(code, repl.host)
        cell = await repl.session.execute("a = 1\r\nif a:\r\n    b = 'é👩'\r\nprint(b)\r\n", repl.host)
        assert (cell.output, cell.error) == ("é👩\n", None)
        cell = await repl.session.execute("x = '''a\u2028b\x85c\x0cd'''\nprint(ascii(x))\n1 / 0", repl.host)
        assert cell.error is not None
        assert cell.output == "'a\\u2028b\\x85c\\x0cd'\n"
        assert "line 3" in cell.error.traceback
        assert "1 / 0" in cell.error.traceback
        await repl.still_works("kept", 1)


@promise(11)
async def megabytes_on_one_line_survive_every_road(bench: Bench) -> None:
    seen: list[object] = []

    def answer(query: Query) -> str:
        seen.append(query.prompt)
        return str(query.prompt) + "!"

    def tool(text: str) -> str:
        seen.append(text)
        return text + "?"

    async with bench.repl(context=LONG, answer=answer) as repl:
        repl.host.tools["tool"] = tool
        await repl.session.bind("tool", tool)
        assert await repl.value("[len(context), context.count('\\0'), context[-3:]]") == [len(LONG), 150_000, LONG[-3:]]
        assert await repl.value("llm_query(context) == context + '!'") is True
        assert await repl.value("llm_query_batched([context] * 3) == [context + '!'] * 3") is True
        assert await repl.value("tool(context) == context + '?'") is True
        assert seen == [LONG] * 5
        assert await repl.value("context") == LONG
        assert await repl.value("{'deep': [context]}") == {"deep": [LONG]}
        cell = await repl.run("print(context, end='')")
        assert cell.output_size == len(LONG)
        assert await repl.value(f"_out[{cell.number}] == context") is True


@promise(11)
async def a_large_context_of_many_parts_survives(bench: Bench) -> None:
    files = {f"path/{i}.txt": f"line {i}\n" * 2000 for i in range(200)}
    context: dict[str, object] = {"files": files, "small": list(range(10_000))}
    context["blob"] = bytes(range(256)) * 4000
    async with bench.repl(context=context) as repl:
        assert await repl.value("context") == context
        assert await repl.value("rlm_query('?', context=context)") == "?"
        assert repl.host.queries[-1].context == context


@promise(11)
async def any_text_survives_in_the_message_of_a_failed_call(bench: Bench) -> None:
    def answer(query: Query) -> str:
        raise LMError(str(query.prompt), kind="server", hint=EVERYTHING)

    async with bench.repl(answer=answer) as repl:
        for text in (*TEXTS.values(), EVERYTHING):
            await repl.show(f"try:\n    llm_query({text!r})\nexcept LMError as e:\n    caught = [e.message, e.hint]")
            assert await repl.value("caught") == [text, EVERYTHING]
