"""A virtual environment for each cloud's SDK, because the SDKs disagree about what they need; made once, then kept.

As a program (`make clouds`) it makes those of all, or of the clouds it is told.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VENVS = ROOT / ".venvs"
CLOUDS = tuple(sorted(file.stem for file in HERE.glob("*.txt")))
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input")
PATIENCE = 100.0
LIVE_PATIENCE = 400.0
"""Seconds for one case; each has a deadline of its own that is shorter."""
KEYS = {
    "modal": ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"),
    "e2b": ("E2B_API_KEY",),
    "daytona": ("DAYTONA_API_KEY",),
    "prime": ("PRIME_API_KEY",),
}
"""What lets a program into the real clouds; given to it in the live suite only."""


class MissingError(Exception):
    """The environment of an SDK cannot be had; the text is why."""


def python(cloud: str) -> Path:
    """The interpreter that has the SDK of a cloud, at the versions of `CLOUD.txt`. Needs the network once."""
    found = _found(cloud)
    if isinstance(found, MissingError):
        raise found
    return found


@functools.cache  # what cannot be had is not tried again for each test
def _found(cloud: str) -> Path | MissingError:
    try:
        return _made(cloud)
    except MissingError as error:
        return error


def _made(cloud: str) -> Path:
    home, wanted = VENVS / cloud, HERE / f"{cloud}.txt"
    interpreter, stamp = home / "bin" / "python", home / "ready"
    state = json.dumps([str(ROOT), sys.version, hashlib.sha256(wanted.read_bytes()).hexdigest()])
    with open(wanted, "rb") as lock:  # two workers at once take turns; this file is sure to exist
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == state:
            return interpreter
        print(f"clouds: installing the SDK of {cloud} in {home.relative_to(ROOT)} …", file=sys.stderr, flush=True)
        # Without pip, which Debian's venv may lack; ours installs into it from outside.
        _run([sys.executable, "-I", "-m", "venv", "--clear", "--without-pip", str(home)])
        pip = [sys.executable, *PIP, "--python", str(interpreter), "install", "--quiet", "--retries", "1"]
        pip += ["--no-compile"]  # Python compiles what is imported, which is a tenth of it
        _run([*pip, "--requirement", str(wanted)])
        stamp.write_text(state)
    return interpreter


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in said if "ERROR" in line] or said
        raise MissingError(errors[-1][:300] if errors else f"{argv[0]} failed")


def variables() -> dict[str, str]:
    """What a program in such an environment is started with: our sources, and no key of whoever runs the tests."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "CI") if name in os.environ}
    return {**kept, "PYTHONPATH": f"{ROOT}/src:{ROOT}/tests", "OPENAI_API_KEY": "sk-of-the-host"}


class Inner:
    """The program `inner.py` beside a fake, or over the real cloud; started when the first case is asked for, and again
    when one hung."""

    def __init__(self, cloud: str, *, live: bool = False) -> None:
        self.cloud = cloud
        self.live = live
        self._process: subprocess.Popen[bytes] | None = None

    def problem(self, case: str) -> str:
        """What was wrong in a case; "" when nothing was."""
        if self._process is None:
            argv = [python(self.cloud), "-W", "error::ResourceWarning", "-u", HERE / "inner.py", self.cloud]
            env = variables()
            if self.live:
                argv.append("live")
                env.update((name, os.environ[name]) for name in KEYS[self.cloud])
            self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, cwd=ROOT)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(case).encode() + b"\n")
        self._process.stdin.flush()
        answer = b""
        until = time.monotonic() + (LIVE_PATIENCE if self.live else PATIENCE)
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))
            data = os.read(self._process.stdout.fileno(), 1 << 16) if ready else b""
            if not data:
                status = self._process.poll()
                self.close(kill=True)
                return "the case never came to an end" if status is None else f"the program ended, {status}"
            answer += data
        return str(json.loads(answer))

    def close(self, *, kill: bool = False) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with process:
            if kill:
                process.kill()


if __name__ == "__main__":
    for name in sys.argv[1:] or CLOUDS:
        try:
            print(f"clouds: {name}: {python(name).relative_to(ROOT)}")
        except MissingError as error:
            sys.exit(f"clouds: {name}: {error}")
