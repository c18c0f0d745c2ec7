"""Cells in a container of Docker or Podman, through the engine's own command: no network, no rights, nothing kept.

Any image with Python 3.8 or newer will do. The engine and the image are looked for when a session is opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from rlm.environments import _docker_run
from rlm.environments._docker_init import EXCHANGE, WORK, program
from rlm.environments._stream import StreamEnvironment
from rlm.errors import ConfigurationError
from rlm.protocols import ByteStream

NOBODY = "65534:65534"
# Docker's client and Podman hand the host's proxies, which may hold passwords, to every container; unless they are set.
PROXIES = tuple(
    name for each in ("http", "https", "ftp", "no", "all") for name in (f"{each}_proxy", f"{each}_proxy".upper())
)
# Of these the engine's client makes something itself, so they cannot be given to it to hand on.
CLIENTS_OWN = (
    "PATH",
    "HOME",
    "USER",
    "TMPDIR",
    "DOCKER",
    "CONTAINER",
    "PODMAN",
    "REGISTRY",
    "XDG_",
    "LD_",
    "SSH",
    "DBUS",
)


@dataclass(frozen=True, kw_only=True)
class DockerEnvironment(StreamEnvironment):
    """See `create`, which says what the settings are and checks them."""

    image: str = "python:3.11-slim"
    engine: str = "docker"
    network: str | None = None
    mounts: Mapping[str, str] | Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    memory: str | None = "2g"
    cpus: float | None = 1
    pids_limit: int | None = 256
    work_size: str = "1g"
    user: str | None = NOBODY
    gpus: str | None = None
    runtime: str | None = None
    interpreter: str = "python3"
    extra_args: Sequence[str] = ()

    @property
    def python(self) -> tuple[str, ...]:
        return (self.interpreter,)

    def connect(self, argv: Sequence[str]) -> AbstractAsyncContextManager[ByteStream]:
        return _docker_run.container(
            engine=self.engine,
            image=self.image,
            options=self.options(),
            argv=program(list(argv)),
            variables={name: value for name, value in self.env.items() if not name.startswith(CLIENTS_OWN)},
            limits=f"its memory is limited to {self.memory}" if self.memory else "",
        )

    def options(self) -> list[str]:
        """What `docker run` is told, besides the container's name, the exchange directory and the program."""
        variables = {
            **dict.fromkeys(PROXIES, ""),
            "HOME": WORK,
            "TMPDIR": WORK,
            "LANG": "C.UTF-8",
            "PYTHONHASHSEED": "0",
        }
        words = [
            *("--network", self.network or "none"),
            *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only"),
            *("--tmpfs", f"{WORK}:rw,exec,nosuid,nodev,mode=1777,size={self.work_size}"),
            *("--tmpfs", f"/tmp:rw,exec,nosuid,nodev,mode=1777,size={self.work_size}"),
            *("--no-healthcheck",),
            *(
                word
                for name, value in variables.items()
                if name not in self.env
                for word in ("--env", f"{name}={value}")
            ),
        ]
        for name, value in self.env.items():
            # A value that is not in the command line is not in the list of this machine's processes.
            words += ["--env", f"{name}={value}" if name.startswith(CLIENTS_OWN) else name]
        if self.memory is not None:
            words += ["--memory", self.memory, "--memory-swap", self.memory]
        for name, setting in {
            "cpus": self.cpus,
            "pids-limit": self.pids_limit,
            "user": self.user,
            "gpus": self.gpus,
            "runtime": self.runtime,
        }.items():
            if setting is not None:
                words += [f"--{name}", str(setting)]
        for mount in self.mounts.items() if isinstance(self.mounts, Mapping) else self.mounts:
            words += ["--volume", mount if isinstance(mount, str) else f"{mount[0]}:{mount[1]}:ro"]
        return [*words, *self.extra_args]


def create(
    *,
    image: str = "python:3.11-slim",
    cell_timeout: float | None = 300,
    cell_grace: float = 5,
    setup_code: str | None = None,
    network: str | None = None,
    mounts: Mapping[str, str] | Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    memory: str | None = "2g",
    cpus: float | None = 1,
    pids_limit: int | None = 256,
    work_size: str = "1g",
    user: str | None = NOBODY,
    gpus: str | None = None,
    runtime: str | None = None,
    python: str = "python3",
    engine: str = "docker",
    startup_timeout: float = 300,
    extra_args: Sequence[str] = (),
) -> DockerEnvironment:
    """`network`: a network of the engine's, `None` for none at all. `mounts`: {here: there}, read-only, or texts as
    `--volume` takes them. `memory` and `work_size` (of the writable directories, which count as memory) as the engine
    writes them: `"512m"`, `"2g"`. `user`: `None` is the image's own. `engine`: `docker`, `podman` or a path.
    `startup_timeout` includes fetching the image where it is not there. `extra_args` go to `run` as they are, last.
    """
    _check_texts(image=image, engine=engine, python=python, work_size=work_size)
    _check_texts(**_given(network=network, memory=memory, user=user, gpus=gpus, runtime=runtime))
    _check_numbers(**_given(cpus=cpus, pids_limit=pids_limit))
    _check_words(mounts, env, extra_args)
    return DockerEnvironment(
        image=image,
        cell_timeout=cell_timeout,
        cell_grace=cell_grace,
        setup_code=setup_code,
        startup_timeout=startup_timeout,
        network=network,
        mounts=mounts,
        env=dict(env or {}),
        memory=memory,
        cpus=cpus,
        pids_limit=pids_limit,
        work_size=work_size,
        user=user,
        gpus=gpus,
        runtime=runtime,
        interpreter=python,
        engine=engine,
        extra_args=tuple(extra_args),
    )


def _given(**settings: object) -> dict[str, object]:
    return {name: value for name, value in settings.items() if value is not None}


def _check_texts(**settings: object) -> None:
    for name, value in settings.items():
        if not isinstance(value, str) or not value or value.startswith("-"):
            raise ConfigurationError(f"{name} must be a text as the engine takes it, not {value!r}")


def _check_numbers(**settings: object) -> None:
    for name, value in settings.items():
        kinds = int if name == "pids_limit" else int | float
        if isinstance(value, bool) or not isinstance(value, kinds) or not value > 0:
            raise ConfigurationError(f"{name} must be a positive number or None, not {value!r}")


def _check_words(mounts: object, env: object, extra_args: object) -> None:
    form = "{path here: path there}, without colons, or a list of texts as --volume takes them"
    if isinstance(mounts, Mapping):
        right = all(isinstance(w, str) and w and ":" not in w for pair in mounts.items() for w in pair)
        there = list(mounts.values())
    else:
        right = isinstance(mounts, list | tuple) and all(isinstance(w, str) and w for w in mounts)
        there = [w.split(":")[1] for w in mounts if ":" in w] if isinstance(mounts, list | tuple) and right else []
    if not right or any(f"{path}/".startswith(f"{EXCHANGE}/") for path in there):
        raise ConfigurationError(f"mounts must be {form}; {EXCHANGE} there is taken. It is {mounts!r}")
    if not isinstance(extra_args, list | tuple) or not all(isinstance(word, str) for word in extra_args):
        raise ConfigurationError(f'extra_args must be a list of words, like ["--hostname", "x"], not {extra_args!r}')
    pairs = env.items() if isinstance(env, Mapping) else [] if env is None else [(None, None)]
    if not all(isinstance(w, str) and "\0" not in w for pair in pairs for w in pair) or any(
        not name or "=" in name for name, _ in pairs
    ):
        raise ConfigurationError("env must be {name: text}")
