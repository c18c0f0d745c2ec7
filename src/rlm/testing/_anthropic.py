"""Anthropic messages, as served by the local LM server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlm.testing._dialect import Asked, chat, dump, event, flatten, overrun, split
from rlm.testing._script import CONTEXT_LENGTH, Request, Scripted
from rlm.types import Usage

provider = "anthropic"
FINISH = {"stop": "end_turn", "length": "max_tokens", "refusal": "refusal", "other": "pause_turn"}
KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def speaks(path: str) -> bool:
    return path.endswith("/v1/messages")


def read(path: str, body: Mapping[str, Any]) -> Asked:
    messages = chat(body.get("messages"))
    if body.get("system"):
        messages = (("system", flatten(body["system"])), *messages)
    return Asked(model=str(body.get("model")), messages=messages, stream=bool(body.get("stream")))


def whole(request: Request, item: Scripted, usage: Usage) -> bytes:
    blocks: list[dict[str, Any]] = []
    if item.choices and item.reasoning:
        blocks.append({"type": "thinking", "thinking": item.reasoning, "signature": "c2ln"})
    if item.choices and item.text:
        blocks.append({"type": "text", "text": item.text})
    reply = _frame(request, blocks) | {"stop_reason": FINISH.get(item.finish, item.finish)}
    if item.usage:
        reply["usage"] = _usage(usage)
    return dump(reply)


def pieces(request: Request, item: Scripted, usage: Usage) -> tuple[list[bytes], list[bytes]]:
    start = _frame(request, [])
    if item.usage:
        start["usage"] = _usage(usage) | {"output_tokens": 1}
    parts = [event({"type": "message_start", "message": start}, "message_start")]
    index = 0
    if item.choices and item.reasoning:
        deltas: list[dict[str, Any]] = [{"type": "thinking_delta", "thinking": p} for p in split(item.reasoning)]
        deltas.append({"type": "signature_delta", "signature": "c2ln"})
        parts += _block(index, {"type": "thinking", "thinking": "", "signature": ""}, deltas)
        index += 1
    if item.choices and item.text:
        deltas = [{"type": "text_delta", "text": piece} for piece in split(item.text)]
        parts += _block(index, {"type": "text", "text": ""}, deltas)
    end: dict[str, Any] = {"type": "message_delta", "delta": {"stop_reason": FINISH.get(item.finish, item.finish)}}
    if item.usage:
        end["usage"] = {"output_tokens": usage.output_tokens}
    return parts, [event(end, "message_delta"), event({"type": "message_stop"}, "message_stop")]


def failure(request: Request, item: Scripted) -> bytes:
    message = item.error
    if item.code == CONTEXT_LENGTH and not message:
        tokens, window = overrun(request)
        message = f"prompt is too long: {tokens} tokens > {window} maximum"
    kind = KINDS.get(item.status, "invalid_request_error" if 400 <= item.status < 500 else "api_error")
    return dump({"type": "error", "error": {"type": kind, "message": message}, "request_id": f"req_{request.number}"})


def failure_event(request: Request, item: Scripted) -> bytes:
    return b"event: error\ndata: " + failure(request, item) + b"\n\n"


def _frame(request: Request, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"msg_{request.number}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": blocks,
        "stop_reason": None,
        "stop_sequence": None,
    }


def _block(index: int, opening: dict[str, Any], deltas: list[dict[str, Any]]) -> list[bytes]:
    start = {"type": "content_block_start", "index": index, "content_block": opening}
    stop = {"type": "content_block_stop", "index": index}
    body = [
        event({"type": "content_block_delta", "index": index, "delta": delta}, "content_block_delta")
        for delta in deltas
    ]
    return [event(start, "content_block_start"), *body, event(stop, "content_block_stop")]


def _usage(usage: Usage) -> dict[str, Any]:
    told: dict[str, Any] = {
        "input_tokens": max(usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens, 0),
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        told["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return told
