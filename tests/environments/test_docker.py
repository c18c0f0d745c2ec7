"""Containers: what the engine is told, what it says when it fails, and that none is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import containers
from rlm import RLM
from rlm.environments import docker
from rlm.environments._docker_client import LABEL, origin
from rlm.errors import ConfigurationError, RLMError, SetupError
from rlm.testing.conformance import ScriptedHost

needs_engine = pytest.mark.needs("docker engine")
HOST = """
import asyncio, sys
from rlm.environments import docker
from rlm.environments._docker_client import origin
from rlm.testing.conformance import ScriptedHost

async def main():
    async with docker.create(image=sys.argv[1]).open() as session:
        print(origin(), flush=True)
        await session.execute(sys.argv[2], ScriptedHost())

asyncio.run(main())
"""


def opened(environment: docker.DockerEnvironment, *cells: str, **bound: object) -> list[Any]:
    """The values of expressions, each as a cell of one session."""

    async def run() -> list[Any]:
        values = []
        async with environment.open() as session:
            for name, value in bound.items():
                await session.bind(name, value)
            for cell in cells:
                done = await session.execute(cell if "\n" in cell else f"FINAL({cell})", ScriptedHost())
                assert done.error is None, done.error.traceback
                values.append(done.answer)
        return values

    return asyncio.run(run())


def refusal(**settings: Any) -> str:
    with pytest.raises(SetupError) as caught:
        opened(docker.create(**settings), "1")
    return str(caught.value)


def here(*words: str) -> list[str]:
    """Lines of a command of the engine's."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split()


def comes_true(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def script(folder: Path, text: str) -> str:
    """An engine's command of the test's own."""
    path = folder / "engine"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_the_sample_of_the_documentation_constructs_where_there_is_no_engine() -> None:
    RLM(backend="openai", backend_kwargs={"model_name": "m"}, environment="docker", environment_kwargs={"image": "i"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"image": ""},
        {"image": "--privileged"},
        {"network": "--privileged"},
        {"user": 0},
        {"memory": 512},
        {"cpus": 0},
        {"cpus": True},
        {"pids_limit": -1},
        {"pids_limit": 1.5},
        {"mounts": "/a:/b"},
        {"mounts": {"/a": ""}},
        {"mounts": {"/a:/c": "/b"}},
        {"mounts": {"/a": "/rlm"}},
        {"mounts": ["/a:/rlm/x"]},
        {"extra_args": "--privileged"},
        {"env": {"A": 1}},
        {"env": {"A=B": "1"}},
        {"env": {"": "1"}},
        {"cell_timeout": 0},
        {"startup_timeout": None},
    ],
    ids=str,
)
def test_a_wrong_value_fails_at_construction_and_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        docker.create(**wrong)


def test_a_missing_command_says_what_to_install() -> None:
    said = refusal(engine="no-such-engine")
    assert "no-such-engine" in said
    assert "install" in said


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("docker: permission denied while trying to connect to the Docker daemon socket at unix:///x.", "usermod"),
        ("docker: Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", "systemctl"),
        ("Error: unable to connect to Podman socket: dial tcp: connect: connection refused", "DOCKER_HOST"),
        ("docker: Error response from daemon: pull access denied for x, repository does not exist", "pull"),
        ("docker: Error response from daemon: unknown or invalid runtime name: x.", "runtime"),
        ("a thing that nobody foresaw", "could not run"),
    ],
)
def test_what_the_engine_says_is_in_the_error_with_what_to_do(tmp_path: Path, words: str, advice: str) -> None:
    said = refusal(engine=script(tmp_path, f"echo '{words}' >&2; exit 125"), image="x")
    assert words in said
    assert advice in said


def test_an_engine_that_talks_without_end_fills_no_memory(tmp_path: Path) -> None:
    said = refusal(engine=script(tmp_path, 'case "$1" in run) head -c 30000000 /dev/zero; exit 125;; esac'))
    assert len(said) < 1_000_000


@needs_engine
def test_an_engine_that_does_not_run_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    containers.found()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    said = refusal()
    assert "start the engine" in said
    assert "none.sock" in said


@needs_engine
def test_an_image_that_is_nowhere_is_named() -> None:
    image = "127.0.0.1:1/no/such:image"
    said = refusal(image=image)
    assert f"docker pull {image}" in said
    assert "refused" in said


