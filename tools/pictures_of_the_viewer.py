"""The pictures of the viewer in docs/images, of a run with a scripted model: `python tools/pictures_of_the_viewer.py`.

Needs a Chromium: `make browser`.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import sync_playwright

from rlm import RLM, Message, Price, RLMLogger
from rlm.testing import ScriptedClient
from rlm.viewer import Server

IMAGES: Final = Path(__file__).parents[1] / "docs" / "images"
FLAGS: Final = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")

QUESTION: Final = "Which complaint comes up most often, and since when?"
ANSWER: Final = "Exports that end in a timeout, since the update of 3 November."
COMPLAINTS: Final = {
    "the export of report {n} ends in a timeout after ten minutes": 5,
    "the invoice for order {n} shows the wrong address": 3,
    "the app signs {name} out while a form is open": 2,
    "page {n} of the handbook cannot be printed": 1,
}
ABOUT: Final = (
    "It began after the update of 3 November.",
    "Restarting the browser did not help.",
    "{name} has the same trouble on another machine.",
    "The customer asks for a call back before noon.",
    "A picture of the screen is attached as picture-{n}.png.",
    "It works again after a while, and then it does not.",
)
ROOT: Final = (
    ("Let me see what a ticket looks like.", "print(peek(context, 0, 700))\nprint(grep('timeout', context))"),
    ("In groups, then.", "groups = [contxt[at : at + 24] for at in range(0, 240, 24)]"),
    (
        "A slip of the pen. Each group goes to a call of its own.",
        "groups = [context[at : at + 24] for at in range(0, 240, 24)]\n"
        "task = 'Name the complaint of each ticket, one line each.\\n\\n'\n"
        "notes = llm_query_batched([task + '\\n'.join(group) for group in groups])\n"
        "print(notes[0])",
    ),
    (
        "The rest is for two RLMs, which also look for the date.",
        "rest = ['\\n'.join(context[240:280]), '\\n'.join(context[280:320])]\n"
        "dates = rlm_query_batched(['Since when do the exports fail?'] * 2, contexts=rest)\n"
        "print(dates)",
    ),
    ("Both agree.", f"FINAL({ANSWER!r})"),
)
CHILD: Final = (
    ("First the exports.", "found = grep('export', context)\nprint(found)"),
    (
        "Now the dates.",
        "half = len(context) // 2\nanswers = llm_query_batched([context[:half], context[half:]])\nFINAL(answers[1])",
    ),
)


def tickets(count: int) -> list[str]:
    rng = random.Random(11)
    names = ("Ms Adeyemi", "Mr Brandt", "Ms Chen", "Mr Duarte", "Ms Eklund", "Mr Farah")
    complaints, weights = list(COMPLAINTS), list(COMPLAINTS.values())
    texts = []
    for number in range(count):
        (complaint,) = rng.choices(complaints, weights)
        text = f"Ticket {4_000 + number}, {rng.choice(names)}: {complaint}. {' '.join(rng.sample(ABOUT, 4))}"
        texts.append(text.format(n=rng.randrange(100, 999), name=rng.choice(names)))
    return texts


def model(messages: Sequence[Message]) -> str:
    if len(messages) == 1:
        return (
            ANSWER if "Name the complaint" not in messages[0].content else "24 lines: exports, mostly, and addresses."
        )
    turns = CHILD if "Since when" in messages[1].content else ROOT
    said, code = turns[sum(message.role == "assistant" for message in messages)]
    return f"{said}\n```repl\n{code}\n```"


def run(folder: Path) -> None:
    waits = itertools.cycle([0.9, 0.4, 1.3, 0.7, 0.5, 1.1])
    client = ScriptedClient(
        model, model="scripted", price=Price(input=1.25, output=10.0), latency=lambda: asyncio.sleep(next(waits))
    )
    logger = RLMLogger(log_dir=folder, file_name="tickets")
    rlm = RLM(backend=client, environment="process", max_depth=2, max_concurrent_calls=6, logger=logger)
    rlm.completion(tickets(400), QUESTION)


def picture(page: Any, name: str) -> None:
    page.mouse.move(0, 0)
    page.wait_for_load_state("networkidle")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.screenshot(path=str(IMAGES / f"{name}.png"))
    print(f"{name}.png: {(IMAGES / f'{name}.png').stat().st_size:,} bytes")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        run(Path(folder))
        (log,) = Path(folder).iterdir()
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        with Server(log) as server:
            for scheme in ("light", "dark"):
                page = browser.new_context(viewport={"width": 1110, "height": 640}, color_scheme=scheme).new_page()
                page.goto(server.url)
                page.locator("#q-evidence .note").get_by_text("holds the whole answer").wait_for()
                if scheme == "dark":
                    page.locator(".row.turn").nth(3).click()
                    page.keyboard.press("t")
                    page.get_by_text("At most").wait_for()
                    picture(page, "viewer-timeline")
                    continue
                page.locator(".row.turn").nth(2).click()
                page.locator(".detail .subcalls").wait_for()
                picture(page, "viewer-run")
                page.locator("#q-unread").click()
                page.locator(".detail table").first.wait_for()
                picture(page, "viewer-input")
        browser.close()


if __name__ == "__main__":
    main()
