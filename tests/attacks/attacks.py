"""What hostile code in a cell would try, as data: each environment that claims to be a sandbox is held to all of it.

An attack is code for a cell, run after `PRELUDE` and with `target` bound: what there is to be had on the host (see
`target.py`). Code that reaches what it must not calls `breach(...)`; everything in a `with tried(...)` that fails is
printed as what stopped it. What only the host can see (processes that live on, files that were changed) it checks
itself after each attack.
"""

# ruff: noqa: E501 - code for cells, in lines as it would be written

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Final

PRELUDE: Final = """
import contextlib, ctypes, glob, os, signal, socket, subprocess, sys, threading, time
def breach(what):
    print("BREACH:", what, flush=True)
@contextlib.contextmanager
def tried(what):
    try:
        yield
    except Exception as e:
        print(f"{what}: stopped by {type(e).__name__}: {str(e)[:200]}", flush=True)
def look(path):
    with tried(path), open(path, "rb") as file:
        data = file.read(1 << 20)
        for secret in (target["key"], target["secret"]):
            if secret.encode() in data:
                breach("read " + path)
"""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """`name`: what it tries, in words. `memory`: it needs an environment that is limited to this. `seconds`: its cell's
    time limit."""

    name: str
    code: str
    seconds: float = 20
    memory: str | None = None

    def __str__(self) -> str:
        return self.name.replace(" ", "-").replace("/", "-")

    @property
    def cell(self) -> str:
        return PRELUDE + textwrap.dedent(self.code)


READING: Final = (
    Attack(
        name="read a key from the environment",
        code="""
        if target["key"] in str(os.environ) or target["key"] in subprocess.run(["env"], capture_output=True, text=True).stdout:
            breach("the key is in the environment")
        """,
    ),
    Attack(
        name="read a key from the environment of any process",
        code="""
        for path in glob.glob("/proc/[0-9]*/environ") + ["/proc/self/environ", f"/proc/{target['pid']}/environ"]:
            look(path)
        """,
    ),
    Attack(
        name="read inherited descriptors",
        code="""
        for fd in range(1024):
            with contextlib.suppress(OSError):
                where = os.readlink(f"/proc/self/fd/{fd}")
                if any(path in where for path in target["paths"]):
                    breach("inherited " + where)
                if where.startswith("/") and not where.startswith("/dev") and target["secret"].encode() in os.pread(fd, 1 << 20, 0):
                    breach("read " + where)
        """,
    ),
    Attack(
        name="read the host's memory through proc",
        code="""
        for path in (f"/proc/{target['pid']}/mem", f"/proc/{target['pid']}/maps", f"/proc/{os.getppid()}/mem", "/dev/mem", "/proc/kcore"):
            with tried(path), open(path, "rb") as file:
                file.seek(target["address"] if path.endswith(f"{target['pid']}/mem") else 0)
                if target["secret"].encode() in file.read(1 << 16):
                    breach("read " + path)
        """,
    ),
    Attack(
        name="read the host's memory with process_vm_readv",
        code="""
        class Piece(ctypes.Structure):
            _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
        libc = ctypes.CDLL(None, use_errno=True)
        into = ctypes.create_string_buffer(4096)
        ours, theirs = Piece(ctypes.addressof(into), 4096), Piece(target["address"], 4096)
        n = libc.process_vm_readv(target["pid"], ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0)
        if n > 0 and target["secret"].encode() in into.raw:
            breach("read the host's memory")
        print("stopped by", os.strerror(ctypes.get_errno()))
        """,
    ),
    Attack(
        name="trace the host and process 1",
        code="""
        libc = ctypes.CDLL(None, use_errno=True)
        for pid in {target["pid"], os.getppid(), 1} - {os.getpid()}:
            if libc.ptrace(0x4206, pid, 0, 0) == 0:  # PTRACE_SEIZE
                breach(f"traces {pid}")
            print(f"{pid}: stopped by", os.strerror(ctypes.get_errno()))
        """,
    ),
    Attack(
        name="read the host's home, the project and system secrets",
        code="""
        for path in [*target["paths"], "/etc/shadow", "/root/.ssh/id_rsa", "/root/.bash_history"]:
            look(path)
            with tried(path):
                os.listdir(os.path.dirname(path))
        if any(os.path.exists(path) for path in target["paths"]):
            print("(it can tell that they exist)")
        """,
    ),
    Attack(
        name="read by way of symlinks and dots in file names",
        code="""
        for n, path in enumerate(target["paths"]):
            with tried("symlink"):
                os.symlink(path, f"link{n}")
            look(f"link{n}")
            look(os.path.join(os.getcwd(), "../" * 40, path.lstrip("/")))
            look(f"/proc/self/root{path}")
            look(f"/proc/1/root{path}")
            look(f"/proc/self/cwd/{'../' * 40}{path.lstrip('/')}")
        """,
    ),
    Attack(
        name="read what other sessions were given",
        code="""
        for path in glob.glob("/tmp/rlm-*/**", recursive=True) + glob.glob("/tmp/rlm-*/../**"):
            look(path)
        """,
    ),
)

