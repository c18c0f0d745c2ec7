"""No key reaches a journal, a log or a cache, whatever it is called and wherever it was given; what is no key does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import command_line
from journal.program import code, journal_of
from rlm import RLM, RLMLogger
from rlm._secret import Masks, is_key, secret_name, secrets_of, shown_command
from rlm.testing import LMServer, Request, ScriptedClient

Start = Callable[..., LMServer]
KEY = "SEKRET-abc-12345678"

VARIABLES = {
    "AWS_SECRET_ACCESS_KEY": "/wJalrXUtnFEMI/K7MDENG+bPxRfiCY",
    "OPENAI_KEY": "sk-openai-1234567890",
    "PORTKEY_VIRTUAL_KEY": "virtual-1234567890",
    "GITHUB_PAT": "ghp_1234567890",
    "MODAL_TOKEN_ID": "ak-modal-123456",
    "HF_TOKEN": "hf_token-123456",
    "PGPASSWORD": "correct horse battery",
    "DATABASE_URL": "postgres://user:pw12345678@host/db",
    "SERVICE_CREDENTIALS": '{"private": "-----BEGIN\\nMIIEvQIBADANBgkqhkiG9w0BAQ\\n"}',
    "OTHER_API_KEYS": 'with "quotes" and \\ and \n a line',
}
PLAIN = {
    "KEYBOARD": "an-ordinary-layout-12",
    "MONKEY_PATTERN": "ordinary-pattern-12",
    "TOKENIZERS_PARALLELISM": "rather-not-123",
    "POSTGRES_PASSWORD": "postgres",
    "AUTH_KEY_FILE": "secrets/file-12345",
    "USE_AUTH": "enabled",
    "MAX_TOKENS_KEY": "1234567890",
}
PROGRAM = """
import sys
from rlm import RLM, RLMLogger
from rlm.testing import ScriptedClient
folder = sys.argv[1]
code = "```repl\\nimport os\\nprint(dict(os.environ))\\nprint(*os.environ.values(), sep='|')\\n```"
client = ScriptedClient([code, "```repl\\nFINAL(1)\\n```"])
options = {"checkpoint": f"{folder}/run", "logger": RLMLogger(log_dir=f"{folder}/log"), "cache": f"{folder}/cache"}
RLM(backend=client, **options).completion("c", "q")
"""


def written(folder: Path) -> str:
    """All that is in the files below a directory, as text."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return "\n".join(path.read_bytes().decode("utf-8", "replace") for path in files)


