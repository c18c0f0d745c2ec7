"""Code in a cell that talks to the kernel itself, by numbers, and to those that watch its process."""

from __future__ import annotations

from typing import Final

from attacks.attacks import Attack

CALL: Final = """
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(name, number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    print(f"{name}: {os.strerror(ctypes.get_errno()) if result < 0 else result}", flush=True)
    return result
"""


def _kernel(name: str, code: str, seconds: float = 20, memory: str | None = None) -> Attack:
    return Attack(name=name, code=CALL + code, seconds=seconds, memory=memory)


KERNEL: Final = (
    _kernel("make namespaces with clone, clone3 and unshare", """
x86 = os.uname().machine == "x86_64"
for flags in (0x10000000, 0x20000, 0x40000000, 0x20000000, 0x02000000):
    pid = call("clone", 56 if x86 else 220, flags | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    if pid > 0:
        breach("clone made a namespace")
    if call("unshare", 272 if x86 else 97, flags) == 0:
        breach("unshare")
if call("clone3", 435, ctypes.create_string_buffer(88), 88) >= 0:
    breach("clone3")
"""),
    _kernel("use the system calls of another table", """
if os.uname().machine == "x86_64":
    for number in (0x40000000 | 101, 0x40000000 | 272, 0x40000000 | 39, 500, 1 << 20):
        if call(f"x32 {number:#x}", number, 0, 0, 0) >= 0:
            breach("it was answered")
"""),
    _kernel("use the kernel's large and dangerous parts", """
x86 = os.uname().machine == "x86_64"
space = ctypes.create_string_buffer(256)
for name, number in {"bpf": 321 if x86 else 280, "perf_event_open": 298 if x86 else 241, "io_uring_setup": 425,
                     "userfaultfd": 323 if x86 else 282, "keyctl": 250 if x86 else 219, "fsopen": 430, "open_tree": 428,
                     "move_mount": 429, "mount_setattr": 442, "pidfd_getfd": 438, "kexec_load": 246 if x86 else 104,
                     "open_by_handle_at": 304 if x86 else 265, "init_module": 175 if x86 else 105}.items():
    if call(name, number, 0, space, 0, 0, 0) >= 0:
        breach(name)
"""),
    _kernel("change the kernel's settings in proc", """
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/overcommit_memory",
             "/proc/sysrq-trigger", "/proc/sys/kernel/hostname", "/sys/kernel/uevent_helper"):
    with tried(path), open(path, "w") as file:
        file.write("x")
        file.flush()
        breach("wrote " + path)
"""),
    _kernel("get at those that watch it", """
for pid in {1, os.getppid()}:
    for name in ("mem", "environ", "fd/3", "root/etc/shadow", "cwd"):
        with tried(f"/proc/{pid}/{name}"), open(f"/proc/{pid}/{name}", "rb") as file:
            file.read(10)
            breach(f"read {name} of {pid}")
    with tried(f"fds of {pid}"):
        os.listdir(f"/proc/{pid}/fd")
        breach(f"sees the descriptors of {pid}")
for number in range(1, 65):
    with contextlib.suppress(OSError):
        os.kill(1, number)
        breach(f"signal {number} to process 1")
print("stopped")
"""),
    _kernel("leave its root by an old descriptor or a mount", """
for fd in range(3, 200):
    with contextlib.suppress(OSError):
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            breach(f"a directory is open as {fd}")
for path in target["paths"]:
    for way in ("/proc/self/root", "/proc/self/cwd/" + "../" * 30, "/proc/thread-self/root",
                "/proc/self/task/self/root"):
        look(way + path)
print("stopped")
"""),
    _kernel("memory that no process has mapped", """
import mmap
LARGE = 1 << 26
libc.shmat.restype = ctypes.c_void_p
kept = []
def in_a_file():
    kept.append(os.memfd_create("hoard"))
    for _ in range(64):
        os.write(kept[-1], b"x" * (1 << 20))
def in_a_segment():
    found = libc.shmget(0, LARGE, 0o1600)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    at = libc.shmat(found, None, 0)
    ctypes.memset(at, 1, LARGE)
    libc.shmdt(ctypes.c_void_p(at))
def all_but_a_page(fd):
    space = mmap.mmap(fd, LARGE)
    kept.append(space)
    space.write(b"x" * LARGE)
    libc.munmap(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(space))), ctypes.c_size_t(LARGE - 4096))
def shared():
    all_but_a_page(-1)
def of_a_device():
    all_but_a_page(os.open("/dev/zero", os.O_RDWR))
for way in (in_a_file, in_a_segment, shared, of_a_device):
    with tried(way.__name__):
        for _ in range(8):
            way()
        breach("512 MB " + way.__name__)
kept.extend(socket.socketpair())
kept[-1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGE)
kept[-1].setblocking(False)
with tried("in_a_socket"):
    for _ in range(32):
        kept[-1].sendall(b"x" * (1 << 16))
    breach("2 MB in_a_socket")
os._exit(0)
""", memory="256m"),
    _kernel("type into a terminal of the host's", """
import fcntl, termios
for path in ("/dev/tty", "/dev/console", "/dev/pts/0", "/dev/tty1"):
    with tried(path), open(path, "rb") as file:
        breach("opened " + path)
with tried("TIOCSTI"):
    fcntl.ioctl(0, termios.TIOCSTI, b"x")
    breach("typed")
"""),
)  # fmt: skip