@needs_engine
def test_an_image_without_that_python_is_named() -> None:
    said = refusal(image=containers.found()["image"], python="python99")
    assert "has no python99" in said
    assert "executable file not found" in said


@needs_engine
def test_an_option_that_the_engine_does_not_know_is_in_the_error() -> None:
    assert "--no-such-option" in refusal(image=containers.found()["image"], extra_args=["--no-such-option"])
    assert "`runtime`" in refusal(image=containers.found()["image"], runtime="no-such-runtime")


CONFINED = """
import os, socket
status = open("/proc/self/status").read()
def refused(path):
    try:
        open(path, "w").close()
    except OSError as e:
        return type(e).__name__
open("file", "w").write("x")
os.chmod("file", 0o700)
FINAL({
    "user": (os.getuid(), os.getgid()),
    "capabilities": {line.split()[1] for line in status.splitlines() if line.startswith("Cap")},
    "privileges": status.partition("NoNewPrivs:")[2].split()[0],
    "seccomp": status.partition("Seccomp:")[2].split()[0],
    "interfaces": [name for _, name in socket.if_nameindex()],
    "folder": os.getcwd(),
    "root": refused("/new"),
    "exchange": refused("/rlm/new"),
    "device": refused("/dev/new"),
    "process 1": os.access("/proc/1/environ", os.R_OK),
    "variables": dict(os.environ),
})
"""


