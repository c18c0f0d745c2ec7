"""Replies kept from run to run, for requests that are exactly the same: a file that any number of processes may use at
once."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from rlm._journal_digest import Digester, joined
from rlm._secret import Masks
from rlm.errors import ConfigurationError
from rlm.types import Message, Reply, Usage

FILE: Final = "replies.sqlite"
BUSY_SECONDS: Final = 10.0
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS replies (
    request TEXT NOT NULL, nth INTEGER NOT NULL, model TEXT NOT NULL, text TEXT NOT NULL, reasoning TEXT NOT NULL,
    usage TEXT NOT NULL, created REAL NOT NULL, PRIMARY KEY (request, nth)
) WITHOUT ROWID
"""
Key = tuple[str, int]


class Cache:
    """The cache as one run uses it. The n-th time a run asks the same, it is given what another run was told the n-th
    time: five samples of one prompt stay five samples.

    A cache that can no longer be read or written is left alone from then on; `trouble` says why, until it was told.
    """

    def __init__(self, path: Path, *, secrets: Collection[str] = ()) -> None:
        self.trouble: str | None = None
        self._masks = Masks(secrets)
        self._digester = Digester(self._masks)
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._path = path
        self._database: sqlite3.Connection | None = None

    def open(self) -> None:
        """Raises `ConfigurationError` where the file cannot be."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))  # replies may be private
            self._database = sqlite3.connect(
                self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute(SCHEMA)
        except (OSError, sqlite3.Error, UnicodeError) as error:
            self.close()
            raise ConfigurationError(f"cache: cannot use {self._path}: {error}") from error

    def key(self, origin: str, model: str, messages: Sequence[Message], sampling: Mapping[str, Any]) -> Key:
        """Of a request that is about to be made; counts it."""
        digest = joined([origin, self._digester.request(model, messages, sampling)])
        nth = self._asked[digest]
        self._asked[digest] += 1
        return digest, nth

    async def get(self, key: Key) -> Reply | None:
        """The reply as it came then, but that it cost nothing: no tokens, no dollars, no attempt."""
        row = await asyncio.to_thread(
            self._run, "SELECT text, model, reasoning FROM replies WHERE request = ? AND nth = ?", key
        )
        if row is None:
            return None
        try:
            text, model, reasoning = _unkept(row[0]), row[1], _unkept(row[2])
        except ValueError:
            self._leave("what it holds is none of its own")
            return None
        return Reply(text=text, model=str(model), reasoning=reasoning, usage=Usage(calls=1, reused=1))

    async def put(self, key: Key, reply: Reply) -> None:
        """Keep a reply that is whole. What is empty, cut, declined or has a key in it is not kept."""
        if reply.finish != "stop" or not reply.text.strip():
            return
        text, reasoning = _kept(reply.text), _kept(reply.reasoning)
        if self._masks.spans(reply.text) or self._masks.spans(reply.reasoning):
            return
        row = (*key, reply.model, text, reasoning, json.dumps(reply.usage.to_dict()), time.time())
        await asyncio.to_thread(self._run, "INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def _run(self, statement: str, values: tuple[Any, ...]) -> Any:
        with self._lock:
            if self._database is None:
                return None
            try:
                return self._database.execute(statement, values).fetchone()
            except (sqlite3.Error, UnicodeError) as error:
                trouble = error
        self._leave(trouble)
        return None

    def _leave(self, why: object) -> None:
        self.trouble = f"the cache {self._path} is not used any further: {why}"
        self.close()

    def close(self) -> None:
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None


def _kept(text: str) -> str:
    """As JSON, for texts that are not UTF-8."""
    return json.dumps(text)


def _unkept(kept: str | bytes) -> str:
    """Raises `ValueError` for what `_kept` did not make."""
    text = json.loads(kept)
    if not isinstance(text, str):
        raise ValueError("not a text")
    return text


@asynccontextmanager
async def open_cache(folder: Path | None, secrets: Collection[str] = ()) -> AsyncIterator[Cache | None]:
    """The cache in a folder, for one run; `None` where none is wanted."""
    if folder is None:
        yield None
        return
    cache = Cache(folder / FILE, secrets=secrets)
    await asyncio.to_thread(cache.open)
    try:
        yield cache
    finally:
        await asyncio.to_thread(cache.close)
