"""What is in a journal, as records and as the values they stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from rlm._journal_check import check
from rlm._journal_digest import Covers, Digester, message_digest
from rlm._journal_file import JournalReader
from rlm.errors import JournalError, LimitError, LMError
from rlm.types import Reply, Usage

LONGEST_MESSAGE: Final = 20_000
"""Characters of a message that are kept to be read; of a longer one its ends. What is compared is the digest."""
OUTCOMES: Final = ("reply", "failure", "refused", "unsent", "tool", "child")
LAST: Final = " last"
"""What the cell of a call for a last answer has in it, at a limit; of one with less of the turns a number follows."""

Ending = Literal["answered", "forced", "failed"]


class Key(NamedTuple):
    """Who asks, where, for what, and how often before."""

    run: str
    cell: str
    kind: str
    digest: str
    nth: int


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the file has the outcome of something that was asked. Only `read` brings it into memory."""

    key: Key
    kind: str
    at: int
    number: int | None = None
    child: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A recorded run: its agents' paths begin with `path`; `task` is the digest of context and question."""

    path: str
    task: str
    question: str | None = None
    ending: Ending | None = None
    """`None`: it was killed, or goes on."""


@dataclass(slots=True)
class Recording:
    """A journal that was read."""

    reader: JournalReader | None = None
    runs: dict[str, Run] = field(default_factory=dict)
    entries: dict[Key, Entry] = field(default_factory=dict)
    facts: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    covers: Covers = field(default_factory=dict)
    _cells: dict[tuple[str, str], dict[Key, Entry]] = field(default_factory=dict)
    _messages: dict[str, int] = field(default_factory=dict)
    _requests: dict[tuple[str, str], int] = field(default_factory=dict)
    _turned: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of_file(cls, path: Path) -> Recording:
        """Raises `JournalError` for a file that is no journal or is damaged before its end."""
        reader = JournalReader(path)
        recording = cls(reader)
        try:
            for number, (at, record) in enumerate(reader.records(), 2):
                try:
                    check(record)
                    recording._take(at, record)
                except (KeyError, TypeError, ValueError, AttributeError) as exc:
                    raise JournalError(f"{path}, line {number}: no record of a journal's: {exc}") from None
        except BaseException:
            reader.close()
            raise
        return recording

    def _take(self, at: int, record: Mapping[str, Any]) -> None:
        kind = record["type"]
        if kind != "run" and "run" in record and record["run"].partition("/")[0] not in self.runs:
            raise ValueError(f"of a run {record['run']!r} that did not begin")
        for message in record.get("messages", ()):
            if isinstance(message, dict):
                self._messages.setdefault(_digest_in(message), at)
        if kind == "run":
            self.runs[record["run"]] = Run(record["run"], record["task"], record.get("question"))
        elif kind == "end":
            known = self.runs[record["run"]]
            self.runs[known.path] = replace(known, ending=record["ending"])
        elif kind == "fact":
            self.facts[record["run"], record["name"]] = record["value"]
        elif kind == "masked":
            spans = tuple((int(start), int(stop)) for start, stop in record["spans"])
            self.covers.setdefault(record["length"], {}).setdefault(spans, set()).add(record["digest"])
        elif kind == "void":
            for key in record["keys"]:
                self.drop(Key(*key))
        elif kind in OUTCOMES:
            of = record.get("of") or {"tool": "tool", "child": "child"}.get(kind, "call")
            key = Key(record["run"], record["cell"], of, record["digest"], record["nth"])
            if "." not in key.cell:
                self._requests.setdefault((key.run, key.digest), at)
                if kind == "reply" and LAST not in key.cell:
                    self._turned[key.run] = at
            known_child = self.entries[key].child if kind == "unsent" and key in self.entries else None
            entry = Entry(key, kind, at, record.get("number"), record.get("child", known_child))
            self.entries[key] = self._cells.setdefault((key.run, key.cell), {})[key] = entry

    def drop(self, key: Key) -> None:
        """Forget an entry that can never be asked for again."""
        self.entries.pop(key, None)
        self._cells.get((key.run, key.cell), {}).pop(key, None)

    def of(self, root: str) -> Iterator[Entry]:
        """The entries of a run, its children's too."""
        return (e for e in self.entries.values() if e.key.run.partition("/")[0] == root)

    def at(self, run: str, cell: str) -> Sequence[Entry]:
        return list(self._cells.get((run, cell), {}).values())

    def untold_failures(self, run: Run) -> list[Key]:
        """What is tried again when a run goes on: of what no later turn was told of, what a limit refused, because the
        limit may be another now; and where the run ended without an answer, what failed."""
        kinds = {"refused", "unsent"} if run.ending is None else {"refused", "unsent", "failure"}
        failures = (e for e in self.of(run.path) if e.kind in kinds and run.ending != "answered")
        return [entry.key for entry in failures if not self._told(entry)]

    def _told(self, entry: Entry) -> bool:
        """Whether a turn of the agent, or of one that it works for, came after: what they were told may be of it."""
        agent = entry.key.run if "." in entry.key.cell else entry.key.run.rpartition("/")[0]
        while agent:
            if self._turned.get(agent, -1) > entry.at:
                return True
            agent = agent.rpartition("/")[0]
        return False

    def turns(self, run: str) -> int:
        """How many turns an agent took."""
        return sum(agent == run and cell.isdecimal() for agent, cell in self._cells)

    def messages(self) -> set[str]:
        """Digests of the messages whose text the file has."""
        return set(self._messages)

    def read(self, entry: Entry) -> Mapping[str, Any]:
        assert self.reader is not None
        return self.reader.record(entry.at)

    def request(self, entry: Entry) -> dict[str, Any]:
        """What was asked, to be read: `messages` as (role, text)."""
        record = dict(self.read(entry))
        if "messages" in record:
            messages = [self._message(message) for message in record["messages"]]
            prefix, at = record.get("prefix"), entry.at
            while prefix and self.reader is not None:
                latest, at = at, self._requests.get((entry.key.run, prefix[0]), at)
                if at >= latest:
                    break
                before = self.reader.record(at)
                known = before.get("prefix")
                own = prefix[1] - (known[1] if known else 0)
                messages[:0] = [self._message(message) for message in before["messages"][: max(0, own)]]
                prefix = known and [known[0], min(known[1], prefix[1])]
            record["messages"] = messages
        return record

    def _message(self, message: Any) -> list[str]:
        if isinstance(message, str):
            assert self.reader is not None
            found = self.reader.record(self._messages[message]) if message in self._messages else {}
            message = next(
                (m for m in found.get("messages", ()) if isinstance(m, dict) and _digest_in(m) == message),
                {"role": "?", "content": ""},
            )
        return [message["role"], message["content"]]

    def close(self) -> None:
        if self.reader is not None:
            self.reader.close()


