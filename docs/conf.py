"""How `make docs` builds the site. Pages are plain Markdown: their order is that of the links in each `index.md`."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click
from sphinx.ext.napoleon.docstring import GoogleDocstring
from sphinx.util import logging

from rlm import __version__
from rlm.cli.command import cli

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

HERE = Path(__file__).parent
ROOT = HERE.parent
WHOLE = {"contributing": "CONTRIBUTING.md", "changelog": "CHANGELOG.md"}
"""Pages that are files of the repository."""
OUTWARD = re.compile(
    r"(?<!!)\[([^\]]+)\]\((?!\w+:|#|/)((?:\.\./)*(?:docs|src|tests|tools|examples|benchmarks|[A-Z]+\.md)[^)]*)\)"
)
"""Links that lead out of the folder of the pages, or, from a file of the repository, into it."""
PUBLIC = (
    "rlm",
    "rlm.coverage",
    "rlm.environments",
    "rlm.errors",
    "rlm.events",
    "rlm.evidence",
    "rlm.live",
    "rlm.logger",
    "rlm.otel",
    "rlm.protocols",
    "rlm.testing",
    "rlm.testing.conformance",
    "rlm.trajectory",
    "rlm.types",
)
"""Modules whose every public name has to be in the reference, with what it does."""

project = "rlm"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_*"]

nitpicky = True
# What is in single quotes in a docstring is a link where it is a name of ours, and code where it is not.
default_role = "py:obj"
nitpick_ignore_regex = [("py:.*", r"(?!rlm\.[\w.]+$).*")]
myst_heading_anchors = 4

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 90
autodoc_type_aliases = {"LMErrorKind": "rlm.errors.LMErrorKind"}

html_theme = "furo"
html_title = f"rlm {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False
html_show_sphinx = html_show_copyright = False


def complete(app: Sphinx, page: str, source: list[str]) -> None:
    """What a page says by program: a file of the repository, the order of the pages, the command's own help."""
    folder = (Path(app.srcdir) / page).parent
    if page in WHOLE:
        path = ROOT / WHOLE[page]
        app.env.note_dependency(str(path))
        source[0], folder = path.read_text("utf-8"), ROOT
    source[0] = OUTWARD.sub(lambda link: outward(link, folder, page), source[0])
    if page == "index" or page.endswith("/index"):
        source[0] += "\n".join(contents(folder, source[0], captions=page == "index"))
    if page == "reference/command":
        source[0] += "\n".join(helps())


def outward(link: re.Match[str], folder: Path, page: str) -> str:
    """A link of a file as the site has it: to a page, or, where what it leads to is not on the site, its name."""
    text, (path, _, anchor) = link[1], link[2].partition("#")
    target = (folder / path).resolve()
    if not target.exists() or not target.is_relative_to(ROOT):
        warn("%s: there is no %s", page, path)
        return text
    name = str(target.relative_to(ROOT))
    found = next((there for there, whole in WHOLE.items() if whole == name), None)
    if target.is_relative_to(HERE):
        found = str(target.relative_to(HERE).with_suffix(""))
    if found is None:
        return text if name in text else f"{text} (`{name}`)"
    return f"[{text}](/{found}.md{'#' if anchor else ''}{anchor})"


def contents(folder: Path, text: str, *, captions: bool) -> Iterator[str]:
    """A table of contents for each section with links to pages of this folder, then one for the pages without."""
    left = {str(p.relative_to(folder).with_suffix("")) for p in [*folder.glob("*.md"), *folder.glob("*/index.md")]}
    left.discard("index")
    for section in re.split(r"^## ", text, flags=re.MULTILINE):
        links = [(title, name) for title, name in re.findall(r"\[([^\]]+)\]\(([\w/-]+)\.md\)", section) if name in left]
        left.difference_update(name for _, name in links)
        caption = section.partition("\n")[0] if captions else ""
        yield from toctree(caption, [f"{title.replace('`', '')} <{name}>" for title, name in links])
    yield from toctree("More" if captions else "", sorted(left))


def toctree(caption: str, entries: list[str]) -> Iterator[str]:
    if entries:
        options = [":hidden:", f":caption: {caption}"] if caption else [":hidden:"]
        yield from ("", "```{toctree}", *options, "", *dict.fromkeys(entries), "```", "")


def helps() -> Iterator[str]:
    commands = {"rlm": cli, **{f"rlm {name}": command for name, command in sorted(cli.commands.items())}}
    for name, command in commands.items():
        text = command.get_help(click.Context(command, info_name=name, terminal_width=80))
        yield from ("", f"## {name}", "", "```text", text, "```", "")


def read_sections(app: Sphinx, what: Any, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """`Args:` and `Raises:`. Not by the extension, to which `a: b` in the docstring of a field is a type and a text."""
    if what in ("class", "exception", "function", "method"):
        lines[:] = GoogleDocstring(lines, what=what, name=name, obj=thing, options=options).lines()


def check_names(app: Sphinx, env: BuildEnvironment) -> None:
    """Every public name is in the reference, and says what it does."""
    documented = env.domains.python_domain.objects
    for module in map(importlib.import_module, PUBLIC):
        for name, thing in public_names(module):
            home = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"
            if f"{module.__name__}.{name}" not in documented and home not in documented:
                warn("%s.%s is in no page of the reference", module.__name__, name)
            for dotted in undocumented(thing, f"{module.__name__}.{name}"):
                warn("%s has no docstring", dotted)


def public_names(module: ModuleType) -> Iterator[tuple[str, Any]]:
    if hasattr(module, "__all__"):
        yield from ((name, getattr(module, name)) for name in module.__all__)
        return
    for name, value in vars(module).items():
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__:
            yield name, value


def undocumented(thing: Any, dotted: str) -> Iterator[str]:
    if not inspect.isclass(thing) and not inspect.isfunction(thing):
        return
    # A dataclass that has none is given its signature.
    if not thing.__doc__ or thing.__doc__.startswith(f"{thing.__name__}("):
        yield dotted
    for name, member in vars(thing).items() if inspect.isclass(thing) else ():
        member = getattr(member, "__func__", member)
        is_code = inspect.isfunction(member) or isinstance(member, property | functools.cached_property)
        if is_code and not name.startswith("_") and not member.__doc__:
            yield f"{dotted}.{name}"


def warn(text: str, *values: object) -> None:
    logging.getLogger(__name__).warning(text, *values, type="rlm")


def setup(app: Sphinx) -> None:
    app.connect("source-read", complete)
    app.connect("autodoc-process-docstring", read_sections)
    app.connect("env-check-consistency", check_names)