@needs_engine
@pytest.mark.parametrize("engine", ["docker", pytest.param("podman", marks=pytest.mark.needs("podman"))])
def test_a_container_has_no_rights_no_network_and_one_directory_to_write_in(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:password@proxy")
    monkeypatch.setenv("http_proxy", "http://user:password@proxy")
    (seen,) = opened(containers.create(engine)(), CONFINED)
    assert seen["user"] == (65534, 65534)
    assert seen["capabilities"] == {"0" * 16}
    assert seen["privileges"] == "1"
    assert seen["seccomp"] == "2"
    assert seen["interfaces"] == ["lo"]
    assert seen["folder"] == "/work"
    assert None not in (seen["root"], seen["exchange"], seen["device"])
    assert seen["process 1"] is False
    assert "password" not in str(seen["variables"])


@needs_engine
def test_limits_mounts_and_arguments_arrive(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("given")
    tmp_path.chmod(0o755)
    environment = containers.create("docker")(
        memory="128m",
        pids_limit=40,
        work_size="10m",
        mounts={str(tmp_path): "/data"},
        extra_args=["--hostname", "elsewhere"],
    )
    code = """
import os, socket, threading
made = []
try:
    for n in range(100): made.append(threading.Thread(target=threading.Event().wait, daemon=True)); made[-1].start()
except RuntimeError:
    pass
def write():
    try:
        open("/data/new", "w")
    except OSError as e:
        return str(e)
size = os.statvfs("/work")
FINAL([len(made) < 40, size.f_blocks * size.f_frsize, open("/data/data").read(), write() is None, socket.gethostname()])
"""
    assert opened(environment, code) == [[True, 10 << 20, "given", False, "elsewhere"]]


@needs_engine
@pytest.mark.parametrize("engine", ["docker", pytest.param("podman", marks=pytest.mark.needs("podman"))])
def test_variables_arrive_and_are_in_no_list_of_processes(engine: str) -> None:
    variables = {"MODE": "a 'quoted'\nvalue", "PATH": "/usr/bin:/usr/local/bin", "EMPTY": "", "DOCKER_X": "1"}
    environment = containers.create(engine)(env=variables)
    assert "quoted" not in " ".join(environment.options())
    assert opened(environment, "{k: __import__('os').environ[k] for k in ('MODE', 'PATH', 'EMPTY', 'DOCKER_X')}") == [
        variables
    ]


@needs_engine
@pytest.mark.parametrize("engine", ["docker", pytest.param("podman", marks=pytest.mark.needs("podman"))])
def test_a_large_context_comes_by_the_mounted_directory(engine: str) -> None:
    context = "é\r\n\0\ud800" * 1_000_000 + "end"
    large = b"\xff\0" * 2_000_000
    code = "[context == 'é\\r\\n\\0\\ud800' * 1_000_000 + 'end', large == b'\\xff\\0' * 2_000_000]"
    assert opened(containers.create(engine)(memory="1g"), code, context=context, large=large) == [[True, True]]


@needs_engine
@pytest.mark.parametrize(
    "engine",
    [
        # A remote engine: it has no such directory, and says so; or it makes an empty one.
        'case "$*" in *source=/*) echo "bind source path does not exist: $*" >&2; exit 125;; esac',
        'for w; do shift; case "$w" in *source=/*) w="type=tmpfs,target=/rlm";; esac; set -- "$@" "$w"; done',
    ],
    ids=["refused", "another directory"],
)
def test_where_no_directory_can_be_mounted_the_context_comes_over_the_stream(tmp_path: Path, engine: str) -> None:
    environment = containers.create("docker")(engine=script(tmp_path, f'{engine}\nexec docker "$@"'))
    context = "line\n" * 1_000_000
    assert opened(environment, "[len(context), context[-5:]]", context=context) == [[5_000_000, "line\n"]]


@needs_engine
@pytest.mark.parametrize(
    "cell",
    [
        "1",
        "import time; time.sleep(600)",
        "sum(range(10 ** 14))",
        "import os, signal\nfor n in (1, 2, 3, 13, 15, 17): signal.signal(n, signal.SIG_IGN)\nos.kill(os.getpid(), 19)",
    ],
    ids=["at rest", "asleep", "in C code", "stopped"],
)
def test_a_host_that_is_killed_leaves_no_container_and_no_directory(cell: str, tmp_path: Path) -> None:
    image = str(containers.found()["image"])
    command = [sys.executable, "-c", HOST, image, f"{cell}\nimport time; time.sleep(600)"]
    variables = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables) as host:
        assert host.stdout is not None
        label = host.stdout.readline().strip()
        assert len(here("ps", "-q", "--filter", f"label={LABEL}={label}")) == 1
        assert list(tmp_path.iterdir())
        host.send_signal(signal.SIGKILL)
    assert comes_true(lambda: not here("ps", "-aq", "--filter", f"label={LABEL}={label}"))
    assert comes_true(lambda: not list(tmp_path.iterdir()))


@needs_engine
def test_a_container_whose_host_and_client_are_gone_is_removed_by_the_next_start() -> None:
    image = str(containers.found()["image"])
    machine = origin().partition(".")[0]
    gone = f"{LABEL}={machine}.{2**22 - 1}.1"  # a process that is not there
    other = f"{LABEL}=another.{2**22 - 1}.1"  # nor this, but on another machine
    create = ["create", "--network", "none", image, "python3"]
    (left,), (foreign,) = (here(create[0], "--label", label, *create[1:]) for label in (gone, other))
    try:
        subprocess.run([sys.executable, "-c", HOST, image, "1"], check=True, timeout=60, stdout=subprocess.DEVNULL)
        remaining = here("ps", "-aq", "--no-trunc")
        assert left not in remaining
        assert foreign in remaining
    finally:
        here("rm", "--force", foreign)


@needs_engine
def test_a_container_that_is_killed_fails_the_cell_and_the_session_goes_on() -> None:
    async def run() -> None:
        async with containers.create("docker")().open() as session:
            await session.bind("context", "the context")
            await session.execute("mine = 1", ScriptedHost())
            host = ScriptedHost()
            cell = asyncio.create_task(session.execute("print('begun')\nllm_query('x')\nwhile True: pass", host))
            await host.asked(1)
            (number,) = here("ps", "-q", "--filter", f"label={LABEL}={origin()}")
            here("kill", number)
            died = await cell
            assert died.error is not None
            assert "SIGKILL" in died.error.message
            assert "mine" in died.lost
            after = await session.execute("FINAL(context)", ScriptedHost())
            assert after.answer == "the context"

    asyncio.run(run())
    assert not here("ps", "-aq", "--filter", f"label={LABEL}={origin()}")


@needs_engine
@pytest.mark.parametrize("cell", ["1", "import os; os._exit(3)"])
def test_closing_leaves_no_container_and_no_directory(cell: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOST, str(containers.found()["image"]), cell]
    variables = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=variables)
    assert not here("ps", "-aq", "--filter", f"label={LABEL}={done.stdout.strip()}")
    assert not list(tmp_path.iterdir())


@needs_engine
def test_setup_code_that_fails_leaves_no_container() -> None:
    with pytest.raises(RLMError, match="ZeroDivisionError"):
        opened(containers.create("docker")(setup_code="1 / 0"), "1")
    assert not here("ps", "-aq", "--filter", f"label={LABEL}={origin()}")
