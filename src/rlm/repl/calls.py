"""What code in a cell calls to reach models, and the values and errors it gets back."""

from __future__ import annotations

import builtins
from typing import Any, Callable, Generator, Iterable

SHAPE_ATTEMPTS = 3


class LMError(Exception):
    """A call to a language model failed. `kind` says how, `message` is the provider's own, `hint` what to do."""

    def __init__(self, message: str = "", kind: str = "server", hint: str = "", model: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.hint = hint
        self.model = model

    def __str__(self) -> str:
        return "[{}] {}{}".format(self.kind, self.message, " — " + self.hint if self.hint else "")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self!s})"


class LimitError(LMError):
    """The call was not sent: a limit of the run has no room for it. `budget()` says what is left."""


class ToolError(Exception):
    """A tool of the host failed; the message is its exception's."""


def make_error(data: dict[str, Any]) -> LMError:
    """The exception for a failed query, from {"message", "kind", "hint", "model"}."""
    cls = LimitError if data.get("kind") == "limit" else LMError
    return cls(data.get("message", ""), data.get("kind", "server"), data.get("hint", ""), data.get("model"))


def make_tool_error(data: dict[str, Any]) -> Exception:
    """The exception for a failed tool call, from {"type", "message"}: a built-in one by its own class."""
    cls = getattr(builtins, data.get("type", ""), None)
    if isinstance(cls, type) and issubclass(cls, Exception):
        try:
            return cls(data.get("message", ""))
        except TypeError:  # one that takes more than a message: a Unicode error, a group
            pass
    return ToolError("{}: {}".format(data.get("type", "Exception"), data.get("message", "")))


class LMText(str):  # noqa: SLOT000 - it carries attributes
    """A model's reply: a `str` that also knows `.usage`, `.model` and `.finish` ("length": cut by the token limit)."""

    usage: dict[str, Any] | None = None
    model: str | None = None
    finish: str = "stop"

    def __await__(self) -> Generator[None, None, LMText]:
        return self
        yield  # type: ignore[unreachable]


class Shown(str):
    """Text whose echo is the text itself, not its quoted form."""

    __slots__ = ()

    __repr__ = str.__str__


def _reply(result: dict[str, Any]) -> LMText:
    text = LMText(result["text"])
    text.usage = result.get("usage")
    text.model = result.get("model")
    text.finish = result.get("finish", "stop")
    return text


def _prompt(prompt: Any, where: str = "prompt") -> str | list[dict[str, str]]:
    """Text, or a list of {"role", "content"} messages, checked before anything is sent."""
    if isinstance(prompt, str):
        return str(prompt)
    if isinstance(prompt, (list, tuple)) and prompt and all(isinstance(m, dict) for m in prompt):
        messages = [{"role": m.get("role"), "content": m.get("content")} for m in prompt]
        if all(m["role"] in ("system", "user", "assistant") and isinstance(m["content"], str) for m in messages):
            return messages
    raise TypeError(f"{where} must be text (or a list of messages with role and content), not {type(prompt).__name__}")


def _with(prompt: Any, more: str) -> Any:
    if isinstance(prompt, str):
        return prompt + more
    return [*prompt[:-1], {**prompt[-1], "content": prompt[-1]["content"] + more}]


def _several(prompts: Any, queries: Any, inputs: Any) -> list[str | list[dict[str, str]]]:
    given = [value for value in (prompts, queries, inputs) if value is not None]
    if len(given) != 1:
        raise TypeError("give the prompts once, as a list of texts")
    if isinstance(given[0], str):
        return [str(given[0])]
    return [_prompt(prompt, f"prompts[{i}]") for i, prompt in enumerate(given[0])]


