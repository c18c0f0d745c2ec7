"""Who may ask the local server what."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from rlm.trajectory import TrajectoryWriter
from rlm.viewer import Server
from viewer.logs import MadeUpRun, write


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "logs"
    folder.mkdir()
    for name in ("one", "two"):
        made = MadeUpRun()
        write(folder / f"{name}.jsonl", [made.started(), *made.turn(0), made.finished()])
    write(tmp_path / "secret.jsonl", [MadeUpRun().started("a secret?")])
    (folder / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    with Server(folder) as running:
        yield running


def ask(server: Server, path: str, host: str | None = None, method: str = "GET") -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=True)
        if host != "":
            connection.putheader("Host", host or f"127.0.0.1:{server.port}")
        connection.endheaders()
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def api(server: Server, what: str, **query: object) -> Any:
    response, body = ask(server, f"/{server.token}/api/{what}?{urlencode(query)}")
    assert response.status == 200, body
    return json.loads(body)


def test_it_lists_runs_and_gives_rows_records_hits_and_evidence(server: Server) -> None:
    listed = api(server, "runs")
    assert [run["file"] for run in listed["runs"]] == ["two.jsonl", "one.jsonl"]
    rows = api(server, "rows", file="one.jsonl", **{"from": 0})
    assert rows["summary"]["status"] == "answered"
    assert [row[0] for row in rows["rows"]] == list("RTPCDEZ")
    assert api(server, "records", file="one.jsonl", lines="2,3,99")["99"] is None
    assert api(server, "search", file="one.jsonl", **{"for": "I SHALL look"})["lines"] == [4]
    assert api(server, "evidence", file="one.jsonl")["calls"] == 0


@pytest.mark.parametrize("host", ["", "evil.example", "127.0.0.1", "localhost:1", "127.0.0.1.evil.example"])
def test_a_request_under_another_name_is_refused(server: Server, host: str) -> None:
    response, body = ask(server, f"/{server.token}/", host=host)
    assert response.status in (400, 421)
    assert b"<script" not in body


def test_a_request_without_the_key_is_refused(server: Server) -> None:
    for path in ("/", "/api/runs", "/x/api/runs", f"/{server.token[:-1]}/api/runs", "//api/runs", f"/{server.token}x/"):
        response, body = ask(server, path)
        assert response.status == 403, path
        assert b"one.jsonl" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_only_get_is_answered(server: Server, method: str) -> None:
    response, _ = ask(server, f"/{server.token}/", method=method)
    assert response.status == 501


@pytest.mark.parametrize(
    "name", ["../secret.jsonl", "link.jsonl", "/etc/passwd", "one.jsonl/../../secret.jsonl", "", "\x00", "ONE.jsonl"]
)
def test_no_file_is_served_but_those_that_were_given(server: Server, name: str) -> None:
    response, body = ask(server, f"/{server.token}/api/rows?{urlencode({'file': name, 'from': 0})}")
    assert response.status == 404
    assert b"secret" not in body


@pytest.mark.parametrize(
    "path", ["api/records?file=one.jsonl&lines=x", "api/rows?file=one.jsonl&from=-1", "api/nothing?file=one.jsonl",
             "api/rows?file=one.jsonl", "static/app.js", "api/", "api/runs/", "api/rows?file=one.jsonl&from=999999"]
)  # fmt: skip
def test_what_is_not_there_is_not_found(server: Server, path: str) -> None:
    response, _ = ask(server, f"/{server.token}/{path}")
    assert response.status == 404


def test_the_page_may_load_nothing_and_may_not_be_framed(server: Server) -> None:
    response, body = ask(server, f"/{server.token}/")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert b"http://" not in body.replace(b"http://www.w3.org", b"")
    assert b"https://" not in body


def test_it_listens_on_this_machine_only(server: Server) -> None:
    assert server._http.socket.getsockname()[0] == "127.0.0.1"


def test_a_file_that_is_no_trajectory_is_listed_as_such(server: Server) -> None:
    (server.library.path / "zz.jsonl").write_text("hello\n")
    runs = api(server, "runs")["runs"]
    assert (runs[0]["file"], runs[0]["status"]) == ("zz.jsonl", "unreadable")


def test_a_file_that_vanishes_leaves_the_list(server: Server) -> None:
    assert len(api(server, "runs")["runs"]) == 2
    os.unlink(server.library.path / "one.jsonl")
    assert [run["file"] for run in api(server, "runs")["runs"]] == ["two.jsonl"]


def test_twenty_readers_of_a_log_that_grows_each_get_every_row_once(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    made = MadeUpRun()
    turns = 50
    with TrajectoryWriter(path) as writer, Server(path) as server, ThreadPoolExecutor(20) as pool:
        writer(made.started())

        def follow() -> list[int]:
            lines: list[int] = []
            while True:
                found = api(server, "rows", file="run.jsonl", **{"from": len(lines)})
                lines += [row[1] for row in found["rows"]]
                assert found["next"] == len(lines)
                assert found["damaged"] == 0
                if found.get("summary", {}).get("status") == "answered":
                    return lines

        readers = [pool.submit(follow) for _ in range(20)]
        for turn in range(turns):
            for event in made.turn(turn, calls=tuple(made.call("p" * 300, "r", turn))):
                writer(event)
        writer(made.finished())
        for reader in readers:
            assert reader.result(timeout=100) == list(range(2, 2 + 7 * turns + 2))
