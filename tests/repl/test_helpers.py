"""The helpers of every session: right on text, lists and dicts, bounded in what they show, never hanging."""

from __future__ import annotations

import ast
import inspect
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm.repl import helpers
from rlm.repl.helpers import chunks, grep, peek, shapes

LINES = st.lists(st.text(alphabet="ab1 \n\r\u2028語", max_size=30), max_size=30).map("\n".join)


@pytest.mark.parametrize("helper", [grep, chunks, peek, shapes])
def test_a_helpers_source_can_be_read_and_it_says_what_it_does(helper: Any) -> None:
    assert helper.__name__ in helpers.__all__
    assert f"def {helper.__name__}(" in inspect.getsource(helper)
    assert len(helper.__doc__) > 100


@pytest.mark.parametrize("name", ["helpers.py", "measure.py", "shapes.py"])
def test_the_helpers_parse_on_python_3_8_and_import_nothing_outside_their_room(name: str) -> None:
    source = (Path(str(helpers.__file__)).parent / name).read_text("utf-8")
    tree = ast.parse(source, feature_version=(3, 8))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 1 or node.module in {"__future__", "bisect", "collections", "itertools", "typing"}


# grep


def test_grep_finds_every_match_with_its_line_offset_and_surroundings() -> None:
    text = "alpha\nbeta 12\ngamma\nbeta 345\n"
    hits = grep(r"beta \d+", text, around=3)
    assert [(hit.where, hit.at, hit.match) for hit in hits] == [(2, 6, "beta 12"), (4, 20, "beta 345")]
    assert hits[0].text == "ha\nbeta 12\nga"
    assert all(text[hit.at :].startswith(hit.match) for hit in hits)
    assert "line 4 at 20" in repr(hits)


def test_grep_matches_line_starts_and_takes_flags_plain_text_and_compiled_patterns() -> None:
    text = "a.b\nA.B\naxb\n"
    assert [hit.at for hit in grep("^a", text)] == [0, 8]
    assert len(grep("^a", text, re.IGNORECASE)) == 3
    assert len(grep("a.b", text, regex=False)) == 1
    assert len(grep(re.compile("B"), text)) == 1


def test_grep_finds_texts_inside_lists_and_dicts_and_tells_the_way_to_them() -> None:
    records = [{"role": "user", "content": ["no", "a needle"]}, "needle needle", 5, b"needle"]
    hits = grep("needle", records)
    assert [(hit.where, hit.path, hit.at) for hit in hits] == [
        (0, ("content", 1), 2),
        (1, (), 0),
        (1, (), 7),
        (3, (), 0),
    ]
    assert "[0]['content'][1] at 2: a needle" in repr(hits)
    assert [(hit.where, hit.at) for hit in grep("x", {"a.py": "--x", "b.py": "none"})] == [("a.py", 2)]
    assert [hit.where for hit in grep("^5$", records)] == [2]


def test_grep_shows_few_of_many_hits_and_counts_them_all() -> None:
    text = "row of data\n" * 50_000
    hits = grep("data", text)
    assert len(hits) == hits.total == 50_000
    assert len(repr(hits)) < 4_000
    assert "50,000 hits" in repr(hits)
    assert "line 50000 at" in repr(hits)
    with pytest.warns(RuntimeWarning, match="kept the first 10"):
        few = grep("data", text, limit=10)
    assert (len(few), few.total) == (10, 50_000)


def test_grep_of_a_long_text_finds_what_the_whole_would_give_across_its_windows() -> None:
    text = (
        "".join(f"item {n} of {n * 7919 % 1013}\n" * (1 + n % 3) for n in range(20_000)) + "x" * 100_000 + "item 5 of 1"
    )
    for pattern in (r"item \d+ of 7\b", r"^item 1\d*", r"of (\d+)\nitem \d+ of \1$", r"x{900}", r"\d$", r"m"):
        expected = [match.span() for match in re.finditer(pattern, text, re.MULTILINE)]
        assert [(hit.at, hit.at + len(hit.match)) for hit in grep(pattern, text)] == expected


def test_grep_says_how_far_it_came_when_a_pattern_takes_too_long() -> None:
    with pytest.warns(RuntimeWarning, match="not all"):
        hits = grep(r"(?s).*needle", "hay " * 500_000, seconds=0.01)
    assert not hits.complete
    assert "at least" in repr(hits)


@pytest.mark.parametrize(
    ("pattern", "context", "error", "said"),
    [
        ("(", "text", ValueError, "regex=False"),
        ("", "text", ValueError, "empty"),
        ([1], "text", TypeError, "pattern comes first"),
        ("x" * 200_000, "text", TypeError, "pattern comes first"),
        (5, "text", TypeError, "pattern"),
        (re.compile(b"x"), "text", TypeError, "pattern"),
        ("x", b"bytes", TypeError, "decode"),
        ("x", None, TypeError, "NoneType"),
    ],
)
def test_grep_refuses_what_it_cannot_search_and_says_why(
    pattern: Any, context: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=re.escape(said)):
        grep(pattern, context)


