"""What the model is shown after a turn: the output of its cells, capped, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence

from rlm.types import Cell

CAP = 10_000
MOST = CAP + 1_000  # characters that a turn adds to the history beside its reply: what it printed, notes, the request
LEAST = 300  # characters for a block that has more; where there is no room for that, blocks in the middle are left out
HEAD = 20  # characters of a block's headline
NOTES = 0.3  # share of a cell's characters that what the model must be told of it may take
NAMES = 40  # of those that were lost
REPEATED_FAILURES = 3


def shorten(text: str, cap: int, note: str, whole: int = 0) -> str:
    """The text; its middle left out, with a note that says what to do, where it is longer than `cap` characters. It is
    what is left of `whole`."""
    if len(text) <= cap:
        return text
    whole = max(whole, len(text))
    half = max(0, cap - len(note) - 50) // 2
    return f"{text[:half]}\n… [{whole - 2 * half:,} of {whole:,} characters {note}] …\n{text[len(text) - half :]}"


def show_cell(cell: Cell, cap: int = CAP) -> str:
    """Output, error and notices of one cell, in about `cap` characters."""
    output, error = cell.output.rstrip("\n"), "" if cell.error is None else cell.error.traceback
    notes = shorten(_notes(cell), max(LEAST, int(cap * NOTES), cap - len(output) - len(error)), "omitted")
    room = max(0, cap - len(notes))
    error = shorten(error, max(room // 2, room - len(output)), "omitted")
    more = f"omitted; slice _out[{cell.number}] to see them"
    output = shorten(output, max(0, room - len(error)), more, cell.output_size)
    return "\n".join(filter(None, (output, error, notes))) or "(no output)"


def _notes(*cells: Cell) -> str:
    notes = []
    for cell in cells:
        if cell.lost:
            more = f" and {len(cell.lost) - NAMES:,} more" if len(cell.lost) > NAMES else ""
            notes.append(f"the session had to be replaced; these names are gone: {', '.join(cell.lost[:NAMES])}{more}")
        notes.extend(cell.notices)
    return "\n".join(f"note: {text}" for text in notes)


def show_turn(cells: Sequence[Cell], extra: Sequence[str], blocks: int, footer: str, cap: int = CAP) -> str:
    """The message after a turn, of about `cap` characters: each cell that ran, what else there is to say, and the
    footer with the counters."""
    sizes = [len(show_cell(cell, cap)) + HEAD for cell in cells]
    share, passed = _share(sizes, cap), range(0)
    if share < LEAST:
        most = cap // LEAST
        passed = range(most // 2, len(cells) - (most - most // 2))
        share = _share([*sizes[: passed.start], *sizes[passed.stop :]], cap)
    lines = []
    for i, cell in enumerate(cells):
        if i in passed:
            if i == passed.start:
                lines += _passed(cells, passed, blocks)
            continue
        if blocks > 1:
            lines.append(f"[block {i + 1} of {blocks}]")
        lines.append(show_cell(cell, share - HEAD))
    if cells and len(cells) < blocks:
        lines.append(f"note: blocks {len(cells) + 1} to {blocks} were not run")
    lines.extend(f"note: {shorten(text, cap // 4, 'omitted')}" for text in extra)
    lines.append(footer)
    return "\n".join(lines)


def _passed(cells: Sequence[Cell], passed: range, blocks: int) -> list[str]:
    numbers = f"_out[{cells[passed.start].number}] to _out[{cells[passed.stop - 1].number}]"
    headline = f"[blocks {passed.start + 1} to {passed.stop} of {blocks} ran; what they printed is in {numbers}]"
    notes = shorten(_notes(*cells[passed.start : passed.stop]), LEAST, "omitted")
    return [headline, notes] if notes else [headline]


def _share(sizes: Sequence[int], room: int) -> int:
    """The most that each may have for all of them to fit, where those that need less leave it to the others."""
    left = room
    for i, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - i)
        if size > share:
            return share
        left -= size
    return room + HEAD


HELD = (
    "the answer was not taken yet: an earlier block of the same reply printed something you had not seen when you "
    "wrote it. Read the output above and submit again."
)


def repeated(count: int) -> str:
    return f"this very code has now failed {count} times; it will not work the next time either: change the approach."


def footer(turn: int, turns: int, calls: int, calls_left: int | None, seconds: float) -> str:
    """Where the run stands, in one line."""
    made = f"{calls} sub-calls so far" if calls_left is None else f"{calls} sub-calls so far, {calls_left} left"
    return f"[turn {turn} of {turns} done; {made}; {seconds:.0f} s]"


FORCE = (
    "{why} No more code will be run. Give your best final answer now, as plain text: the bare answer, nothing else. "
    "If you do not know, say what you found."
)
