"""How a reply becomes action: fences in every state of disrepair, thinking, and answers written as text."""

from __future__ import annotations

import ast
import time
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm.policy.reading import read_reply


def codes(reply: str) -> list[str]:
    return [block.code for block in read_reply(reply).blocks]


PROMPT_WITH_FENCE = 'p = """Answer as\n```json\n{"a": 1}\n```\nand\n```python\nx = 1\n```\n"""\nprint(llm_query(p))'

READ = {
    "plain repl": ("Let me look.\n```repl\nprint(1)\n```\nDone.", ["print(1)"]),
    "python": ("```python\nx = 1\nprint(x)\n```", ["x = 1\nprint(x)"]),
    "py": ("```py\nx = 1\n```", ["x = 1"]),
    "capital": ("```Python\nx = 1\n```", ["x = 1"]),
    "python3": ("```python3\nx = 1\n```", ["x = 1"]),
    "space before the tag": ("``` repl\nx = 1\n```", ["x = 1"]),
    "attributes": ('```repl title="look" {1}\nx = 1\n```', ["x = 1"]),
    "pandoc": ("```{.python .numbered}\nx = 1\n```", ["x = 1"]),
    "no tag": ("```\nprint(context[:100])\n```", ["print(context[:100])"]),
    "no tag, a look": ("```\ncontext[:100]\n```", ["context[:100]"]),
    "no tag, output": ("```\n42\n```", []),
    "no tag, a listing": ("```\nfile.txt\n```", []),
    "no tag, yaml": ("```\nname: value\nother: value\n```", []),
    "no tag, prose": ("```\nThe result is here.\n```", []),
    "tildes": ("~~~repl\nx = 1\n~~~", ["x = 1"]),
    "tildes around backticks": ('~~~python\nx = """\n```\n"""\n~~~', ['x = """\n```\n"""']),
    "long fence": ("````repl\nx = 1\n````", ["x = 1"]),
    "longer closing": ("```repl\nx = 1\n`````", ["x = 1"]),
    "indented": ("1. First:\n   ```repl\n   if x:\n       y = 1\n   ```\n2. Then", ["if x:\n    y = 1"]),
    "in a list item": ("- ```python\n  x = 1\n  ```", ["x = 1"]),
    "code indented alone": ("```repl\n    x = 1\n    y = 2\n```", ["x = 1\ny = 2"]),
    "closing indented": ("```repl\nx = 1\n   ```\nText", ["x = 1"]),
    "closing on the code's line": ("```repl\nx = 1\nprint(x)```\nText", ["x = 1\nprint(x)"]),
    "not closed": ("Look:\n```repl\nx = 1\nprint(x)\n", ["x = 1\nprint(x)"]),
    "not closed before the next": ("```repl\nx = 1\n```repl\ny = 2\n```", ["x = 1", "y = 2"]),
    "opened behind prose": ("Here it is: ```repl\nx = 1\n```", ["x = 1"]),
    "all on one line": ("```python print(1)```", ["print(1)"]),
    "two blocks": ("```repl\nx = 1\n```\nand\n```repl\ny = 2\n```", ["x = 1", "y = 2"]),
    "code beside output": ("```repl\nx = 1\n```\nOutput:\n```text\nx = 2\n```\n```json\n{}\n```", ["x = 1"]),
    "fences in a string": (
        f"```repl\n{PROMPT_WITH_FENCE}\n```\nText\n```repl\ny = 1\n```",
        [PROMPT_WITH_FENCE, "y = 1"],
    ),
    "fence in a comment": ("```repl\nx = 1  # strip ```\nprint(x)\n```", ["x = 1  # strip ```\nprint(x)"]),
    "a fence as a string": ("```repl\nt = s.split('```')[0]\n```", ["t = s.split('```')[0]"]),
    "syntax error": ("```repl\nx = = 1\n```\nText\n```repl\ny = 1\n```", ["x = = 1", "y = 1"]),
    "top-level await": ("```repl\nr = await go()\n```", ["r = await go()"]),
    "crlf": ("```repl\r\nx = 1\r\nprint(x)\r\n```\r\n", ["x = 1\nprint(x)"]),
    "json is not run": ('```json\n{"a": 1}\n```', []),
    "bash is not run": ("```bash\nls\n```", []),
    "sql is not run": ("```sql\nselect 1\n```", []),
    "markdown with code inside": ("```markdown\n# T\n```python\nx()\n```\n```\n```repl\ny = 1\n```", ["y = 1"]),
    "json not closed": ('```json\n{"a": 1}\n```repl\nx = 1\n```', ["x = 1"]),
    "stray closing fence": ("```repl\nprint(1)```\n```\nNow:\n```repl\ny = 1\n```", ["print(1)", "y = 1"]),
    "thinking": ("<think>\n```repl\nbad()\n```\n</think>\n```repl\ngood()\n```", ["good()"]),
    "thinking, other tag": ("<thinking>\n```repl\nbad()\n```\n</thinking>\n```repl\ngood()\n```", ["good()"]),
    "thinking not closed": ("<think>\nSo:\n```repl\nbad()\n```\n", []),
    "thinking only closed": ("Hm.\n```repl\nbad()\n```\nYes.</think>\n\n```repl\ngood()\n```", ["good()"]),
    "thinking on a line": ("<think>short</think>```repl\ngood()\n```", ["good()"]),
    "fence left open in a thought": ("<think>\n```repl\nbad(\n</think>\n```repl\ngood()\n```", ["good()"]),
    "json left open in a thought": ("<think>\n```json\n{\n</think>\n```repl\ngood()\n```", ["good()"]),
    "fence left open, only closed": ("Hm\n```repl\nbad()\nso\n</think>\n```repl\ngood()\n```", ["good()"]),
    "two thoughts": ("<think>a</think>\n```repl\nx()\n```\n<think>\n```repl\nbad()\n```\n</think>", ["x()"]),
    "thought tags in a string": (
        '```repl\nt = "<think>a</think>"\nu = """\n<think>\n"""\n```\n```repl\nx()\n```',
        ['t = "<think>a</think>"\nu = """\n<think>\n"""', "x()"],
    ),
    "thought tags named in prose": ("It strips `<think>` and <think> tags.\n```repl\nx()\n```", ["x()"]),
    "FINAL": ("FINAL(42)", ["FINAL('42')"]),
    "FINAL after prose": ("That is it.\n\nFINAL(Paris)\n", ["FINAL(globals().get('Paris', 'Paris'))"]),
    "FINAL with quotes": ('FINAL("It is 5")', ["FINAL('It is 5')"]),
    "FINAL with triple quotes": ("FINAL('''a\nb''')", ["FINAL('a\\nb')"]),
    "FINAL with escapes": (r'FINAL("a\n\"b\"")', ["FINAL('a\\n\"b\"')"]),
    "FINAL with a path": (r'FINAL("C:\dir")', [r"FINAL('C:\\dir')"]),
    "FINAL of two quoted": ('FINAL("a" and "b")', ['FINAL(\'"a" and "b"\')']),
    "FINAL with parentheses": ("FINAL(f(x) = (1)) :-)", ["FINAL('f(x) = (1)) :-')"]),
    "FINAL over lines": ("FINAL(a\n\n(b)\nc)", ["FINAL('a\\n\\n(b)\\nc')"]),
    "FINAL in bold": ("**FINAL(42)**", ["FINAL('42')"]),
    "FINAL with an open parenthesis": ("FINAL(a ( b)", ["FINAL('a ( b')"]),
    "FINAL twice": ("FINAL(1)\nFINAL(2)", ["FINAL('2')"]),
    "FINAL of a keyword": ("FINAL(None)", ["FINAL('None')"]),
    "FINAL_VAR": ("FINAL_VAR(result)", ["FINAL_VAR('result')"]),
    "FINAL_VAR with quotes": ('FINAL_VAR("result")', ["FINAL_VAR('result')"]),
    "FINAL_VAR after a block": ("```repl\nr = 1\n```\nFINAL_VAR(r)", ["r = 1", "FINAL_VAR('r')"]),
    "FINAL before a block": ("FINAL(1)\n```repl\nr = 1\n```\nmore", ["r = 1"]),
    "FINAL in prose": ("I will call FINAL(answer) later.", []),
    "FINAL and more": ("FINAL(answer)\nis how it would end (later).", []),
    "FINAL in a thought": ("<think>\nFINAL(1)\n</think>\n", []),
    "FINAL as code": ("```repl\nFINAL(x)\n```", ["FINAL(x)"]),
    "FINAL as text in a fence": ("```repl\nFINAL(The answer is 42)\n```", ["FINAL('The answer is 42')"]),
    "FINAL in a bare fence": ("```\nFINAL(The answer is 42)\n```", ["FINAL('The answer is 42')"]),
    "FINAL of nothing": ("FINAL()", []),
}