# chunks


@given(LINES, st.integers(1, 40))
def test_pieces_of_text_joined_are_the_text_and_end_with_lines_where_they_can(text: str, size: int) -> None:
    pieces = chunks(text, size)
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= size for piece in pieces)
    for piece in pieces[:-1]:
        assert piece.endswith("\n") or "\n" not in piece


@given(LINES, st.integers(2, 40), st.data())
def test_with_overlap_each_piece_begins_inside_the_one_before_and_nothing_is_lost(
    text: str, size: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(1, size - 1))
    places = {(0, 0)}  # where the piece before may begin and end: text that repeats leaves several
    for number, piece in enumerate(chunks(text, size, overlap)):
        assert len(piece) <= size
        places = {
            (start, start + len(piece))
            for before, end in places
            for start in range(max(before + bool(number), end - 2 * overlap), end + 1)
            if text.startswith(piece, start) and start + len(piece) > end
        }
    assert not text or len(text) in {end for _, end in places}


@given(st.lists(st.text(max_size=20)), st.integers(1, 60))
def test_pieces_of_a_list_hold_whole_items_in_order(items: list[str], size: int) -> None:
    pieces = chunks(items, size)
    assert [item for piece in pieces for item in piece] == items
    assert all(len(piece) == 1 or sum(map(len, piece)) <= size for piece in pieces)


def test_pieces_of_a_dict_are_dicts_and_items_overlap_whole() -> None:
    files = {f"f{n}": "x" * 10 for n in range(9)}
    pieces = chunks(files, 40)
    assert [len(piece) for piece in pieces] == [3, 3, 3]
    assert {key: value for piece in pieces for key, value in piece.items()} == files
    assert list(chunks(["aaa", "bb", "c", "dddd"], 5, 2)) == [["aaa", "bb"], ["bb", "c"], ["c", "dddd"]]


def test_pieces_show_themselves_briefly_and_impossible_sizes_are_refused() -> None:
    assert "2,000 pieces of 500 to 500 characters" in repr(chunks("x" * 1_000_000, 500))
    assert len(repr(chunks(["y" * 10_000] * 100, 5))) < 600
    assert "empty" in repr(chunks("", 5))
    for size, overlap in ((0, 0), (5, 5), (5, -1)):
        with pytest.raises(ValueError, match="overlap < size"):
            chunks("text", size, overlap)


# peek


def test_peek_shows_text_as_it_is_and_says_where() -> None:
    look = peek("0123456789\nabc", 8, 4)
    assert look == "89\na"
    assert repr(look) == "<characters 8 to 12 of 14>\n89\na"
    assert peek("0123456789", -3) == "789"
    assert peek("0123456789", 50) == ""


def test_peek_at_a_list_shows_items_from_an_index_until_there_is_no_room() -> None:
    look = peek([{"n": n, "text": "y" * 1_000} for n in range(1_000_000)], 999, 300)
    assert look.startswith("[999] {'n': 999, 'text': 'yyy")
    assert "…(1,000 characters)" in look
    assert len(look) < 500
    assert "[999999]" in peek([1] * 1_000_000, -1)
    with pytest.raises(IndexError, match="5 is past the last"):
        peek([1, 2], 5)


def test_peek_at_a_dict_takes_a_key_or_a_position() -> None:
    files = {"a.py": "import a", "b.py": "import b", float("nan"): 1}
    assert peek(files, "b.py").startswith("['b.py'] 'import b'")
    assert peek(files, 1).startswith("['b.py'] 'import b'")
    assert peek(files, list(files)[2]) == "[nan] 1"
    with pytest.raises(KeyError, match=re.escape("c.py")):
        peek(files, "c.py")
    assert peek(7) == "7"
    assert peek(b"abc", 1) == "b'bc'"


# shapes


def test_shapes_counts_lines_that_look_alike_and_ends_with_what_stands_out() -> None:
    lines = [
        f'2024-01-{n % 28:02} 10.0.0.{n % 250} user "u{n}" said hello to Anna Smith in {n} ms' for n in range(5_000)
    ]
    lines[3_210] = "PANIC: core melted"
    text = "\n".join(lines)
    found = shapes(text)
    assert [shape.times for shape in found] == [4_999, 1]
    assert found[0].shape == "# # user # said hello to # in # ms"
    assert found[1].example == "PANIC: core melted"
    assert text[found[1].at :].startswith("PANIC: core melted")
    assert f"at {found[1].at}: PANIC" in repr(found).splitlines()[-1]
    assert found.total == 5_000


