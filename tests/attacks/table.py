"""What stops each attack, as data: the table in docs/attacks.md is made of it, and tests hold each line to what was
seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Stopped:
    """By what, in `process` strict and in `docker`; `seen` is a pattern in what the attack shows in `process`."""

    process: str
    docker: str
    seen: str = ""


ROOT: Final = "a root directory of its own, in which it is not there"
PIDS: Final = "a PID namespace: the process is not there"
FILTER: Final = "the system-call filter"
NET: Final = "no socket but Unix ones (filter), and a network namespace with nothing in it"
THEIRS: Final = "a container of its own"
WIRE: Final = "the host: a message that cannot be ends the session"


def _wire(seen: str = "broke the protocol", by: str = WIRE) -> Stopped:
    return Stopped(by, by, seen)


STOPPED: Final[dict[str, Stopped]] = {
    "read a key from the environment": Stopped("an environment made of an allow-list", "an environment of its own"),
    "read a key from the environment of any process": Stopped(PIDS, THEIRS, "environ: stopped by FileNotFoundError"),
    "read inherited descriptors": Stopped("none are inherited: all are closed but the wire", THEIRS),
    "read the host's memory through proc": Stopped(PIDS, THEIRS, "mem: stopped by FileNotFoundError"),
    "read the host's memory with process_vm_readv": Stopped(f"{FILTER}; {PIDS}", THEIRS, "not permitted"),
    "trace the host and process 1": Stopped(f"{FILTER}; {PIDS}", THEIRS, "not permitted"),
    "read the host's home, the project and system secrets": Stopped(ROOT, THEIRS, "FileNotFoundError"),
    "read by way of symlinks and dots in file names": Stopped(ROOT, THEIRS, "FileNotFoundError"),
    "read what other sessions were given": Stopped("a /tmp of its own", "a container and a directory for each session"),
    "connect to loopback": Stopped(NET, "--network none", "PermissionError"),
    "reach the network": Stopped(NET, "--network none", "PermissionError"),
    "connect to a Unix socket of the host's": Stopped(ROOT, THEIRS, "FileNotFoundError"),
    "connect to an abstract socket of the host's": Stopped(
        "a network namespace; Landlock", "--network none", "ConnectionRefused|PermissionError"
    ),
    "listen where the host can be met": Stopped(NET, "--network none, no capabilities", "packet socket: stopped"),
    "write outside its own directory": Stopped("a root of its own, read-only", "--read-only", "FileNotFound|Read-only"),
    "change, remove or rename what is outside": Stopped(ROOT, THEIRS, "FileNotFoundError"),
    "gain rights": Stopped(f"no capabilities, no_new_privs; {FILTER}", "--cap-drop ALL, no-new-privileges", "not perm"),
    "kill the host": Stopped(PIDS, THEIRS, "ProcessLookupError"),
    "kill everything it can see": Stopped("a PID namespace: it sees only its own", THEIRS),
    "stop process 1 and its own process": Stopped(
        "process 1 is another user's, or of more rights; a stopped cell is killed at its time limit",
        "process 1 has other rights; a stopped cell is killed at its time limit",
        "19: stopped by PermissionError",
    ),
    "a fork bomb": Stopped("a limit on processes and threads", "--pids-limit"),
    "many processes that do nothing": Stopped("a limit on processes and threads", "--pids-limit", "BlockingIOError"),
    "a million threads": Stopped("a limit on processes and threads", "--pids-limit", "can't start new thread"),
    "50 GB of memory": Stopped(
        "a limit on the data of a process; the supervisor's look", "--memory", "more than memory=|MemoryError|0 GB|1 GB"
    ),
    "memory without an end in child processes": Stopped(
        "the supervisor adds up the memory of all of them", "--memory", "more than memory="
    ),
    "fill the disk": Stopped("files are in memory, of limited size", "a tmpfs of limited size", "No space left"),
    "a million files": Stopped("a limited number of files", "a tmpfs of limited size"),
    "output without end": Stopped("what is kept and shown of output is bounded", "the same", ""),
    "outlive the session": Stopped("a PID namespace, ended by the supervisor", "process 1 ends, and with it all"),
    "outlive the session that is stopped": Stopped("a PID namespace, ended by the supervisor", "the same"),
    "leave an exit handler and a thread behind": Stopped("a PID namespace, ended by the supervisor", "the same"),
    "make namespaces with clone, clone3 and unshare": Stopped(FILTER, "not tried", "clone3: Function not implemented"),
    "use the system calls of another table": Stopped(FILTER, "not tried"),
    "use the kernel's large and dangerous parts": Stopped(
        FILTER, "not tried", "io_uring_setup: Operation not permitted"
    ),
    "change the kernel's settings in proc": Stopped(
        "/proc is read-only, and Landlock", "not tried", "core_pattern: stopped"
    ),
    "get at those that watch it": Stopped(
        "they are of other rights, and cannot be looked into", "not tried", "mem: stopped by PermissionError"
    ),
    "leave its root by an old descriptor or a mount": Stopped("the old root is unmounted", "not tried", "stopped"),
    "memory that no process has mapped": Stopped(
        f"{FILTER}: there is no such memory",
        "not tried",
        "(?s)in_a_file: stopped.*in_a_segment: stopped.*of_a_device: st",
    ),
    "type into a terminal of the host's": Stopped(f"there is none, {FILTER}", "not tried", "TIOCSTI: stopped"),
    "answer a question that was never asked": _wire(),
    "answer for the cell itself": _wire(),
    "greet a second time": _wire(),
    "call a method that is not there": _wire(),
    "a message that is not JSON": _wire("not JSON"),
    "JSON a million levels deep": _wire("not JSON"),
    "numbers that JSON does not have": _wire("not JSON"),
    "a number of a million digits": _wire("not JSON"),
    "duplicate ids": _wire(),
    "a flood of questions": _wire("more questions at once"),
    "a flood of messages that mean nothing": _wire("CellTimeout", "the cell's time limit; nothing of it is kept"),
    "a line of 256 MB without an end": _wire("", "the host: of what is no message, only the end is kept"),
    "a frame of 1 GB": _wire("a frame of more than"),
    "a frame that announces 1 TB": _wire(),
    "blobs that never end": _wire("", "the host: the bytes a session may have it hold are bounded"),
    "a blob in a file of the host's": _wire("a blob in a file"),
    "half a message, and then silence": _wire("not JSON"),
    "random bytes": _wire("", "the host: what does not carry the session's random mark is no message"),
    "close the wire": _wire("SandboxDied", "the session's process is replaced"),
    "take the wire away": _wire("", "the cell's time limit, after which the process is replaced"),
    "raise its own depth": _wire("parameters that cannot be"),
    "raise its own budget": _wire("parameters that cannot be"),
    "call a tool that was never given": _wire("", "the host: it knows its tools by name, and answers with an error"),
    "refer to what was never bound": _wire("a reference to what was never bound"),
}


def markdown() -> str:
    lines = ["| attack | `process`, strict: stopped by | `docker`: stopped by |", "|---|---|---|"]
    lines += [f"| {name} | {by.process} | {by.docker} |" for name, by in STOPPED.items()]
    return "\n".join(lines)