@pytest.mark.parametrize(("reply", "expected"), READ.values(), ids=READ.keys())
def test_a_reply_is_read_as(reply: str, expected: list[str]) -> None:
    parsed = read_reply(reply)
    assert [block.code for block in parsed.blocks] == expected
    assert (parsed.problem is None) == bool(expected)


PROBLEMS = {
    "empty": ("", "empty"),
    "blank": (" \n\n", "empty"),
    "only thinking": ("<think>hm</think>", "only thinking"),
    "open thinking": ("<think>\nhm\n```repl\nx()\n```", "only thinking"),
    "json": ('```json\n{"a": 1}\n```', "'json'"),
    "bash": ("```bash\nls\n```", "'bash'"),
    "tool call in a fence": ('```json\n{"name": "python", "arguments": {"code": "x"}}\n```', "tool call"),
    "tool call": ('<tool_call>\n{"name": "x"}\n</tool_call>', "tool call"),
    "bare tool call": ('{"tool": "python", "code": "print(1)"}', "tool call"),
    "code without a fence": ("x = context[:10]\nprint(x)\n", "outside of a fence"),
    "code among prose": ("I look:\nimport re\nprint(len(context))\n", "outside of a fence"),
    "cut off": ("```repl\nx = (1,\n", "not closed"),
    "empty fence": ("```repl\n\n```", "nothing in it"),
    "bare fence": ("```\nsome words\n```", "without a tag"),
    "prose": ("The answer is probably Paris.", "no code"),
    "final in the middle": ("FINAL(x)\nis how it ends", "end the reply"),
}


