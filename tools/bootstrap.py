"""Sets up `.venv` inside the checkout with the standard library alone: `python3 tools/bootstrap.py [LEVEL]`.

Works where Debian left out `ensurepip` and `pip`, changes nothing outside the checkout, and does nothing (and needs no
network) when what was asked for is there already. Make's targets call it.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import tomllib
import urllib.parse
import urllib.request
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
PYPROJECT = ROOT / "pyproject.toml"
CONSTRAINTS = ROOT / "tools" / "constraints.txt"

PIP_WHEEL = "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"

# "run" is the library; the others add a dependency group.
LEVELS = {"run": None, "docs": "docs", "test": "test", "dev": "dev"}
INCLUDED = {
    "run": ("run", "docs", "test", "dev"),
    "docs": ("docs", "test", "dev"),
    "test": ("test", "dev"),
    "dev": ("dev",),
}


class BootstrapError(Exception):
    """Setting up failed; the message says what to do."""


def main(level: str) -> None:
    # Two makes at once take turns; this file is the lock because it is sure to exist.
    with open(__file__, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if any(stamp(name).is_file() and stamp(name).read_text() == state() for name in INCLUDED[level]):
            return
        make_venv()
        make_pip()
        say(f"installing what `{level}` needs, at the versions of tools/constraints.txt …")
        pip("install", "--quiet", "--constraint", str(CONSTRAINTS), *requirements(level), "--editable", str(ROOT))
        stamp(level).write_text(state())
        say(f"ready: {VENV}")


def stamp(level: str) -> Path:
    return VENV / f".rlm-{level}"


def state() -> str:
    """What an installation depends on: the declared requirements, and the place, because a venv cannot be moved."""
    declared = tomllib.loads(PYPROJECT.read_text())
    declared.pop("tool", None)  # how the linters are set up changes nothing that is installed
    digest = hashlib.sha256(json.dumps(declared).encode() + CONSTRAINTS.read_bytes()).hexdigest()
    return json.dumps({"requirements": digest, "root": str(ROOT)})


def make_venv() -> None:
    moved = any(json.loads(s.read_text()).get("root") != str(ROOT) for s in VENV.glob(".rlm-*"))
    check = "import sys, sysconfig; sys.exit(sys.version_info < (3, 11))"
    if not moved and PYTHON.exists() and subprocess.run([PYTHON, "-I", "-c", check], check=False).returncode == 0:
        return
    say(f"making {VENV} with Python {sys.version.split()[0]} ({sys.executable})")
    # --without-pip: Debian's venv refuses to work at all without ensurepip, unless pip is not asked for.
    made = run([sys.executable, "-I", "-m", "venv", "--clear", "--without-pip", str(VENV)])
    if made != 0:
        raise BootstrapError("python -m venv failed (above). On Debian and Ubuntu: apt install python3.11-venv")


def make_pip() -> None:
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
    if subprocess.run([PYTHON, "-I", "-m", "pip", "--version"], **quiet).returncode == 0:
        return
    if subprocess.run([PYTHON, "-I", "-m", "ensurepip", "--default-pip"], **quiet).returncode == 0:
        return
    say(f"this Python has no ensurepip: fetching {PIP_WHEEL}")
    with tempfile.TemporaryDirectory(dir=VENV) as folder:
        wheel = Path(folder, PIP_WHEEL)
        wheel.write_bytes(fetch_pip())
        # A wheel of pip runs itself from inside its own archive.
        if run([str(PYTHON), "-I", f"{wheel}/pip", "install", "--quiet", "--no-index", *OPTIONS, str(wheel)]) != 0:
            raise BootstrapError("the fetched pip could not install itself (above)")


OPTIONS = ("--no-input", "--disable-pip-version-check", "--no-cache-dir")


def pip(command: str, *arguments: str) -> None:
    if run([str(PYTHON), "-I", "-m", "pip", command, *OPTIONS, *arguments]) != 0:
        raise BootstrapError(
            "pip could not install what is needed (above). Without a way to PyPI, name your index and proxy: "
            "PIP_INDEX_URL, HTTPS_PROXY, PIP_CERT. Nothing outside the checkout was changed; run make again."
        )


def requirements(level: str) -> list[str]:
    """The dependency group's requirements, read here because pip knows `--group` only from 25.1 on."""
    groups = tomllib.loads(PYPROJECT.read_text())["dependency-groups"]

    def members(name: str) -> list[str]:
        return [r for e in groups[name] for r in (members(e["include-group"]) if isinstance(e, dict) else [e])]

    group = LEVELS[level]
    return members(group) if group else []