def test_no_key_of_the_environment_is_written_and_nothing_else_is_hidden(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        env=command_line.environment(**VARIABLES, **PLAIN),
        capture_output=True,
        text=True,
        timeout=command_line.DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = written(tmp_path)
    parts = ["pw12345678", "MIIEvQIBADANBgkqhkiG9w0BAQ", "horse battery", "a line"]
    values = [form for value in VARIABLES.values() for form in (value, repr(value)[1:-1], json.dumps(value)[1:-1])]
    assert [form for form in [*values, *parts] if form in text or json.dumps(form)[1:-1] in text] == []
    assert [name for name, value in PLAIN.items() if value not in text] == []


GIVEN: dict[str, dict[str, Any]] = {
    "api_key": {"backend_kwargs": {"api_key": KEY}},
    "a header": {"backend_kwargs": {"default_headers": {"x-portkey-virtual-key": KEY}}},
    "a header of any name": {"backend_kwargs": {"default_headers": {"x-my": KEY}}},
    "a scheme": {"backend_kwargs": {"default_headers": {"Authorization": f"Bearer {KEY}"}}},
    "a query": {"backend_kwargs": {"default_query": {"key": KEY}}},
    "sampling": {"sampling_args": {"extra_headers": {"x-api-key": KEY}}},
    "the environment of cells": {"environment": "process", "environment_kwargs": {"env": {"SEARCH_API_KEY": KEY}}},
}


@pytest.mark.parametrize("given", GIVEN.values(), ids=list(GIVEN))
def test_no_key_that_was_given_is_written(given: dict[str, Any], tmp_path: Path, lm_server: Start) -> None:
    def answer(request: Request) -> str:
        return code(f"print('{KEY}')\nprint(llm_query('{KEY}')); FINAL(1)") if command_line.is_root(request) else KEY

    kwargs = {"model_name": "m", "base_url": lm_server(answer).openai_base_url, "api_key": "another-key-1"}
    options = {**given, "backend_kwargs": {**kwargs, **given.get("backend_kwargs", {})}}
    files = {"checkpoint": tmp_path / "run", "logger": RLMLogger(log_dir=tmp_path / "log"), "cache": tmp_path / "cache"}
    with RLM(backend="openai", **options, **files) as rlm:
        rlm.completion(f"context with {KEY}", f"question with {KEY}")
    assert KEY not in written(tmp_path)
    assert "asterisks" not in written(tmp_path)
    assert "*" * len(KEY) in journal_of(tmp_path / "run").read_text()


def test_a_key_in_bytes_that_a_tool_returns_is_not_written(tmp_path: Path) -> None:
    def leak(size: int) -> list[object]:
        """Gives the key away."""
        return [KEY.encode() + b"x" * size, KEY + "\ud800"]

    options: dict[str, Any] = {
        "environment": "process",
        "environment_kwargs": {"env": {"SEARCH_API_KEY": KEY}},
        "custom_tools": {"leak": leak},
        "checkpoint": tmp_path,
    }
    script = [code("FINAL([len(leak(3)[0]), len(leak(70000)[0])])")]
    first = RLM(backend=ScriptedClient(script), **options).completion("c", "q")
    tools = [r for r in map(json.loads, journal_of(tmp_path).read_text().splitlines()) if r.get("type") == "tool"]
    assert len(tools) == 2
    assert KEY not in str(tools)
    for encoded in (KEY.encode().hex(), "U0VLUkVULWFiYy0xMjM0NTY3OA"):
        assert encoded not in str(tools)
    again = RLM(backend=ScriptedClient([]), **options).completion("c", "q")
    assert first.value == again.value == [len(KEY) + 3, len(KEY) + 70_000]


@pytest.mark.parametrize(("before", "now"), [(KEY, "another-key-1"), ("another-key-1", KEY)], ids=["gone", "new"])
def test_a_run_is_gone_on_with_when_another_key_is_in_reach(
    before: str, now: str, tmp_path: Path, lm_server: Start
) -> None:
    """Also where the key is in a request, a reply, a child's context, a tool's arguments."""

    def answer(request: Request) -> str:
        if not command_line.is_root(request):
            return f"about {request.text}"
        sources = [
            "said = llm_query(context)\nprint(said)",
            "told = [note({'text': context}), rlm_query('inner', context=[context])]\nprint(told)",
            "FINAL(len(str(said)))",
        ]
        inner = any(text.startswith("inner") for _, text in request.messages)
        return code("FINAL(llm_query(context[0]))" if inner else sources[command_line.turns(request)])

    server = lm_server(answer)

    def run(key: str, **options: Any) -> Any:
        kwargs = {"model_name": "m", "base_url": server.openai_base_url, "api_key": key}
        rlm = RLM(backend="openai", backend_kwargs=kwargs, max_depth=2, custom_tools={"note": len}, **options)
        with rlm:
            return rlm.completion(f"text with {KEY} in it", "q")

    first = run(before, checkpoint=tmp_path)
    asked = len(server.requests)
    again, replayed = run(now, checkpoint=tmp_path), run(now, replay=tmp_path)
    assert first.value == again.value == replayed.value == len(f"about text with {KEY} in it")
    assert (again.divergences, len(server.requests)) == ((), asked)


def test_nothing_of_a_key_can_be_guessed_from_a_journal(tmp_path: Path) -> None:
    """Not from a digest either: runs that differ in nothing but the key leave the same journal."""

    def journal(key: str) -> str:
        cell = "a = [note({'text': text}), llm_query(text), rlm_query(text, context=[text, text.encode()])]\nprint(a)"
        script = [code(cell), f"about {key}", code("FINAL(context[0])"), code("FINAL(text)")]
        rlm = RLM(
            backend=ScriptedClient(script),
            environment="process",
            environment_kwargs={"env": {"PASSWORD": key}},
            max_depth=2,
            custom_tools={"note": str, "text": f"text with {key}"},
            checkpoint=tmp_path / key,
        )
        rlm.completion({key: f"context with {key}"}, f"question with {key}")
        lines = map(json.loads, journal_of(tmp_path / key).read_text().splitlines())
        told = [line for line in lines if line.get("type") != "fact"]  # which are times
        records = [{name: value for name, value in line.items() if name != "created"} for line in told]
        return json.dumps(records, indent=1).replace(next(r["run"] for r in records if "run" in r), "RUN")

    assert journal("one password") == journal("another pass")


def test_a_request_that_differs_in_more_than_a_key_is_another(tmp_path: Path) -> None:
    def run(text: str, **options: Any) -> RLM:
        kwargs = {"env": {"SEARCH_API_KEY": KEY}} if "checkpoint" in options else {}
        client = ScriptedClient([code("FINAL(llm_query(text))"), "reply"])
        tools = {"custom_tools": {"text": text}}
        return RLM(backend=client, environment="process", environment_kwargs=kwargs, **tools, **options)

    run(f"use {KEY} here", checkpoint=tmp_path).completion("c", "q")
    assert run(f"use {KEY} here", replay=tmp_path).completion("c", "q").response == "reply"
    with pytest.raises(Exception, match="not recorded"):
        run(f"use {KEY} now!", replay=tmp_path).completion("c", "q")
    with pytest.raises(Exception, match="not recorded"):
        run(f"use {KEY[:-1]} here", replay=tmp_path).completion("c", "q")


NAMES = "api_key apiKey X-Api-Key OPENAI_API_KEY2 AWS_SESSION_TOKEN clientSecret DB_PWD SMTP_PASS AZURE_EXT_PAT key"
NAMES += " Authorization Cookie --token REDISCLI_AUTH GPG_PASSPHRASE MYAPIKEY PGPASSWORD GOOGLE_APPLICATION_CREDENTIALS"
LIKE = (
    "PATH PATTERN KEYBOARD MONKEY TURKEY TOKENIZERS_PARALLELISM PWD OLDPWD max_tokens BYPASS COMPASS author keymap ---"
)
LIKE += " TOKEN_URL API_KEY_HEADER SECRET_NAME KEY_FILE"


@pytest.mark.parametrize("name", NAMES.split())
def test_a_name_with_a_word_for_keys_is_a_keys_name(name: str) -> None:
    assert secret_name(name)


@pytest.mark.parametrize("name", ["", *LIKE.split()])
def test_a_name_that_is_only_like_one_is_not(name: str) -> None:
    assert not secret_name(name)


@pytest.mark.parametrize(
    "value",
    ["short1", "true", "postgres", "Required", "DISABLED", "1234567890", "2026-11-25", "https://a.b/c1", "/etc/passwd"],
)
def test_a_value_that_would_be_everywhere_is_no_key(value: str) -> None:
    assert not is_key(value)


def test_keys_are_found_in_the_words_of_a_command() -> None:
    words = [
        "-e",
        "SEARCH_KEY=first-key-1",
        "--env=OTHER_TOKEN=second-key-2",
        "--password",
        "third key",
        "-H",
        "x-key: 4th-key-4",
    ]
    assert secrets_of({"extra_args": words}) == {"first-key-1", "second-key-2", "third key", "4th-key-4"}


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("serve --token abc --zone UTC", "serve --token … --zone UTC"),
        ("API_KEY=abc serve --password=xyz 'a b'", "API_KEY=… serve --password=… a b"),
        (
            "npx remote https://h/x --header 'Authorization: Bearer abc'",
            "npx remote https://h/x --header Authorization: …",
        ),
        ("serve sk-0123456789abcdef /opt/server-2/main.py", "serve … /opt/server-2/main.py"),
        ("https://user:abc@tools.example/s/0123456789abcdef/mcp?key=abc", "https://tools.example/s/…/mcp?…"),
        ("serve 'unclosed", "serve 'unclosed"),
    ],
)
def test_a_command_is_told_without_its_keys(command: str, shown: str) -> None:
    assert shown_command(command) == shown


def test_a_line_stays_json_where_its_escapes_look_like_a_key() -> None:
    masks = Masks(["nvapi-1234567", "u00e9-abcdefgh"])
    record = {"text": "one\nvapi-1234567 é-abcdefgh", "nvapi-1234567": ["nvapi-1234567", {"$": "bytes", "v": "?"}]}
    line = masks.line(json.dumps(record, separators=(",", ":")))
    assert json.loads(line) == {"text": record["text"], "*" * 13: ["*" * 13, {"$": "bytes", "v": "?"}]}


def test_asterisks_are_as_many_as_the_characters_they_stand_for() -> None:
    masks = Masks(["abcdefgh12", "abcdefgh", "short"])
    text = "1 abcdefgh12 2 abcdefgh 3 abcdefghabcdefgh short"
    hidden = "1 ********** 2 ******** 3 **************** short"
    assert masks.text(text) == hidden
    assert "".join("*" if any(a <= i < b for a, b in masks.spans(text)) else c for i, c in enumerate(text)) == hidden
    assert masks.data(text.encode()) == hidden.encode()