@pytest.mark.parametrize(("reply", "named"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_a_reply_with_nothing_to_run_is_told_what_was_found_and_what_is_expected(reply: str, named: str) -> None:
    parsed = read_reply(reply)
    assert parsed.blocks == ()
    assert parsed.problem is not None
    assert named in parsed.problem
    assert len(parsed.problem) < 240
    assert "```repl" in parsed.problem or "FINAL" in parsed.problem


def test_a_block_knows_its_line_and_whether_its_fence_was_closed() -> None:
    first, second = read_reply("Hi\n\n```repl\nx = 1\n```\n```repl\ny = 2\n").blocks
    assert (first.line, first.complete) == (4, True)
    assert (second.line, second.complete) == (7, False)


def test_a_variable_is_taken_for_a_bare_name_and_the_text_where_there_is_none() -> None:
    (code,) = codes("FINAL(total)")
    taken: list[object] = []
    exec(code, {"FINAL": taken.append, "total": 7})
    exec(code, {"FINAL": taken.append})
    assert taken == [7, "total"]


def test_reading_code_with_odd_escapes_warns_of_nothing() -> None:
    reply = "```repl\nimport re\nre.findall('\\d+\\s', \"\\.\") ; y = 1if x else 0\n```"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(codes(reply)) == 1


CODE = [
    "x = 1",
    "def f(a):\n    return a\n\nprint(f(2))",
    'p = """\n```\n```python\nx\n```\n"""',
    "async def g():\n    await h()\nawait g()",
    "t = '<think>'  # </think>",
    "s = r'\\d'\nfor a in b:\n    pass\n\n\nprint(s)",
    PROMPT_WITH_FENCE,
]


@given(
    code=st.lists(st.sampled_from(CODE), min_size=1, max_size=4).map("\n".join),
    fence=st.sampled_from(["```", "````", "~~~", "~~~~"]),
    tag=st.sampled_from(["repl", "python", "py", "Python", ""]),
    before=st.sampled_from(["", "Text.\n", "<think>hm\n```repl\nx\n```\n</think>\n", "\n\n"]),
    after=st.sampled_from(["", "\nText.", "\n\nMore `text` here\n"]),
)
def test_fenced_code_that_compiles_comes_back_as_it_was(
    code: str, fence: str, tag: str, before: str, after: str
) -> None:
    assert codes(f"{before}{fence}{tag}\n{code}\n{fence}{after}") == [code]


PIECES = [
    "```",
    "```repl",
    "~~~",
    "````",
    "x = 1",
    '"""',
    "(",
    "<think>",
    "</think>",
    "FINAL(",
    ")",
    "FINAL_VAR(x)",
    "text",
]
PIECES += ["```json", "{", "'", "\\", "  ", "\r", "\x00", "\ud800", "# ```", "print(1)```", "- ```py", "\u2028", "<"]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=40), st.sampled_from(["\n", "", " ", "\r\n"]))
def test_no_reply_raises_and_code_is_always_a_part_of_it(pieces: list[str], between: str) -> None:
    reply = between.join(pieces)
    parsed = read_reply(reply)
    assert (parsed.problem is None) == bool(parsed.blocks)
    lines = {line.strip() for line in reply.replace("\r\n", "\n").split("\n")}
    for block in parsed.blocks:
        if not block.code.startswith("FINAL"):
            assert all(any(line.strip() in whole for whole in lines) for line in block.code.split("\n"))
    assert not parsed.blocks or parsed.blocks == read_reply(reply).blocks


