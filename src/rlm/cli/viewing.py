"""`rlm view`: trajectory files in the browser, served to this machine only, or written as one self-contained page."""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path

from rlm.cli import exits
from rlm.cli.terminal import say, watched, write
from rlm.errors import TrajectoryError
from rlm.viewer import Log, Server, export


def only_log(folder: Path) -> Path:
    """The one log in a directory.

    Raises:
        LookupError: there is none, or there are several; names the newest.
    """
    logs = [path for path in folder.glob("*.jsonl") if path.is_file()]
    if not logs:
        raise LookupError(f"there is no *.jsonl in {folder}")
    if len(logs) > 1:
        newest = max(logs, key=lambda path: path.stat().st_mtime_ns)
        raise LookupError(
            f"--export writes one run, and {folder} has {len(logs)}: name its file; the newest is {newest}"
        )
    return logs[0]


def export_page(log: Path, page: Path) -> int:
    """Write one run as a page; gives the exit code."""
    try:
        export(log, page)
    except (TrajectoryError, OSError) as error:
        say(f"rlm: {error}")
        return exits.FAILED
    say(f"{page} holds the whole run; it opens in any browser and asks nobody")
    return exits.ANSWERED


def serve(path: Path, *, port: int, browser: bool) -> int:
    """Serve until Ctrl-C; gives the exit code."""
    try:
        if not path.is_dir():
            Log(path)
        server = Server(path, port)
    except (TrajectoryError, OSError) as error:
        say(f"rlm: {error}")
        return exits.FAILED
    with server:
        write(server.url)
        say("Only this machine can open it. Ctrl-C ends it.")
        if browser:
            # Some browsers only return when they are closed.
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            if watched():
                say("")  # after the terminal's own ^C
    return exits.ANSWERED
