"""MCP servers as tools: each tool of a server is a function in the REPL, called through the host.

The protocol is spoken by the official SDK (`pip install "rlm[mcp]"`), which is imported when a server is first used.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import inspect
import keyword
import re
import shlex
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from rlm._secret import shown_command
from rlm.errors import ConfigurationError, SetupError
from rlm.journal import Journal
from rlm.policy.names import reserved
from rlm.portal import Held, LoopLocal

START_TIMEOUT = 60.0
PING_TIMEOUT = 5.0
IDLE = 1.0  # seconds without an answer after which a server is asked whether it is still there
AGAIN = 3  # times in a row that a server is started again within a run
PAGES = 100  # of a list of tools
FACT = "mcp"


@dataclass(frozen=True)
class MCP:
    """A server: a command line (`MCP("uvx mcp-server-time")`) or the URL of one that runs.

    `env` is added to the few environment variables the SDK passes on; `only` names the tools to offer, by default all.
    """

    command: str
    env: Mapping[str, str] = field(default_factory=dict, repr=False, kw_only=True)
    only: Sequence[str] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not self.command.strip():
            raise ConfigurationError("MCP takes a command line or a URL")
        if isinstance(self.only, str):
            raise ConfigurationError(f"MCP: only= takes a list of tools' names, not the text {self.only!r}")

    def __repr__(self) -> str:
        return f"MCP({self.shown!r}{'' if self.only is None else f', only={list(self.only)!r}'})"

    @property
    def shown(self) -> str:
        """The command without the keys in it."""
        return shown_command(self.command)


@dataclass(frozen=True, kw_only=True)
class _Offer:
    """A tool as its server described it."""

    server: int
    tool: str
    description: str
    parameters: tuple[tuple[str, bool, Any], ...]
    """(name, whether it is required, default)"""

    @property
    def name(self) -> str:
        """In the REPL."""
        word = re.sub(r"\W", "_", self.tool)
        return f"{word}_" if keyword.iskeyword(word) or not word.isidentifier() else word


class Toolbox:
    """The connections to some servers, in one event loop, and the tools they offer."""

    def __init__(self, servers: Sequence[MCP]) -> None:
        self._servers = servers
        self._holders: list[_Holder] = []
        self._opening = asyncio.Lock()

    async def tools(self, journal: Journal | None = None) -> dict[str, tuple[object, str]]:
        """name → (async function, description). Connects first, and again where a server has ended; where the run's
        journal has them, not before the run goes on from what is recorded.

        Raises:
            SetupError: a server cannot be started or does not answer.
            ConfigurationError: two tools have one name, one has a name of the REPL, or there is none of a name wanted.
            ReplayMismatchError: the run that is replayed had no servers.
        """
        known = None if journal is None else journal.known_fact(journal.run, FACT)
        if known is None and journal is not None and journal.replaying:
            raise journal.departed("the run has MCP servers, and its recording none")
        if known is None or journal is None:
            await self._connect()
            offers = [offer for number, holder in enumerate(self._holders) for offer in holder.offers(number)]
        else:
            offers = [_offer(record) for record in known["tools"]]
            journal.before_live = functools.partial(self._connect, 1 + max((o.server for o in offers), default=-1))
        out: dict[str, tuple[object, str]] = {}
        for offer in offers:
            name = offer.name
            if name in out:
                raise ConfigurationError(f"two MCP tools are named {name!r}: choose with MCP(…, only=[…])")
            if reserved(name):
                raise ConfigurationError(
                    f"{name!r}, an MCP tool, is a name of the REPL itself: leave it out with MCP(…, only=[…])"
                )
            out[name] = (_function(self, offer), offer.description)
        if journal is not None:
            journal.fact(journal.run, FACT, {"tools": [asdict(offer) for offer in offers]})
        return out

    async def call(self, offer: _Offer, arguments: dict[str, Any]) -> Any:
        return await self._holders[offer.server].call(offer.tool, arguments)

    async def _connect(self, needed: int = 0) -> None:
        if needed > len(self._servers):
            raise SetupError(f"the run had {needed} MCP servers when it began, and has {len(self._servers)}")
        async with self._opening:
            if not self._holders:
                self._holders = [_Holder(server) for server in self._servers]
            for holder in self._holders:
                await holder.ready()

    async def aclose(self) -> None:
        holders, self._holders = self._holders, []
        for holder in holders:
            await holder.stop()


async def tools_of(toolboxes: LoopLocal[Toolbox] | None, journal: Journal | None) -> dict[str, tuple[object, str]]:
    """The tools of the running loop's servers, if there are any."""
    return {} if toolboxes is None else await (await toolboxes.get()).tools(journal)


