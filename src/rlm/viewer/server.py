"""The page over HTTP, for the person at this machine only.

Bound to 127.0.0.1, answers GET, and only requests that name this server as their host (a page elsewhere could point a
name of its own at it) and carry its random token in the path. What it reads are the files it was given.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

from rlm.errors import TrajectoryError
from rlm.viewer.evidence import evidence_in
from rlm.viewer.export import state
from rlm.viewer.library import Library
from rlm.viewer.log import DAMAGE, Log
from rlm.viewer.page import content_policy, page
from rlm.viewer.search import search

ROWS_AT_ONCE: Final = 50_000
LINES_AT_ONCE: Final = 200


class Server:
    """Serves a file or a directory of them while it is entered; `url` opens it."""

    def __init__(self, path: Path, port: int = 0) -> None:
        self.token = secrets.token_urlsafe(24)
        self.library = Library(path)
        self._http = _HTTPServer(("127.0.0.1", port), _Handler)
        self._http.viewer = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="rlm-viewer", daemon=True)

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{self.token}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def answer(self, what: str, query: Mapping[str, str]) -> bytes:
        """The JSON of one question of the page.

        Raises:
            KeyError, ValueError, IndexError: there is no such thing.
        """
        if what == "runs":
            if not self.library.is_directory:
                return dumped({"directory": False, "place": "", "runs": [{"file": self.library.path.name}]})
            return dumped({"directory": True, "place": self.library.path.name, "runs": self.library.runs()})
        log = self.library.log(query["file"])
        match what:
            case "rows":
                return rows_of(log, int(query["from"]))
            case "records":
                lines = [int(line) for line in query["lines"].split(",")][:LINES_AT_ONCE]
                return dumped({line: record(log, line) for line in lines})
            case "search":
                return dumped(search(log, query["for"]))
            case "evidence":
                return dumped(evidence_in(log))
            case _:
                raise KeyError(what)


def rows_of(log: Log, begin: int) -> bytes:
    """The rows from a number on; with the last of them comes the summary."""
    with log.lock:
        log.update(most=ROWS_AT_ONCE)
        rows, after = log.rows.json(begin, ROWS_AT_ONCE)
        size = log.path.stat().st_size
        head = {"next": after, "share": round(log.size / max(1, size), 3), **state(log)}
        head["more"] = after < len(log.rows) or (size > log.size and not log.torn)
        if not head["more"]:
            head["summary"] = log.summary.to_dict()
    return dumped(head)[:-1] + b',"rows":' + rows.encode() + b"}"


def record(log: Log, line: int) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = log.record(line)
    except DAMAGE:
        return None
    return found


def dumped(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    viewer: Server


class _Handler(BaseHTTPRequestHandler):
    server_version = "rlm"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 60.0

    def do_GET(self) -> None:
        assert isinstance(self.server, _HTTPServer)
        viewer = self.server.viewer
        hosts = (f"127.0.0.1:{viewer.port}", f"localhost:{viewer.port}")
        if self.headers.get_all("Host", []) not in ([host] for host in hosts):
            self.refuse(HTTPStatus.MISDIRECTED_REQUEST, "this server answers to its own name only")
            return
        url = urlsplit(self.path)
        _, token, *rest = url.path.split("/")
        if not secrets.compare_digest(token.encode(), viewer.token.encode()):
            self.refuse(HTTPStatus.FORBIDDEN, "open the address that `rlm view` printed: it holds a key")
            return
        match rest:
            case [""]:
                self.reply(page(), "text/html; charset=utf-8")
            case ["api", what]:
                try:
                    body = viewer.answer(what, dict(parse_qsl(url.query, errors="surrogatepass")))
                except (KeyError, ValueError, IndexError):
                    self.refuse(HTTPStatus.NOT_FOUND, "there is nothing of that name")
                except (TrajectoryError, OSError) as error:
                    self.refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
                else:
                    self.reply(body, "application/json")
            case _:
                self.refuse(HTTPStatus.NOT_FOUND, "there is nothing of that name")

    def refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True
        self.reply(f"{why}\n".encode("utf-8", "replace"), "text/plain; charset=utf-8", status)

    def reply(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": content_policy(served=True) + "; frame-ancestors 'none'",
            "Cache-Control": "no-store",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the browser went on to something else

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the overridden one
        """Requests are not printed: the terminal is the person's."""
