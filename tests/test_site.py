"""The documentation site: built as `make docs` does, its links followed, its tables held to the code."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest

from rlm import registry
from rlm.backends import _openai_compatible, anthropic, azure_openai, gemini
from rlm.backends._settings import COMMON

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
ELSEWHERE: Final = re.compile(r"(?:\w+:)?//|(?:mailto|data):")
NAMES: Final = re.compile(r"`(\w+)`")
EXTRAS: Final = {
    "openai": _openai_compatible.EXTRAS,
    "anthropic": anthropic.EXTRAS,
    "gemini": gemini.EXTRAS,
    "azure_openai": azure_openai.EXTRAS,
    **dict.fromkeys(_openai_compatible.VENDORS, _openai_compatible.EXTRAS),
}


def build(source: Path, into: Path, builder: str = "html") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", builder]
    command += ["-c", str(DOCS), "-d", str(into / "doctrees"), str(source), str(into / "site")]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


class Page(HTMLParser):
    """What a page refers to, what it loads, and what can be referred to on it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attributes if value}
        self.anchors.update(value for name, value in given.items() if name in ("id", "name"))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and "href" in given:
            self.loads.append(given["href"])
        elif "src" in given:
            self.loads.append(given["src"])


def test_the_site_is_built_without_a_warning_and_refers_to_nothing_that_is_not_there(tmp_path: Path) -> None:
    built = build(DOCS, tmp_path)
    assert (built.returncode, built.stderr) == (0, "")
    site = tmp_path / "site"
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert {path.relative_to(site).with_suffix("") for path in pages} >= {
        path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md")
    }
    for path, page in pages.items():
        for link in (*page.links, *page.loads):
            if ELSEWHERE.match(link):
                assert link in page.links, f"{path.name} loads {link}"
                continue
            name, _, anchor = link.partition("#")
            target = (path.parent / name.partition("?")[0]).resolve() if name else path
            assert target.exists(), f"{path.name} refers to {link}"
            if anchor and target in pages:
                assert anchor in pages[target].anchors, f"{path.name} refers to {link}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//|@import", style.read_text("utf-8")), style


def test_what_is_broken_or_left_out_fails_the_build(tmp_path: Path) -> None:
    source = tmp_path / "pages"
    source.mkdir()
    (source / "index.md").write_text(
        "# A page\n\n[a page](nowhere.md) [a section](#nothing) [a file](../src/nowhere.py)\n\n"
        "```{eval-rst}\n.. autofunction:: rlm.completion\n\n:py:class:`rlm.Nothing`\n```\n"
    )
    built = build(source, tmp_path, "dummy")
    assert built.returncode != 0
    for complaint in ("nowhere.md", "nothing", "nowhere.py", "rlm.Nothing", "rlm.RLM is in no page of the reference"):
        assert complaint in built.stderr
    assert "rlm.completion is in no page" not in built.stderr


def rows(path: Path, heading: str = "") -> list[list[str]]:
    """The rows of the first table of a page, or of one of its sections."""
    text = path.read_text("utf-8").partition(heading)[2] if heading else path.read_text("utf-8")
    table = re.search(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


@pytest.mark.parametrize("name", registry.environment_names())
def test_the_page_of_an_environment_lists_its_keywords(name: str) -> None:
    everywhere = {word for row in rows(DOCS / "environments/index.md", "## What all") for word in NAMES.findall(row[0])}
    own = {word for row in rows(DOCS / f"environments/{name}.md") for word in NAMES.findall(row[0])}
    parameters = inspect.signature(registry.environment(name)).parameters.values()
    takes = {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    assert takes <= own | everywhere
    if name != "local":  # it has none of its own; its table is about something else
        assert own <= takes


def test_the_page_of_the_backends_lists_the_keywords_of_each() -> None:
    page = DOCS / "reference/backends.md"
    everywhere = {word for row in rows(page, "## Every provider") for word in NAMES.findall(row[0])}
    listed = {row[0].strip("`"): set(NAMES.findall(row[1])) for row in rows(page, "## By provider")}
    assert listed.keys() == EXTRAS.keys() == set(registry.backend_names())
    for name, extras in EXTRAS.items():
        assert everywhere | listed[name] == {*COMMON, *extras}, name