def fetch_pip() -> bytes:
    index = index_url().rstrip("/")
    page_url = f"{index}/pip/"
    if page_url.startswith("file:"):
        page_url += "index.html"
    page = fetch(page_url).decode("utf-8", "replace")
    link = re.search(rf"""href=["']([^"']*{re.escape(PIP_WHEEL)}[^"']*)["']""", page)
    if link is None:
        raise BootstrapError(f"{page_url} does not list {PIP_WHEEL}; name another index in PIP_INDEX_URL")
    wheel = fetch(urllib.parse.urljoin(page_url, link[1].replace("&amp;", "&")))
    if hashlib.sha256(wheel).hexdigest() != PIP_SHA256:
        raise BootstrapError(f"what the index sent as {PIP_WHEEL} has another sha256 than the one in {__file__}")
    return wheel


def index_url() -> str:
    """The index pip would use: its environment variable, its configuration files, PyPI."""
    if url := os.environ.get("PIP_INDEX_URL"):
        return url
    home = os.environ.get("HOME", "/nonexistent")
    config = os.environ.get("XDG_CONFIG_HOME", f"{home}/.config")
    files = ["/etc/pip.conf", f"{home}/.pip/pip.conf", f"{config}/pip/pip.conf", os.environ.get("PIP_CONFIG_FILE", "")]
    found = ConfigParser(interpolation=None, strict=False)
    try:
        found.read([f for f in files if f])
    except ConfigParserError as error:
        raise BootstrapError(f"pip's configuration cannot be read: {error}") from error
    return found.get("global", "index-url", fallback="https://pypi.org/simple")


def fetch(url: str) -> bytes:
    parts = urllib.parse.urlsplit(url)
    credentials = None
    if parts.username is not None:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        credentials = "Basic " + base64.b64encode(pair.encode()).decode()
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    variables = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
    bundle = next((os.environ[name] for name in variables if os.environ.get(name)), None)
    request = urllib.request.Request(url, headers={"Accept": "text/html, */*;q=0.1"})
    if credentials:
        request.add_unredirected_header("Authorization", credentials)
    context = ssl.create_default_context(cafile=bundle)
    try:
        return read(request, context)
    except OSError as error:
        reason = getattr(error, "reason", error)
        if not isinstance(reason, ssl.SSLCertVerificationError) or credentials:
            how = "Set PIP_INDEX_URL, HTTPS_PROXY or PIP_CERT"
            raise BootstrapError(f"{url} cannot be fetched: {reason}. {how}") from error
    # A machine without ca-certificates. The sha256 in this file is what is trusted, whoever sent the bytes; pip, once
    # here, brings certificates of its own.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return read(request, context)


def read(request: urllib.request.Request, context: ssl.SSLContext) -> bytes:
    with urllib.request.urlopen(request, timeout=60, context=context) as response:
        body: bytes = response.read()
    return body


def run(argv: list[str]) -> int:
    # These would send the installation elsewhere than the venv.
    drop = {"PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PYTHONHOME", "PYTHONPATH"}
    environment = {name: value for name, value in os.environ.items() if name not in drop}
    return subprocess.run(argv, env=environment, check=False).returncode


def say(text: str) -> None:
    print(f"bootstrap: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    wanted = sys.argv[1] if len(sys.argv) > 1 else "dev"
    if wanted not in LEVELS:
        sys.exit(f"usage: {sys.argv[0]} [{'|'.join(LEVELS)}]")
    try:
        main(wanted)
    except BootstrapError as error:
        sys.exit(f"bootstrap: {error}")
    except KeyboardInterrupt:
        sys.exit("bootstrap: interrupted; run it again, it starts where it can")
