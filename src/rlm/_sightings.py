"""The events of a run as what its models were given of the context: one rule for results and for logs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from rlm._finder import Hit, SliceFinder
from rlm.coverage import Coverage, CoverageFold, Given, Piece, Stretch
from rlm.events import (
    CallFinished,
    CallStarted,
    Compacted,
    Event,
    ReplyReceived,
    RunFinished,
    RunStarted,
    TurnFinished,
)

SHORTEST: Final = 40
"""Characters of the shortest piece that is taken for one of the context."""


def coverage_of(events: Iterable[Event], context: object) -> Coverage | None:
    """What the models of a tree have seen of the root's context; `None` where no text of it can be looked for."""
    watch = Watch(context)
    for event in events:
        watch.given(event)
    return watch.coverage()


class Watch:
    """Follows a tree of runs. What was said to a model counts once the model has replied.

    Whatever the depth, it is the root's context that is looked for: a child's is known by the texts that its models
    are given.
    """

    def __init__(self, context: object) -> None:
        self.finder = SliceFinder(context, SHORTEST)
        self._kind = "str" if isinstance(context, str) else type(context).__name__
        finder, one_text = self.finder, self._kind == "str"
        known = finder.complete and finder.size > 0
        self._fold = CoverageFold(finder.size, finder.surely, one_text=one_text) if known else None
        self._waiting: dict[str, tuple[int | None, tuple[str, ...], bool]] = {}
        self._prompts: dict[tuple[str, int], Given] = {}
        self._after = (0, 0)

    def given(self, event: Event) -> Given | None:
        """What an event tells that a model had been given; it is counted."""
        if self._fold is None:
            return None
        given = self._given(event)
        if given is not None:
            self._fold.add(given)
        return given

    def coverage(self) -> Coverage | None:
        if self._fold is None:
            return None
        self._fold.unread = list(self._unread(self._fold.gaps()))
        return self._fold.coverage()

    def beginning(self) -> dict[str, Any]:
        """What a log says of the context before anything was seen of it."""
        known = {} if self._fold is None else {"shortest": self.finder.surely}
        return {"kind": self._kind, "size": self.finder.size, **known}

    def ending(self) -> dict[str, Any] | None:
        """What a log must say at the end, because it cannot be told from what was seen: the gaps in lists and dicts."""
        if self._kind == "str" or (coverage := self.coverage()) is None:
            return None
        return {"unread": [[s.at, s.length, *s.path] for s in coverage.unread or ()]}

    def _unread(self, gaps: Iterable[tuple[int, int]]) -> Iterator[Stretch]:
        """The gaps as stretches that lie in one text each."""
        starts, paths = self.finder.starts, self.finder.paths
        leaf = 0
        for begin, end in gaps:
            while begin < end:
                while starts[leaf + 1] <= begin:
                    leaf += 1
                stop = min(end, starts[leaf + 1])
                yield Stretch(at=begin - starts[leaf], length=stop - begin, path=paths[leaf])
                begin = stop

    def _given(self, event: Event) -> Given | None:
        match event:
            case RunStarted():
                whole = event.parent is None and event.question is None
                self._waiting[event.run] = None, (event.question or "", event.preview), whole
            case TurnFinished(shown=str() as shown):
                self._waiting[event.run] = event.turn, (shown,), False
            case ReplyReceived() | Compacted():
                if event.run in self._waiting:
                    turn, texts, whole = self._waiting.pop(event.run)
                    return self._look(texts, event.run, turn, whole=whole)
            case CallStarted(child=None):
                self._prompts[event.run, event.call] = self._look((event.prompt,), event.run, event.turn, event.call)
            case CallFinished():
                given = self._prompts.pop((event.run, event.call), None)
                return given if event.reply is not None else None
            case RunFinished():
                self._waiting.pop(event.run, None)
            case _:
                pass
        return None

    def _look(
        self, texts: Iterable[str], run: str, turn: int | None, call: int | None = None, *, whole: bool = False
    ) -> Given:
        pieces: list[Piece] = []
        other = 0
        for text in texts:
            # What is the request itself is shown whole, however short.
            all_of_it = self.finder.whole(text) if whole else None
            hits = self.finder.find(text, self._after) if all_of_it is None else [all_of_it]
            if hits:
                self._after = hits[-1].after
            pieces += map(self._piece, hits)
            other += len(text) - _covered(hits)
        return Given(run=run, turn=turn, call=call, other=other, pieces=tuple(pieces))

    def _piece(self, hit: Hit) -> Piece:
        return Piece(self.finder.starts[hit.leaf] + hit.at, hit.size, hit.at, self.finder.paths[hit.leaf])


def _covered(hits: Iterable[Hit]) -> int:
    """Characters of a text that are in any of its pieces, which are in order and may overlap."""
    total = done = 0
    for hit in hits:
        total += hit.end - max(done, hit.begin)
        done = hit.end
    return total