def request_record(request: Mapping[str, Any], digester: Digester, written: set[str]) -> dict[str, Any]:
    """A request as it is written. What the agent's last request began with is not written again (`prefix`: that
    request, and how many messages of it); any other message that the file has is named by its digest."""
    messages: list[Any] = []
    prefix = request.get("prefix")
    for message in request["messages"][prefix[1] if prefix else 0 :]:
        digest = digester.message(message)
        if digest in written:
            messages.append(digest)
            continue
        written.add(digest)
        text = digester.content(message)
        if len(text) > LONGEST_MESSAGE:
            half = LONGEST_MESSAGE // 2
            kept = f"{text[:half]}\n… {len(text) - 2 * half:,} characters are not kept …\n{text[-half:]}"
            messages.append({"role": message.role, "content": kept, "digest": digest})
        else:
            messages.append({"role": message.role, "content": text})
    record = {"model": request["model"], "sampling": request["sampling"], "messages": messages}
    return {**record, "prefix": prefix} if prefix else record


def _digest_in(message: Mapping[str, Any]) -> str:
    digest: str | None = message.get("digest")
    return digest or message_digest(message["role"], message["content"])


def reply_record(reply: Reply) -> dict[str, Any]:
    record: dict[str, Any] = {"text": reply.text, "finish": reply.finish, "usage": reply.usage.to_dict()}
    if reply.reasoning:
        record["reasoning"] = reply.reasoning
    return {**record, "replied": reply.model}


def reply_of(record: Mapping[str, Any]) -> Reply:
    return Reply(
        text=record["text"],
        model=record["replied"],
        usage=Usage.from_dict(record["usage"]),
        finish=record["finish"],
        reasoning=record.get("reasoning", ""),
    )


def error_record(error: LMError) -> dict[str, Any]:
    names = ("message", "kind", "hint", "model", "status")
    return {
        **{name: getattr(error, name) for name in names},
        "usage": error.usage.to_dict(),
        **({"limit": error.limit} if isinstance(error, LimitError) else {}),
    }


def error_of(record: Mapping[str, Any]) -> LMError:
    error = record["error"]
    if error["kind"] == "limit":
        return LimitError(error["message"], hint=error["hint"], model=error["model"], limit=error.get("limit", ""))
    return LMError(
        error["message"],
        kind=error["kind"],
        hint=error["hint"],
        model=error["model"],
        status=error["status"],
        usage=Usage.from_dict(error["usage"]),
    )
