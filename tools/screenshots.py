"""Pictures of the live view for the documentation: `python tools/screenshots.py [NAME…]` writes docs/images/live-*.svg.

Each is the screen of a real terminal (tmux) at a moment of a run over a scripted model; nothing is drawn by hand.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
SCENES = f"{shlex.quote(sys.executable)} tools/scenes.py"
WAITING = 120.0
THEME = TerminalTheme(
    (24, 26, 31),
    (205, 208, 214),
    [
        (60, 64, 72),
        (224, 108, 117),
        (152, 195, 121),
        (229, 192, 123),
        (97, 175, 239),
        (198, 120, 221),
        (86, 182, 194),
        (205, 208, 214),
    ],
)
# Of rich's own form, without the fonts that it would have fetched from elsewhere.
SVG = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A command, and what is on the screen at the moment to keep. `keys` are typed then, and `then` is waited for."""

    name: str
    command: str
    size: tuple[int, int]
    seen: str
    keys: str = ""
    then: str = ""


RLM = shlex.quote(str(Path(sys.executable).with_name("rlm")))
PICTURES = (
    Picture(name="live-demo", command=f"{RLM} demo -e local", size=(80, 24), seen=r"1\d of 30"),
    Picture(name="live-fan-out", command=f"{SCENES} fan_out", size=(100, 30), seen=r"[56]\d\d of 1,000"),
    Picture(name="live-tree", command=f"{SCENES} tree", size=(120, 40), seen=r"at work · [\d,]+ waiting.* \d\d done"),
    Picture(name="live-many", command=f"{SCENES} many", size=(80, 24), seen=r"[3-5]\d\d done"),
    Picture(name="live-failure", command=f"{SCENES} failure", size=(100, 30), seen="the program has"),
    Picture(
        name="live-ctrl-c",
        command=f"{SCENES} fan_out",
        size=(100, 30),
        seen=r"[23]\d\d of 1,000",
        keys="C-c",
        then="CancellationError",
    ),
)


@dataclass(frozen=True)
class Terminal:
    """A tmux server of its own; one that ends takes a while, and its name cannot be used meanwhile."""

    name: str

    def __call__(self, *arguments: str) -> str:
        command = ["tmux", "-L", f"rlm-{os.getpid()}-{self.name}", "-f", "/dev/null", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def until(self, pattern: str) -> None:
        deadline = time.monotonic() + WAITING
        while not re.search(pattern, self("capture-pane", "-p")):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{pattern!r} was not seen:\n{self('capture-pane', '-p')}")
            time.sleep(0.05)


def take(picture: Picture) -> Path:
    """Run it in a terminal of its size, and keep the screen."""
    columns, lines = picture.size
    terminal = Terminal(picture.name)
    size = ("-x", str(columns), "-y", str(lines))
    terminal("new-session", "-d", *size, "-c", str(ROOT), f"{picture.command}; sleep 600")
    try:
        terminal.until(picture.seen)
        if picture.keys:
            terminal("send-keys", picture.keys)
            terminal.until(picture.then)
        screen = terminal("capture-pane", "-e", "-p").rstrip("\n")
    finally:
        terminal("kill-server")
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(screen), no_wrap=True, crop=True)
    path = IMAGES / f"{picture.name}.svg"
    path.parent.mkdir(exist_ok=True)
    svg = console.export_svg(title="", theme=THEME, code_format=SVG, unique_id=picture.name)
    path.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", "utf-8")
    return path


if __name__ == "__main__":
    wanted = set(sys.argv[1:]) or {picture.name for picture in PICTURES}
    for each in PICTURES:
        if each.name in wanted:
            print(take(each))