LARGE = {
    "closed blocks": "```repl\nx = 1\n```\n" * 10_000,
    "broken blocks": "```repl\nx = (\n```\n" * 10_000,
    "openings": "```repl\n" * 100_000,
    "bare fences": "text\n```\n" * 60_000,
    "fences of all lengths": "\n".join("`" * n for n in range(3, 1_400)),
    "one line of backticks": "```repl\n" + "`" * 1_000_000 + "x",
    "a run behind text": "a" + "`" * 1_000_000 + "x",
    "thoughts on a line": "<think></think>" * 60_000,
    "open thoughts": "<think>\n```repl\nx\n" * 40_000,
    "closings": "```repl\n(\n</think>\n" * 40_000,
    "markdown": "```markdown\n```py\n" * 40_000,
    "finals": "FINAL(\n" * 100_000 + ")",
    "finals that end": "FINAL(1)\n" * 100_000 + "x)",
    "parentheses": "FINAL(" + "(" * 500_000 + ")" * 500_000,
    "one long line": "```repl\nx = '" + "a" * 1_000_000 + "'\n```",
    "deep code": "```repl\n" + "(" * 100_000 + "\n```",
    "a long sum": "```repl\n" + "+".join(["a"] * 100_000) + "\n```",
    "signs": "```repl\n" + "-" * 100_000 + "1\n```",
    "digits": "1" * 1_000_000,
    "braces": "{" * 1_000_000,
    "spaces": " " * 1_000_000 + "x",
    "strings": ('```repl\nx = """\n```\n' * 10_000),
}


@pytest.mark.parametrize("reply", LARGE.values(), ids=LARGE.keys())
def test_no_reply_takes_long_to_read(reply: str) -> None:
    begun = time.monotonic()
    read_reply(reply)
    assert time.monotonic() - begun < 30  # a guard against hanging


def test_a_large_reply_of_closed_blocks_is_read_in_full() -> None:
    assert len(read_reply(LARGE["closed blocks"]).blocks) == 10_000


def test_all_that_is_read_as_final_is_code() -> None:
    for text in ["FINAL(\ud800 \x00 '\" \\)", "FINAL('''a' ''')", "FINAL_VAR(a b)", 'FINAL("""""")', "FINAL('\\')"]:
        for code in codes(text):
            ast.parse(code)