def test_shapes_keeps_the_keys_of_json_lines() -> None:
    found = shapes('{"id": 1, "name": "a b"}\n{"id": 22, "name": "c"}\n{"id": 3}\n')
    assert [(shape.times, shape.shape) for shape in found] == [(2, '{"id": #, "name": #}'), (1, '{"id": #}')]


def test_shapes_of_identifiers_and_addresses_are_one() -> None:
    ids = ["deadbeef01", "a1b2c3d4", "550e8400-e29b-41d4-a716-446655440000", "9f9f"]
    assert len(shapes("\n".join(f"id {name} ok" for name in ids))) == 1
    assert len(shapes("from bob@x.org\nfrom anna.smith@mail.example.com")) == 1


def test_shapes_of_records_are_their_keys_and_types() -> None:
    records: list[Any] = [{"id": n, "name": "x"} for n in range(100)]
    records[42] = {"id": "42", "name": None}
    found = shapes(records)
    assert [(shape.times, shape.at) for shape in found] == [(99, 0), (1, 42)]
    assert found[1].shape == "{id: str, name: NoneType}"
    assert found.unit == "items"


def test_shapes_of_items_and_of_long_texts_tell_index_key_and_offset() -> None:
    assert [(s.times, s.at) for s in shapes({"a": "took 5 ms", "b": "took 17 ms", "c": "", "d": "x\ny"})] == [
        (2, "a"),
        (1, "c"),
        (1, "d"),
    ]
    files = {
        "empty": "",
        "a.py": "x = 1\n" * 200,
        "b.py": "x = 2\n" * 200 + "raise SystemExit",
        "c.py": "x = 3\n" * 200,
    }
    found = shapes(files)
    assert [(shape.times, shape.at) for shape in found] == [(600, ("a.py", 0)), (1, ("b.py", 1_200))]
    assert found.unit == "lines"


def test_shapes_masks_more_where_all_lines_differ_and_says_so() -> None:
    words = [f"{'abcdefgh'[n % 8]} {n * n:b} why {chr(97 + n % 26) * (n % 40)}" for n in range(5_000)]
    rows = "\n".join(f"Date: Mar {n % 30} || User: {n} || Text: {text}" for n, text in enumerate(words))
    found = shapes(rows)
    assert [(shape.times, shape.shape) for shape in found] == [(5_000, "Date: # # || User: # || …")]
    assert "beginnings" in found.mask
    assert "beginnings" in repr(found)


def test_shapes_counts_every_line_of_a_text_of_many_blocks_and_finds_the_one_that_differs() -> None:
    text = "".join(f"row {n} of the table\n" for n in range(600_000)) + "the odd one\n" + "row 1 of the table\n" * 10
    found = shapes(text)
    assert [(shape.times, shape.shape) for shape in found] == [(600_010, "row # of the table"), (1, "the odd one")]
    assert found[1].at == text.index("the odd one")


@given(LINES)
def test_shapes_counts_each_line_once_and_its_examples_are_where_it_says(text: str) -> None:
    found = shapes(text)
    lines = text[:-1].split("\n") if text.endswith("\n") else text.split("\n") if text else []
    assert found.total == sum(shape.times for shape in found) + found.other == len(lines)
    for shape in found:
        assert text[shape.at :].partition("\n")[0].startswith(shape.example)


@given(st.lists(st.text(max_size=20) | st.integers() | st.dictionaries(st.text(max_size=3), st.none())))
def test_shapes_counts_each_item_once_and_its_examples_are_where_it_says(items: list[Any]) -> None:
    found = shapes(items)
    assert found.total == sum(shape.times for shape in found) == len(items)
    assert sorted(shape.at for shape in found) == sorted({shape.at for shape in found})
    assert all(0 <= shape.at < len(items) for shape in found)


BIG = {
    "one line": "x" * 20_000_000,
    "lines without end": "\n" * 3_000_000,
    "quotes": "\"'" * 2_000_000,
    "digits": "1" * 5_000_000,
    "words": " ".join(f"w{n}" for n in range(500_000)).replace("9 ", "9\n"),
    "all different": "\n".join(
        f"{'abcdefghij'[n % 10]}{'klmnopqrst'[n // 10 % 10]}" * (n % 90) for n in range(300_000)
    ),
    "wide": "Größe 語 7\n" * 500_000,
    "numbers": list(range(300_000)),
    "dict": {n: {"k": [n]} for n in range(100_000)},
    "nested": [[[["x"] * 50] * 50] * 50] * 20,
}


@pytest.mark.parametrize("context", BIG.values(), ids=BIG.keys())
def test_no_large_context_hangs_a_helper_or_makes_it_show_much(context: Any) -> None:
    begun = time.monotonic()
    shown = [
        repr(shapes(context)),
        repr(peek(context)),
        repr(chunks(context, 10_000)),
        repr(grep("never there", context)),
    ]
    assert time.monotonic() - begun < 60  # a guard against hanging
    assert max(map(len, shown)) < 5_000
