"""The one event stream of a run: typed, frozen, each with who, how deep and when.

Everything that shows or records a run observes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rlm.types import Cell, Reply, Status, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`run` is the agent's path in its tree (`a1b2c3d4`, its children `a1b2c3d4/0`, …), `time` unix seconds."""

    run: str
    depth: int
    time: float

    @property
    def parent(self) -> str | None:
        """The path of the agent that called this one, `None` for the root."""
        return self.run.rpartition("/")[0] or None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """An agent began. `context_type` and `context_size` (characters) describe its context, which is not copied here."""

    model: str
    question: str | None
    context_type: str
    context_size: int
    environment: str
    options: tuple[tuple[str, object], ...] = ()
    """Settings that shape the run, as name and JSON-able value; no key among them."""
    preview: str = ""
    """What the first message shows of the context, beside the question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStarted(Event):
    """A turn began. Turns are counted from 0."""

    turn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyText(Event):
    """A piece of the root model's reply, as it arrives."""

    turn: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyReceived(Event):
    """The model's reply of a turn, whole, after `seconds`, of which the request stood in line for `waited`."""

    turn: int
    reply: Reply
    seconds: float
    waited: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CellStarted(Event):
    """A cell begins to run: `block` counts the blocks of the turn's reply from 0."""

    turn: int
    block: int
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CellOutput(Event):
    """Text a running cell printed, as it is printed; `CellFinished` has the whole."""

    turn: int
    block: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFinished(Event):
    """What running a cell did."""

    turn: int
    block: int
    cell: Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStarted(Event):
    """A call made from code. `call` is unique in its run. `child` is the path of an RLM, `None` for a model call."""

    call: int
    turn: int
    kind: Literal["llm", "rlm"]
    model: str
    prompt: str
    child: str | None = None
    batch: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFinished(Event):
    """The end of a call: `reply`, or `error` (kind and message). `usage` includes a child's whole tree. Of `seconds`
    it stood in line for `waited`: for its turn among the calls at once, or for room in a limit."""

    call: int
    reply: Reply | None
    error: tuple[str, str] | None
    usage: Usage
    seconds: float
    waited: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFinished(Event):
    """A turn's end: what the model is shown next, `None` when the run is over."""

    turn: int
    shown: str | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted(Event):
    """The history was summarised: what the model wrote, which stands in the place of the turns before. Where it is not
    `used` (empty, refused, cut) the turns stay."""

    turn: int
    reply: Reply
    seconds: float
    waited: float = 0.0
    used: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitApproached(Event):
    """Of a limit of the whole tree half is used, then four fifths; or calls have begun to wait for room in it.

    `limit` is its setting's name; `used`, `booked` (for calls in flight, and for a last turn and answer) and `allowed`
    are in that setting's unit. The limit that ends a run is in its `RunFinished`."""

    limit: str
    used: float
    allowed: float
    booked: float = 0
    waiting: bool = False
    """Calls wait, in order, until those in flight have told what they used."""

    @property
    def left(self) -> float:
        """What is not used yet, in the limit's unit; what is booked counts as left."""
        return max(0, self.allowed - self.used)


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned(Event):
    """Something the user should know that is no failure of the run: an observer that raised or is far behind, a
    provider that pushed back."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """An agent's end: a status with its response, or an error (type and message); the usage of its tree by model.
    `limit` is the setting that ended it, whether it has a response or raised."""

    status: Status | None
    response: str | None
    limit: str | None
    error: tuple[str, str] | None
    usage: tuple[tuple[str, Usage], ...]
    seconds: float


Observer = Callable[[Event], None]
"""Is given every event of a run, in order, on a thread of its own; one that raises is not called any more in that run.

Two attributes that it may have: `live = True` asks for `ReplyText` and `CellOutput`, which else are made for `stream`
only; with `inline = True` it is called on the run's own event loop, as things happen, and holds the run up for as long
as it takes."""