class Calls:
    """The query functions of one session.

    `port` carries them to the host, `notify` tells the model of failed entries, `flush` shows what was printed so far.
    """

    def __init__(self, port: Any, notify: Callable[[str], None], flush: Callable[[], None]) -> None:
        self._port = port
        self._flush = flush
        self._notify = notify
        self._batches = 0

    def _batch(self, name: str, queries: list[dict[str, Any]]) -> list[LMText | BaseException]:
        return self._told(name, self._ask(queries))

    def _shaped(self, prompts: list[Any], model: str | None, schema: Any) -> list[Any]:
        """Values that fit the schema; what does not is asked for again, with what is wrong, and then an LMError."""
        from .schemas import AGAIN, Shape

        shape = Shape(schema)
        asked = [_with(prompt, shape.request) for prompt in prompts]
        out: list[Any] = [None] * len(prompts)
        open_ones = list(range(len(prompts)))
        for _ in range(SHAPE_ATTEMPTS):
            replies = self._ask([{"kind": "llm", "prompt": asked[i], "model": model} for i in open_ones])
            again = []
            for i, reply in zip(open_ones, replies):
                if isinstance(reply, BaseException):
                    out[i] = reply
                    continue
                try:
                    out[i] = shape.read(reply)
                except ValueError as exc:
                    out[i] = LMError(f"the reply does not fit the schema: {exc}", "malformed", "ask more simply")
                    asked[i] = _with(asked[i], AGAIN.format(reply[:2_000], str(exc)[:500]))
                    again.append(i)
            open_ones = again
            if not open_ones:
                break
        return out

    def _ask(self, queries: list[dict[str, Any]]) -> list[LMText | BaseException]:
        if not queries:
            return []
        self._batches += 1
        number = self._batches
        for i, query in enumerate(queries):
            query["batch"] = [number, i, len(queries)]
        self._flush()
        results = self._port.request_many("query", queries)
        return [r if isinstance(r, BaseException) else _reply(r) for r in results]

    def _told(self, name: str, out: list[Any]) -> list[Any]:
        """The same, after telling the model of the entries that failed."""
        failed = [(i, r) for i, r in enumerate(out) if isinstance(r, BaseException)]
        if failed:
            shown = "; ".join(f"[{i}] {error}" for i, error in failed[:3])
            more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
            self._notify(
                f"{len(failed)} of {len(out)} entries of {name} failed and are LMError objects in place: {shown}{more}"
            )
        return out

    def functions(self) -> dict[str, Callable[..., Any]]:
        """name → function, as they are bound in the namespace."""
        port, flush = self._port, self._flush

        def llm_query(prompt: Any, model: str | None = None, *, schema: Any = None) -> Any:
            """Ask a language model. Returns its reply, a str with .usage, .model and .finish. Raises LMError.

            With `schema` (a type, a dict of names and types, a JSON Schema) it returns the value that fits it.
            """
            if schema is not None:
                (value,) = self._shaped([_prompt(prompt)], model, schema)
                if isinstance(value, BaseException):
                    raise value
                return value
            query = {"kind": "llm", "prompt": _prompt(prompt), "model": model, "batch": None}
            flush()
            return _reply(port.request("query", query))

        def llm_query_batched(
            prompts: Any = None,
            model: str | None = None,
            *,
            schema: Any = None,
            queries: Any = None,
            inputs: Any = None,
        ) -> list[Any]:
            """Ask a language model many prompts at once. Returns the replies in order; a failed one is an LMError
            object."""
            several = _several(prompts, queries, inputs)
            if schema is not None:
                return self._told("llm_query_batched", self._shaped(several, model, schema))
            return self._batch("llm_query_batched", [{"kind": "llm", "prompt": p, "model": model} for p in several])

        def rlm_query(prompt: Any, context: Any = None, model: str | None = None) -> LMText:
            """Give a task to a recursive language model: `prompt` is its question, `context` (any value) its
            context."""
            query = {"kind": "rlm", "prompt": _prompt(prompt), "model": model, "batch": None}
            if context is not None:
                query["context"] = context
            flush()
            return _reply(port.request("query", query))

        def rlm_query_batched(
            prompts: Any = None,
            model: str | None = None,
            contexts: Iterable[Any] | None = None,
            *,
            queries: Any = None,
            inputs: Any = None,
        ) -> list[LMText | BaseException]:
            """Several rlm_query at once, contexts[i] going with prompts[i]. Returns the answers in order, LMError
            where one failed."""
            several = _several(prompts, queries, inputs)
            rows: list[dict[str, Any]] = [{"kind": "rlm", "prompt": p, "model": model} for p in several]
            if contexts is not None:
                contexts = list(contexts)
                if len(several) == 1 < len(contexts):
                    rows = [dict(rows[0]) for _ in contexts]
                if len(contexts) != len(rows):
                    raise TypeError(f"{len(rows)} prompts but {len(contexts)} contexts")
                for row, context in zip(rows, contexts):
                    if context is not None:
                        row["context"] = context
            return self._batch("rlm_query_batched", rows)

        def budget() -> dict[str, Any]:
            """What is left of the run's limits: turns, calls, tokens, dollars, seconds (None: no limit)."""
            left: dict[str, Any] = port.request("tool", {"name": "budget", "args": [], "kwargs": {}})
            return left

        functions: list[Any] = [llm_query, llm_query_batched, rlm_query, rlm_query_batched, budget]
        for function in functions:
            function.__qualname__ = function.__name__  # as errors name it
        return {f.__name__: f for f in functions}
