"""OpenAI chat completions, as served by the local LM server; also Azure's deployments and the routers that speak it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlm.testing._dialect import CREATED, Asked, chat, dump, event, overrun, split
from rlm.testing._script import CONTEXT_LENGTH, Request, Scripted
from rlm.types import Usage

provider = "openai"
FINISH = {"stop": "stop", "length": "length", "refusal": "stop", "other": "tool_calls"}
KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "requests"}


def speaks(path: str) -> bool:
    return path.endswith("/chat/completions")


def read(path: str, body: Mapping[str, Any]) -> Asked:
    model = body.get("model")
    if model is None and "/deployments/" in path:
        model = path.partition("/deployments/")[2].partition("/")[0]
    return Asked(model=str(model), messages=chat(body.get("messages")), stream=bool(body.get("stream")))


def whole(request: Request, item: Scripted, usage: Usage) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": item.text, "refusal": None}
    if item.finish == "refusal":
        message |= {"content": None, "refusal": item.text}
    if item.reasoning:
        message["reasoning_content"] = item.reasoning
    reason = FINISH.get(item.finish, item.finish)
    reply = _frame(request, "chat.completion")
    reply["choices"] = [{"index": 0, "message": message, "finish_reason": reason, "logprobs": None}] * item.choices
    if item.usage:
        reply["usage"] = _usage(item, usage)
    return dump(reply)


def pieces(request: Request, item: Scripted, usage: Usage) -> tuple[list[bytes], list[bytes]]:
    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        frame["choices"] = [{"index": 0, "delta": delta, "finish_reason": reason}]
        return event(frame)

    frame = _frame(request, "chat.completion.chunk")
    options = request.body.get("stream_options")
    tells = item.usage and isinstance(options, Mapping) and bool(options.get("include_usage"))
    if tells:
        frame["usage"] = None
    told = event(frame | {"choices": [], "usage": _usage(item, usage)}) if tells else b""
    closing = [part for part in (told, b"data: [DONE]\n\n") if part]
    if not item.choices:
        return [], closing
    name = "refusal" if item.finish == "refusal" else "content"
    parts = [chunk({"role": "assistant", "content": ""})]
    parts += [chunk({"reasoning_content": piece}) for piece in split(item.reasoning)]
    parts += [chunk({name: piece}) for piece in split(item.text)]
    return parts, [chunk({}, FINISH.get(item.finish, item.finish)), *closing]


def failure(request: Request, item: Scripted) -> bytes:
    message = item.error
    if item.code == CONTEXT_LENGTH and not message:
        tokens, window = overrun(request)
        message = (
            f"This model's maximum context length is {window} tokens. However, your messages resulted in "
            f"{tokens} tokens. Please reduce the length of the messages."
        )
    kind = KINDS.get(item.status, "invalid_request_error" if item.status < 500 else "server_error")
    return dump({"error": {"message": message, "type": kind, "param": None, "code": item.code or None}})


def failure_event(request: Request, item: Scripted) -> bytes:
    return b"data: " + failure(request, item) + b"\n\n"


def _frame(request: Request, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{request.number}", "object": kind, "created": CREATED, "model": request.model}


def _usage(item: Scripted, usage: Usage) -> dict[str, Any]:
    told: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
    if usage.cache_write_tokens:
        told["prompt_tokens_details"]["cache_write_tokens"] = usage.cache_write_tokens
    if item.cost is not None:
        told["cost"] = item.cost
    return told