class _Holder:
    """One server: its connection, made again at the next call when it has ended."""

    def __init__(self, server: MCP) -> None:
        self._server = server
        self._held: Held[tuple[Any, list[Any]]] | None = None
        self._client: Any = None
        self._opening = asyncio.Lock()
        self._calls = 0
        """Under way: a server may be too busy with them to answer whether it is there."""
        self._heard = 0.0
        self._starts = 0
        """In a row, without an answer to a call between them."""
        self._stopped = False
        self._listed: list[Any] = []

    def offers(self, number: int) -> list[_Offer]:
        """Those of the server's tools that are to be offered; `number` is the server's."""
        only, there = self._server.only, [tool.name for tool in self._listed]
        for name in only or ():
            if name not in there:
                names = ", ".join(map(repr, there)) or "none"
                raise ConfigurationError(f"MCP: {self._server.shown!r} has no tool {name!r}; it has {names}")
        return [
            _Offer(
                server=number,
                tool=tool.name,
                description=" ".join((tool.description or "").split()),
                parameters=_parameters(tool.input_schema),
            )
            for tool in self._listed
            if only is None or tool.name in only
        ]

    async def ready(self) -> None:
        """Connect, if the server is not there."""
        self._starts = 0
        await self._reach()

    async def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """The server's answer. A call with which it ends is an error, and the next one starts it again."""
        if not self._calls and time.monotonic() - self._heard > IDLE:
            await self._reach()
        self._calls += 1
        try:
            result = await self._client.call_tool(name, arguments)
        except Exception:
            self._heard = 0.0
            raise
        finally:
            self._calls -= 1
        self._heard, self._starts = time.monotonic(), 0
        return result

    async def stop(self) -> None:
        self._stopped = True
        await self._leave()

    async def _leave(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            with suppress(SetupError):  # it is over, however it ended
                await held.leave()

    async def _reach(self) -> None:
        async with self._opening:
            if await self._answers():
                return
            if self._stopped or self._starts > AGAIN:
                why = "was closed" if self._stopped else f"has ended {self._starts} times in a row"
                raise SetupError(f"the MCP server {self._server.shown!r} {why}")
            self._starts += 1
            await self._leave()
            held = Held(_connected(self._server))
            try:
                async with asyncio.timeout(START_TIMEOUT):
                    self._client, self._listed = await held.enter()
            except TimeoutError:
                raise SetupError(
                    f"the MCP server {self._server.shown!r} did not answer in {START_TIMEOUT:g} s"
                ) from None
            self._held, self._heard = held, time.monotonic()

    async def _answers(self) -> bool:
        if self._held is None:
            return False
        if self._calls:
            return True
        try:
            async with asyncio.timeout(PING_TIMEOUT):
                await self._client.send_ping()
        except Exception:  # whatever it is, another connection is the way on
            return False
        return True


@asynccontextmanager
async def _connected(server: MCP) -> AsyncIterator[tuple[Any, list[Any]]]:
    """The connection, and the tools of its server."""
    try:
        async with _client(server) as client:
            yield client, await _listed(client)
    except SetupError:
        raise
    except Exception as exc:
        raise _setup_error(server, exc) from exc


async def _listed(client: Any) -> list[Any]:
    page = await client.list_tools()
    tools, pages = list(page.tools), 1
    while page.next_cursor is not None and pages < PAGES:
        page = await client.list_tools(cursor=page.next_cursor)
        tools, pages = [*tools, *page.tools], pages + 1
    return tools


def _client(server: MCP) -> Any:
    try:
        from mcp import Client, StdioServerParameters
    except ImportError as exc:
        raise SetupError(f'MCP tools need the package mcp: pip install "rlm[mcp]" ({exc})') from exc
    if re.match(r"https?://", server.command):
        return Client(server.command)
    command, *args = shlex.split(server.command)
    return Client(StdioServerParameters(command=command, args=args, env=dict(server.env) or None))


def _setup_error(server: MCP, exc: BaseException) -> SetupError:
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return SetupError(f"the MCP server {server.shown!r} cannot be used: {type(exc).__name__}: {exc}")


def _function(toolbox: Toolbox, offer: _Offer) -> Callable[..., Any]:
    # What is not required is left out of the call unless given.
    kind, empty = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
    parameters = [inspect.Parameter(n, kind, default=empty if required else d) for n, required, d in offer.parameters]
    signature = inspect.Signature(parameters)

    async def call(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        result = await toolbox.call(offer, dict(given))
        if result.is_error:
            raise RuntimeError(_text(result.content) or f"{offer.name} failed")
        return _value(result)

    call.__name__ = call.__qualname__ = offer.name
    call.__doc__ = offer.description
    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


def _parameters(schema: Mapping[str, Any]) -> tuple[tuple[str, bool, Any], ...]:
    """A tool's parameters, required ones first."""
    required = schema.get("required", ())
    named = [(name, about) for name, about in schema.get("properties", {}).items() if name.isidentifier()]
    return (
        *((name, True, None) for name, _ in named if name in required),
        *((name, False, about.get("default")) for name, about in named if name not in required),
    )


def _offer(record: Mapping[str, Any]) -> _Offer:
    parameters = tuple((name, required, default) for name, required, default in record["parameters"])
    given = {name: record[name] for name in ("server", "tool", "description")}
    return _Offer(parameters=parameters, **given)


def _value(result: Any) -> Any:
    """Structured content where there is any, else text, bytes of an image, or a list of these."""
    structured = result.structured_content
    if structured is not None:
        alone = isinstance(structured, dict) and set(structured) == {"result"}
        return structured["result"] if alone else structured
    parts = [_part(block) for block in result.content]
    return parts[0] if len(parts) == 1 else _text(result.content) if all(isinstance(p, str) for p in parts) else parts


def _part(block: Any) -> Any:
    if block.type == "text":
        return block.text
    if block.type in ("image", "audio"):
        return base64.b64decode(block.data)
    return block.model_dump(mode="json")


def _text(content: Sequence[Any]) -> str:
    return "\n".join(block.text for block in content if block.type == "text")
