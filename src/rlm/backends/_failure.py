"""A provider's failure as an `LMError`: which kind it is, the provider's own words, what to do about it."""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Mapping
from typing import Any

from rlm.errors import LMError, LMErrorKind

WORDS = 600
"""Characters of a provider's message that are kept."""

_TOO_LONG = re.compile(
    r"context[ _]length|context window|maximum context|context size|(prompt|input) (is )?too long|input token count"
    r"|too many (input )?tokens|reduce the length of the|max_model_len|maximum number of tokens allowed"
    r"|exceeds? the (maximum|model'?s|available) (input|context|token)",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(r"model.{0,80}(not found|not exist|unknown|is not supported)|model_not_found", re.IGNORECASE)
_FILTERED = ("content_filter", "content_policy_violation", "responsibleaipolicyviolation")

HINTS: dict[LMErrorKind, str] = {
    "bad_request": "",
    "connection": "check the network and the address (base_url)",
    "context_length": "the prompt does not fit the model: send less, or split it",
    "malformed": "the address (base_url) may not be a language model's, or the connection broke off",
    "rate_limit": "wait, lower max_concurrent_calls, or ask the provider for a higher limit",
    "refusal": "the provider's filter declined the prompt",
    "server": "the provider's side failed; try again later",
    "timeout": "raise backend_kwargs={'timeout': seconds}, or send less",
    "unknown_model": "check model_name, and that the key may use this model",
}


def failure(kind: LMErrorKind, message: str, **details: Any) -> LMError:
    """An `LMError` with the hint that belongs to its kind; that about keys comes from the client, which knows more."""
    return LMError(shorten(message), kind=kind, hint=details.pop("hint", HINTS.get(kind, "")), **details)


def from_status(status: int, body: object, headers: Mapping[str, str] | None = None) -> LMError:
    """The failure a status and a body tell; `body` is parsed JSON, or text or bytes as they came."""
    data = parsed(body)
    message, code = _words(data)
    message = message or f"the provider answered with status {status}"
    kind = _kind(status, message, code)
    hint = HINTS.get(kind, "")
    if "quota" in code or "billing" in message.lower():
        hint = "the account has no credit left: check its plan and billing"
    return failure(kind, message, hint=hint, status=status, retry_after=retry_after(headers or {}, data))


def parsed(body: object) -> object:
    """JSON as values; anything else as text."""
    if isinstance(body, bytes):
        body = body.decode("utf-8", "replace")
    if isinstance(body, str):
        try:
            return json.loads(body)
        except ValueError:
            return body
    return body


def shorten(text: str) -> str:
    """A message on one line, cut; a web page is told by its title."""
    if re.match(r"\s*<(!doctype|html|head)", text, re.IGNORECASE):
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        text = "a web page instead of a reply" + (f": {title.group(1)}" if title else "")
    text = " ".join(text.split())
    return text if len(text) <= WORDS else text[: WORDS - 1] + "…"


def retry_after(headers: Mapping[str, str], data: object = None) -> float | None:
    """Seconds the provider asks to wait, in a header or (Google) in the body."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(float(headers[name]) / unit, 0.0)
        except (KeyError, ValueError):
            continue
    when = email.utils.parsedate_tz(headers.get("retry-after"))
    if when is not None:
        return max(email.utils.mktime_tz(when) - time.time(), 0.0)
    error = data.get("error") if isinstance(data, Mapping) else None
    details = error.get("details") if isinstance(error, Mapping) else None
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, Mapping) else None
        if isinstance(delay, str) and re.fullmatch(r"\d+(\.\d+)?s", delay):
            return float(delay[:-1])
    return None


def _kind(status: int, message: str, code: str) -> LMErrorKind:
    if any(name in code for name in _FILTERED):
        return "refusal"
    if "context_length" in code or status == 413 or (status not in (401, 403, 429) and _TOO_LONG.search(message)):
        return "context_length"
    if status in (401, 403) or "api key not valid" in message.lower() or code in ("invalid_api_key", "api_key_invalid"):
        return "authentication"
    if status == 429 or code in ("rate_limit_error", "rate_limit_exceeded"):
        return "rate_limit"
    if status in (408, 504):
        return "timeout"
    if _NO_MODEL.search(f"{message} {code}") and status < 500:
        return "unknown_model"
    if status >= 500 or code in ("overloaded_error", "api_error", "server_error"):
        return "server"
    return "bad_request"


def _words(data: object) -> tuple[str, str]:
    """(message, machine-readable code in lower case) out of the shapes providers use."""
    if isinstance(data, list) and data:
        data = data[0]
    if isinstance(data, str):
        return data, ""
    if not isinstance(data, Mapping):
        return "", ""
    error = data.get("error", data)
    if not isinstance(error, Mapping):
        return str(error), str(data.get("code") or "").lower()
    message = error.get("message") or error.get("detail") or data.get("detail") or data.get("message") or ""
    inner = error.get("innererror")
    azure = inner.get("code") if isinstance(inner, Mapping) else None
    codes = (error.get("code"), error.get("type"), error.get("status"), azure)
    return _text(message), " ".join(str(code).lower() for code in codes if code)


def _text(message: object) -> str:
    return message if isinstance(message, str) else json.dumps(message, default=str)