SOCKETS: Final = (
    Attack(
        name="connect to loopback",
        code="""
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with tried(address):
                s = socket.socket(family, socket.SOCK_STREAM)
                s.settimeout(3)
                s.connect((address, target["port"]))
                breach("connected to " + address)
        """,
    ),
    Attack(
        name="reach the network",
        code="""
        for address in ("192.0.2.1", "8.8.8.8", "169.254.169.254", "172.17.0.1", "10.0.2.2", *target["addresses"]):
            for port in (53, 80, target["port"]):
                with tried(f"{address}:{port}"):
                    s = socket.create_connection((address, port), timeout=0.5)
                    breach(f"connected to {address}:{port}")
            with tried(f"UDP to {address}"):
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (address, 53))
                breach(f"sent to {address}")
        with tried("name"):
            breach(socket.getaddrinfo("example.com", 80))
        """,
    ),
    Attack(
        name="connect to a Unix socket of the host's",
        code="""
        for path in (target["socket"], "/var/run/docker.sock", "/run/docker.sock", "/run/dbus/system_bus_socket"):
            with tried(path):
                socket.socket(socket.AF_UNIX).connect(path)
                breach("connected to " + path)
        """,
    ),
    Attack(
        name="connect to an abstract socket of the host's",
        code="""
        with tried("abstract socket"):
            socket.socket(socket.AF_UNIX).connect("\\0" + target["abstract"])
            breach("connected")
        """,
    ),
    Attack(
        name="listen where the host can be met",
        code="""
        with tried("abstract socket"):
            s = socket.socket(socket.AF_UNIX)
            s.bind("\\0" + target["abstract"])  # in use where the host's names are seen, free where they are not
            s.listen()
        with tried("raw socket"):
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            breach("has a raw socket")
        with tried("packet socket"):
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            breach("has a packet socket")
        """,
    ),
)

WRITING: Final = (
    Attack(
        name="write outside its own directory",
        code="""
        for path in (*target["paths"], target["folder"] + "/new", "/etc/passwd", "/etc/new", "/usr/new", "/var/tmp/new", "/rlm/new", "/new"):
            with tried(path), open(path, "a") as file:
                file.write("changed")
                if not path.startswith("/var/tmp"):
                    breach("wrote " + path)
        """,
    ),
    Attack(
        name="change, remove or rename what is outside",
        code="""
        for path in target["paths"]:
            for act in (os.remove, lambda p: os.chmod(p, 0o777), lambda p: os.rename(p, p + ".old"), lambda p: os.truncate(p, 0),
                        lambda p: os.utime(p, (1, 1)), lambda p: os.link(p, "hard"), lambda p: os.setxattr(p, "user.x", b"x")):
                with tried(path):
                    act(path)
                    breach("changed " + path)
        """,
    ),
    Attack(
        name="gain rights",
        code="""
        libc = ctypes.CDLL(None, use_errno=True)
        for name, arguments in {
            "setuid": (0,), "setgid": (0,), "chroot": (b"/",), "sethostname": (b"x", 1), "unshare": (0x10020000,),
            "mount": (b"none", b"/work", b"tmpfs", 0, 0), "umount": (b"/proc",), "swapoff": (b"x",), "reboot": (0,),
        }.items():
            if getattr(libc, name)(*arguments) == 0 and name not in ("setuid", "setgid"):
                breach(name)
            print(f"{name}: stopped by", os.strerror(ctypes.get_errno()))
        with tried("mknod"):
            os.mknod("disk", 0o60666, os.makedev(8, 0))
            breach("made a device")
        print(open("/proc/self/status").read().partition("NoNewPrivs")[2][:4])
        """,
    ),
)

