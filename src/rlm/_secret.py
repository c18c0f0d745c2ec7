"""Which values are keys, and how they are kept out of what is written: one rule for the log, the journal and the
cache."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote, urlsplit

SHORTEST: Final = 8
"""Characters. What is shorter turns up everywhere."""
GUESSED: Final = 16
"""Characters from which a value is taken for a key for its looks: where headers and queries have names of their own."""

_WORDS: Final = frozenset(
    [
        "AUTH",
        "AUTHORIZATION",
        "BEARER",
        "COOKIE",
        "COOKIES",
        "CREDENTIAL",
        "CREDENTIALS",
        "JWT",
        "KEY",
        "KEYS",
        "PASS",
        "PASSCODE",
        "PASSPHRASE",
        "PASSWORDS",
        "PAT",
        "PWD",
        "SECRETS",
    ]
)
_ENDINGS: Final = ("PASSWORD", "PASSWD", "SECRET", "TOKEN", "APIKEY", "ACCESSKEY", "PRIVATEKEY", "SECRETKEY")
_ABOUT: Final = frozenset(["DIR", "FILE", "HEADER", "NAME", "PATH", "TYPE", "URI", "URL"])
"""Last words of names that tell something about a key."""
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PLAIN: Final = re.compile(r"[\d\W_]+|[A-Za-z]?[a-z]{1,15}|[A-Z]{1,15}")
_RUN: Final = re.compile(rf"[\w+/=.~-]{{{GUESSED},}}", re.ASCII)
_USER: Final = re.compile(r"://([^\s/?#@]+)@")
_QUERY: Final = re.compile(r"[?&]([\w.-]+)=([^&#\s]+)")


@lru_cache(maxsize=4_096)
def secret_name(name: str) -> bool:
    """Whether a setting, header or variable of that name holds a key: one of its words says so, wherever it stands
    (`AWS_SECRET_ACCESS_KEY`, `x-api-key`, `clientSecret`), and not only a part of one (`KEYBOARD`, `PATTERN`)."""
    words = [word.upper() for word in _WORD.findall(name)]
    if not words or words[-1] in _ABOUT or words == ["PWD"]:
        return False
    return any(word in _WORDS or word.endswith(_ENDINGS) for word in words)


def secrets_of(*given: object) -> set[str]:
    """Every key in mappings, sequences and dataclasses, by the names their values have."""
    return {secret for value in given for secret in _within("", value, guess=False) if is_key(secret)}


def is_key(value: str) -> bool:
    """Whether a value under such a name is a key: none that is short, a number, a single word, an address or a file."""
    return (
        len(value) >= SHORTEST
        and not _PLAIN.fullmatch(value)
        and "://" not in value
        and not (os.sep in value and os.path.exists(value))
    )


def _within(name: str, value: object, *, guess: bool) -> Iterator[str]:
    if isinstance(value, str):
        if "://" in value:
            yield from _in_address(value)
        if secret_name(name):
            yield value
            yield from value.split()[1:2] if len(value.split()) == 2 else ()  # "Bearer …"
        if guess or secret_name(name):
            yield from filter(_random, _RUN.findall(value))
    elif isinstance(value, Mapping):
        inside = guess or not {"HEADERS", "QUERY"}.isdisjoint(word.upper() for word in _WORD.findall(name))
        for key, item in value.items():
            yield from _within(str(key), item, guess=inside)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _within(name, item, guess=guess)
        for option, text in _options([word for word in value if isinstance(word, str)]):
            yield from _within(option, text, guess=False)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _within(field.name, getattr(value, field.name), guess=guess)


def _in_address(value: str) -> Iterator[str]:
    found = [user.partition(":")[2] or user for user in _USER.findall(value)]
    found += [text for name, text in _QUERY.findall(value) if secret_name(name)]
    for text in found:
        yield text
        yield unquote(text)


def _random(text: str) -> bool:
    return any(map(str.isdigit, text)) and any(map(str.isalpha, text))


class Masks:
    """Puts asterisks in the place of some values, as many as they have characters: no offset around them changes."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        printed = {form for secret in secrets for form in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1])}
        self._secrets = sorted({s for s in printed if len(s) >= SHORTEST}, key=len, reverse=True)
        self._escaped = [json.dumps(secret)[1:-1] for secret in self._secrets]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where they are in a text, in order."""
        found = []
        for secret in self._secrets:
            if secret in text:
                found += [match.span() for match in re.finditer(re.escape(secret), text)]
                text = text.replace(secret, "*" * len(secret))
        return sorted(found)

    def text(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, "*" * len(secret))
        return text

    def data(self, data: bytes) -> bytes:
        for secret in self._secrets:
            raw = secret.encode("utf-8", "surrogatepass")
            data = data.replace(raw, b"*" * len(raw))
        return data

    def line(self, line: str) -> str:
        """The same in a line of JSON, also in names and in what it holds as base64."""
        encoded = self._secrets and ('"$":"bytes"' in line or '"$":"text"' in line)
        if encoded or any(secret in line for secret in self._escaped):
            return json.dumps(self._deep(json.loads(line)), separators=(",", ":"))
        return line

    def _deep(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._deep(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.get("$") in ("bytes", "text") and isinstance(value.get("v"), str):
            with suppress(ValueError):  # a dict of the program's own
                return {**value, "v": base64.b64encode(self.data(base64.b64decode(value["v"], validate=True))).decode()}
        return {self.text(name): self._deep(item) for name, item in value.items()}


def covered(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """A text with asterisks there."""
    parts, done = [], 0
    for start, stop in spans:
        parts += [text[done:start], "*" * (stop - start)]
        done = stop
    return "".join([*parts, text[done:]]) if parts else text


def command_secrets(command: str) -> set[str]:
    """The keys in a command line or a URL."""
    return secrets_of(_split(command))


def shown_command(command: str) -> str:
    """A command line or a URL as it may be told: without what options and parameters named like a key were given, and
    without what looks like one."""
    if "://" in command.partition(" ")[0]:
        url = urlsplit(command)
        path = "/".join("…" if _RUN.fullmatch(part) and _random(part) else part for part in url.path.split("/"))
        return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{path}{'?…' if url.query else ''}"
    hidden = {value for name, value in _options(_split(command)) if secret_name(name)} - {""}
    words = []
    for word in _split(command):
        for value in hidden:
            word = word.replace(value, "…")
        words.append("…" if os.sep not in word and _RUN.fullmatch(word) and _random(word) else word)
    return " ".join(words)


def _options(words: Sequence[str]) -> list[tuple[str, str]]:
    """`--name value`, `--name=value`, `NAME=value`, and the header in `--header "Name: value"`."""
    found, before = [], ""
    for word in words:
        name, equals, rest = word.partition("=")
        while equals:
            found.append((name, rest))
            name, equals, rest = rest.partition("=")
        if before.startswith("-") and "=" not in before and not word.startswith("-"):
            header, _, value = word.partition(":")
            found += [(before, word), (header, value.strip())]
        before = word
    return found


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # an open quote: it cannot be started either
        return command.split()
