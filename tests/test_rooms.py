"""The plan of the house: who may import whom, read from the sources of every module."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "rlm"
LONGEST = 400
SDKS = (
    "openai",
    "anthropic",
    "google",
    "genai_prices",
    "modal",
    "e2b",
    "daytona",
    "prime_sandboxes",
    "docker",
    "IPython",
    "opentelemetry",
)

VALUES = {"types", "errors", "protocols", "events", "result", "_secret"}
RECORD = {"trajectory", "_decode", "_encode", "_metadata", "_spans", "_writer"}
RECORD |= {"coverage", "evidence", "_finder", "_sightings"}
JOURNAL = {"journal", "cache"}
JOURNAL |= {f"_journal_{part}" for part in ("check", "digest", "entry", "file", "report", "value")}
CORE = VALUES | RECORD | JOURNAL | {"calling", "policy", "limits", "limiter", "prompts"}
ENGINE = {"engine", "opening", "tree", "subcalls", "outcome", "compaction", "delivery", "charging"}
FACE = {"__init__", "api", "_options", "recording", "registry", "portal", "sync", "kept", "typed", "mcp"}
FACE |= {"logger", "core", "utils"}
PUBLIC = {
    "",
    "errors",
    "types",
    "events",
    "protocols",
    "result",
    "limits",
    "live",
    "logger",
    "recording",
    "otel",
    "registry",
    "trajectory",
    "coverage",
    "evidence",
    "testing",
}

# room → the parts of rlm it may import; "" is the package itself, which is the public names.
MAY_IMPORT: dict[str, set[str]] = {
    "repl": {"repl"},
    "types": set(),
    "_secret": set(),
    "portal": set(),
    "calling": set(),
    "errors": {"types", "result"},
    "protocols": {"types", "errors"},
    "events": {"types"},
    "otel": {"types", "errors", "events", ""},
    "result": VALUES | RECORD,
    "wire": {"types", "errors", "protocols", "repl"},
    **dict.fromkeys(RECORD, VALUES | RECORD),
    **dict.fromkeys(JOURNAL, VALUES | JOURNAL | {"limits", "repl"}),
    # The first message shows the context with the measures that the REPL's own helpers use.
    "policy": VALUES | {"policy", "prompts", "repl"},
    "limits": {"types", "errors", "events"},
    "limiter": {"types", "errors", "events", "limits"},
    **dict.fromkeys(ENGINE, CORE | ENGINE | {"wire", "repl"}),
    "backends": {"types", "errors", "protocols", "wire", "calling", "backends"},
    "environments": {"types", "errors", "protocols", "wire", "repl", "calling", "environments"},
    "registry": {"types", "errors", "protocols", "backends", "environments"},
    **dict.fromkeys(FACE - {"registry", "portal"}, CORE | ENGINE | FACE | {""}),
    # `verbose=True` is the live view, which draws with rich: a room of its own, loaded only when something is shown.
    "api": CORE | ENGINE | FACE | {"", "live"},
    "live": PUBLIC | {"live", "portal"},
    "cli": PUBLIC | {"cli", "viewer"},
    "viewer": PUBLIC | {"viewer"},
    "testing": PUBLIC | {"repl", "environments"},
    "__main__": {"cli"},
}
# The one kernel that is somebody else's (its source is sent only to where IPython is), the types of answers, and what
# is imported by those who use it.
EXCEPTIONS = {
    "repl/ipython_kernel.py": {"IPython", "traitlets"},
    "typed.py": {"pydantic"},
    "mcp.py": {"mcp"},
    "otel.py": {"opentelemetry"},
}
THIRD_PARTY = {"backends", "environments", "live", "cli", "viewer", "testing"}


def sources() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Dotted names of all that a module imports, also inside functions, but not for type checking only."""
    package = ["rlm", *path.relative_to(ROOT).parent.parts]

    def visit(node: ast.AST) -> Iterator[str]:
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                for child in node.orelse:
                    yield from visit(child)
                return
            case ast.Import(names=aliases):
                yield from (alias.name for alias in aliases)
            case ast.ImportFrom(module=module, names=aliases, level=level):
                base = ".".join(package[: len(package) - level + 1]) if level else ""
                prefix = ".".join(part for part in (base, module) if part)
                yield from (f"{prefix}.{alias.name}" for alias in aliases)
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    return tuple(visit(ast.parse(path.read_text("utf-8"))))


def part(dotted: str) -> str:
    """The part of rlm that a dotted name lies in; "" for the package's own public names."""
    first = dotted.split(".")[1] if "." in dotted else ""
    return first if first and ((ROOT / f"{first}.py").exists() or (ROOT / first).is_dir()) else ""


@pytest.mark.parametrize("path", sources(), ids=name)
def test_a_room_imports_only_what_the_plan_lets_it(path: Path) -> None:
    assert room(path) in MAY_IMPORT, f"{name(path)} is in a room that the plan does not know"
    allowed = MAY_IMPORT[room(path)]
    wrong = [d for d in imports(path) if d.split(".")[0] == "rlm" and part(d) not in allowed]
    assert not wrong, f"{name(path)} imports {wrong}"


@pytest.mark.parametrize("path", sources(), ids=name)
def test_only_outer_rooms_need_more_than_the_standard_library(path: Path) -> None:
    others = {d.split(".")[0] for d in imports(path)} - set(sys.stdlib_module_names) - {"rlm", "__future__"}
    others -= EXCEPTIONS.get(name(path), set())
    assert not others or room(path) in THIRD_PARTY, f"{name(path)} imports {others}"


def test_each_sdk_is_imported_by_one_file() -> None:
    users: dict[str, set[str]] = {}
    for path in sources():
        for dotted in imports(path):
            if dotted.split(".")[0] in SDKS:
                users.setdefault(dotted.split(".")[0], set()).add(name(path))
    assert {sdk: files for sdk, files in users.items() if len(files) > 1} == {}


@pytest.mark.parametrize("path", sorted((ROOT / "repl").glob("*.py")), ids=name)
def test_what_is_sent_into_sandboxes_parses_on_python_3_8(path: Path) -> None:
    ast.parse(path.read_text("utf-8"), feature_version=(3, 8))


@pytest.mark.parametrize("path", sources(), ids=name)
def test_no_file_is_longer_than_the_house_allows(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("path", sources(), ids=name)
def test_a_module_opens_by_saying_what_it_is(path: Path) -> None:
    text = path.read_text("utf-8")
    assert not text.strip() or ast.get_docstring(ast.parse(text)), name(path)


def test_importing_rlm_imports_no_sdk_and_nothing_that_is_not_the_standard_library() -> None:
    code = "import sys; old = set(sys.modules); import rlm; print(*sorted(set(sys.modules) - old))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = {module.split(".")[0] for module in done.stdout.split()}
    assert loaded - set(sys.stdlib_module_names) == {"rlm"}
