"""Gemini generateContent, as served by the local LM server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlm.testing._dialect import Asked, dump, event, flatten, overrun, split
from rlm.testing._script import CONTEXT_LENGTH, Request, Scripted
from rlm.types import Usage

provider = "gemini"
FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "refusal": "SAFETY", "other": "OTHER"}
STATUS = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}


def speaks(path: str) -> bool:
    return path.endswith((":generateContent", ":streamGenerateContent"))


def read(path: str, body: Mapping[str, Any]) -> Asked:
    model, _, method = path.rpartition("/models/")[2].partition(":")
    messages = tuple(
        (
            "assistant" if content.get("role") == "model" else str(content.get("role", "user")),
            flatten(content.get("parts")),
        )
        for content in body.get("contents", ())
    )
    system = body.get("systemInstruction")
    if isinstance(system, Mapping):
        messages = (("system", flatten(system.get("parts"))), *messages)
    return Asked(model=model, messages=messages, stream=method == "streamGenerateContent")


def whole(request: Request, item: Scripted, usage: Usage) -> bytes:
    parts: list[dict[str, Any]] = []
    if item.reasoning:
        parts.append({"text": item.reasoning, "thought": True})
    if item.text:
        parts.append({"text": item.text})
    reply = _frame(request)
    reply |= {"candidates": [_candidate(parts, item)]} if item.choices else _blocked(item)
    if item.usage:
        reply["usageMetadata"] = _usage(usage)
    return dump(reply)


def pieces(request: Request, item: Scripted, usage: Usage) -> tuple[list[bytes], list[bytes]]:
    frame = _frame(request)
    parts: list[dict[str, Any]] = [{"text": piece, "thought": True} for piece in split(item.reasoning)]
    parts += [{"text": piece} for piece in split(item.text)]
    body = [event(frame | {"candidates": [_candidate([part])]}) for part in parts * item.choices]
    last = frame | ({"candidates": [_candidate([], item)]} if item.choices else _blocked(item))
    if item.usage:
        last["usageMetadata"] = _usage(usage)
    return body, [event(last)]


def failure(request: Request, item: Scripted) -> bytes:
    message = item.error
    if item.code == CONTEXT_LENGTH and not message:
        tokens, window = overrun(request)
        message = f"The input token count ({tokens}) exceeds the maximum number of tokens allowed ({window})."
    status = STATUS.get(item.status, "INVALID_ARGUMENT" if 400 <= item.status < 500 else "INTERNAL")
    return dump({"error": {"code": item.status, "message": message, "status": status}})


def failure_event(request: Request, item: Scripted) -> bytes:
    return b"data: " + failure(request, item) + b"\n\n"


def _frame(request: Request) -> dict[str, Any]:
    return {"modelVersion": request.model, "responseId": f"resp-{request.number}"}


def _candidate(parts: list[dict[str, Any]], item: Scripted | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"index": 0}
    if parts:
        candidate["content"] = {"role": "model", "parts": parts}
    if item is not None:
        candidate["finishReason"] = FINISH.get(item.finish, item.finish)
    return candidate


def _blocked(item: Scripted) -> dict[str, Any]:
    return {"promptFeedback": {"blockReason": "SAFETY"}} if item.finish == "refusal" else {}


def _usage(usage: Usage) -> dict[str, Any]:
    told: dict[str, Any] = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": max(usage.output_tokens - usage.reasoning_tokens, 0),
        "totalTokenCount": usage.total_tokens,
    }
    if usage.cached_tokens:
        told["cachedContentTokenCount"] = usage.cached_tokens
    if usage.reasoning_tokens:
        told["thoughtsTokenCount"] = usage.reasoning_tokens
    return told
