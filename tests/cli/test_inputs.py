"""What `rlm ask` reads, what it leaves out and says so, and the shapes of the context it makes."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlm.cli.inputs import InputError, read_inputs


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    before = os.getcwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def write(path: str, data: bytes | str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data.encode() if isinstance(data, str) else data)


def test_one_file_is_a_string_exactly_as_it_stands(here: Path) -> None:
    write("a.txt", b"one\r\ntwo\n\xe2\x82\xac")
    assert read_inputs(["a.txt"]).context == "one\r\ntwo\n€"


def test_several_files_are_a_dict_of_relative_paths(here: Path) -> None:
    write("a.txt", "A")
    write("sub/b.txt", "B")
    assert read_inputs(["./a.txt", "sub/b.txt"]).context == {"a.txt": "A", "sub/b.txt": "B"}


def test_a_directory_is_a_dict_even_with_one_file(here: Path) -> None:
    write("sub/b.txt", "B")
    assert read_inputs(["sub"]).context == {"sub/b.txt": "B"}


def test_paths_outside_the_working_directory_are_relative_to_what_they_share(here: Path) -> None:
    write("far/x/1.txt", "1")
    write("far/y/2.txt", "2")
    write("near/z.txt", "")
    os.chdir("near")
    assert read_inputs([str(here / "far")]).context == {"x/1.txt": "1", "y/2.txt": "2"}
    assert read_inputs(["../far/x", "../far/y"]).context == {"x/1.txt": "1", "y/2.txt": "2"}


def test_a_file_named_twice_is_read_once(here: Path) -> None:
    write("d/a.txt", "A")
    assert read_inputs(["d", "d/a.txt", "d"]).context == {"d/a.txt": "A"}


def test_patterns_match_files_and_two_stars_cross_directories(here: Path) -> None:
    for name in ("a.py", "b.txt", "p/c.py", "p/q/d.py", ".venv/e.py"):
        write(name, name)
    assert read_inputs(["*.py"]).context == "a.py"
    assert set(read_inputs(["**/*.py"]).context) == {"a.py", "p/c.py", "p/q/d.py"}
    assert set(read_inputs(["p/**"]).context) == {"p/c.py", "p/q/d.py"}
    assert set(read_inputs(["p/**/q/*.py"]).context) == {"p/q/d.py"}


@pytest.mark.parametrize("argument", ["nowhere.txt", "*.nothing", "sub/**/*.nothing"])
def test_what_does_not_exist_is_an_error_that_names_it(here: Path, argument: str) -> None:
    write("sub/a.txt", "A")
    with pytest.raises(InputError, match=r"nowhere\.txt|\*\.nothing"):
        read_inputs([argument])


def test_binary_files_are_skipped_and_listed(here: Path) -> None:
    write("d/a.txt", "A")
    write("d/b.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    write("d/c.bin", bytes(range(1, 32)) * 20)
    inputs = read_inputs(["d"])
    assert inputs.context == {"d/a.txt": "A"}
    assert inputs.notes == ["skipped 2 binary files: d/b.png, d/c.bin"]


def test_nothing_left_to_read_is_an_error_that_says_why(here: Path) -> None:
    write("b.png", b"\0")
    with pytest.raises(InputError, match=r"1 binary files: b\.png"):
        read_inputs(["b.png"])


def test_bytes_that_are_not_utf8_survive_to_the_last_one(here: Path) -> None:
    data = b"caf\xe9 \xff\xfe latin-1 and \xe2\x82\xac"
    write("latin.txt", data)
    context = read_inputs(["latin.txt"]).context
    assert isinstance(context, str)
    assert context.encode("utf-8", "surrogateescape") == data


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(here: Path, encoding: str) -> None:
    write("a.txt", "größe".encode(encoding))
    assert read_inputs(["a.txt"]).context == "größe"


def test_what_tools_keep_in_a_directory_is_skipped_and_said(here: Path) -> None:
    for name in (".git/config", "node_modules/m/x.js", "p/__pycache__/a.pyc", "env/pyvenv.cfg", "p/a.py"):
        write(name, "text")
    inputs = read_inputs(["."])
    assert inputs.context == {"p/a.py": "text"}
    assert len(inputs.notes) == 1
    assert all(name in inputs.notes[0] for name in (".git", "node_modules", "__pycache__", "env"))


def test_excluded_names_are_left_out_and_said(here: Path) -> None:
    for name in ("d/a.txt", "d/a.log", "d/old/b.txt", "d/deep/old/c.txt", "d/deep/d.txt"):
        write(name, name)
    inputs = read_inputs(["d"], exclude=["old", "*.log"])
    assert set(inputs.context) == {"d/a.txt", "d/deep/d.txt"}
    assert inputs.notes == ["skipped 3 excluded: d/old, d/a.log, d/deep/old"]


def test_symbolic_links_are_not_followed_so_circles_end_and_nothing_outside_is_read(here: Path) -> None:
    write("secret.txt", "S")
    write("d/a.txt", "A")
    os.symlink("..", "d/up")
    os.symlink("../secret.txt", "d/link.txt")
    os.symlink("nowhere", "d/broken")
    for arguments in (["d"], ["d/**/*.txt"], ["d/**"]):
        inputs = read_inputs(arguments)
        assert inputs.context == {"d/a.txt": "A"}
        assert "symbolic links" in inputs.notes[0]


def test_a_link_that_is_named_is_read(here: Path) -> None:
    write("real.txt", "R")
    os.symlink("real.txt", "link.txt")
    assert read_inputs(["link.txt"]).context == "R"


def test_a_pipe_in_a_directory_does_not_block(here: Path) -> None:
    write("d/a.txt", "A")
    os.mkfifo("d/pipe")
    inputs = read_inputs(["d"])
    assert inputs.context == {"d/a.txt": "A"}
    assert inputs.notes == ["skipped 1 special files: d/pipe"]


def test_an_empty_file_is_text(here: Path) -> None:
    write("empty", "")
    assert read_inputs(["empty"]).context == ""


def test_names_cannot_steer_the_terminal(here: Path) -> None:
    write("d/a.txt", "A")
    write("d/\x1b[2Jx.png", b"\0")
    assert "\x1b" not in read_inputs(["d"]).notes[0]


def test_standard_input_is_a_string_alone_and_a_file_among_others(here: Path) -> None:
    write("a.txt", "A")
    assert read_inputs(["-"], stdin=io.BytesIO(b"piped \xff\n")).context == "piped \udcff\n"
    assert read_inputs(["a.txt", "-"], stdin=io.BytesIO(b"piped")).context == {"a.txt": "A", "<stdin>": "piped"}