HARMING: Final = (
    Attack(
        name="kill the host",
        code="""
        for pid in {target["pid"], os.getppid(), target["parent"]}:
            if pid > 1:
                with tried(pid):
                    os.kill(pid, signal.SIGTERM)
        """,
    ),
    Attack(name="kill everything it can see", code="os.kill(-1, signal.SIGKILL)"),
    Attack(
        name="stop process 1 and its own process",
        code="""
        for number in (signal.SIGSTOP, signal.SIGKILL, signal.SIGINT):
            with tried(number):
                os.kill(1, number)
        os.kill(os.getpid(), signal.SIGSTOP)
        """,
        seconds=2,
    ),
    Attack(
        name="a fork bomb",
        code="""
        import warnings
        warnings.simplefilter("ignore")
        end = time.monotonic() + 5
        while time.monotonic() < end:
            try:
                os.fork()
            except OSError:
                time.sleep(0.01)
        """,
        seconds=3,
    ),
    Attack(
        name="many processes that do nothing",
        code="""
        children = []
        with tried("children"):
            for n in range(5_000):
                children.append(subprocess.Popen(["sleep", "600"]))
            breach("5000 processes")
        """,
    ),
    Attack(
        name="a million threads",
        code="""
        gate, n = threading.Event(), 0
        with tried("threads"):
            for n in range(1_000_000):
                threading.Thread(target=gate.wait, daemon=True).start()
                if n > 30_000:
                    breach("30000 threads")
                    break
        print(n)
        gate.set()
        """,
    ),
    Attack(
        name="50 GB of memory",
        code="""
        hoard = []
        with contextlib.suppress(MemoryError):
            for n in range(50):
                hoard.append(b"x" * (1 << 30))
            breach("has 50 GB")
        print(len(hoard), "GB")
        del hoard
        """,
        memory="256m",
    ),
    Attack(
        name="memory without an end in child processes",
        code="""
        code = "x = []\\nwhile True: x.append(b'x' * (1 << 26))"
        for child in [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) for _ in range(4)]:
            child.wait(15)
        """,
        memory="256m",
    ),
    Attack(
        name="fill the disk",
        code="""
        written, block = 0, b"x" * (1 << 24)
        for folder in (os.getcwd(), "/tmp", "/dev/shm", "/var/tmp", "/run", os.path.expanduser("~"), "/"):
            with tried(folder), open(folder + "/large", "wb") as file:
                while written < 8 << 30:
                    written += file.write(block)
                breach("8 GB on the disk")
        print(written >> 20, "MB")
        """,
        memory="256m",
    ),
    Attack(
        name="a million files",
        code="""
        with tried("files"):
            for n in range(1_000_000):
                open(f"file{n}", "w").close()
        """,
        seconds=5,
        memory="256m",
    ),
    Attack(
        name="output without end",
        code="""
        while True:
            sys.stdout.write("x" * (1 << 20))
            os.write(2, b"y" * (1 << 16))
        """,
        seconds=2,
    ),
)

OUTLIVING: Final = (
    Attack(
        name="outlive the session",
        code="""
        import warnings
        warnings.simplefilter("ignore")
        code = "import os, signal, time\\nfor n in range(1, 65):\\n    try: signal.signal(n, signal.SIG_IGN)\\n    except (OSError, ValueError): pass\\ntime.sleep(600)"
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv(sys.executable, [sys.executable, "-c", code, target["mark"]])
            os._exit(0)
        subprocess.Popen([sys.executable, "-c", code, target["mark"]], start_new_session=True)
        os.system(f"(setsid {sys.executable} -c 'import time; time.sleep(600)' {target['mark']} &) 2>/dev/null")
        time.sleep(0.2)
        """,
    ),
    Attack(
        name="outlive the session that is stopped",
        code="""
        code = "import signal, time\\nsignal.signal(2, signal.SIG_IGN)\\ntime.sleep(600)"
        subprocess.Popen([sys.executable, "-c", code, target["mark"]], start_new_session=True)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            pass
        """,
        seconds=1,
    ),
    Attack(
        name="leave an exit handler and a thread behind",
        code="""
        import atexit
        atexit.register(lambda: [None for _ in iter(int, 1)])
        threading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()
        """,
    ),
)

ALL: Final = (*READING, *SOCKETS, *WRITING, *HARMING, *OUTLIVING)
