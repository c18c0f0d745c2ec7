"""What runs in a container before the worker: process 1, which code in the container can neither stop nor kill."""

from __future__ import annotations

from typing import Final

WORK: Final = "/work"
"""The directory that cells run in. Entered here: as the engine's own working directory it would be root's."""
EXCHANGE: Final = "/rlm"
"""Where the exchange directory is mounted."""
HERE: Final = "here"
"""A file in it, by which the container sees whether it is really there: with a remote engine it need not be."""
GREETING: Final = b"rlm: container "
"""In two parts in the source, which an engine's error may quote."""

# It says that it runs, forks, and lets the program that is put after it go on in the child. Itself it hands on
# interrupts, reaps orphans, ends when the child does, and ends everything when the stream's far end is gone: the host
# was killed, or closed it. It does not read the stream; HUP is told without. Whatever process 1 leaves, the kernel
# ends. `prctl(PR_SET_DUMPABLE, 0)` keeps code of the same user from tracing it; the child waits for that.
INIT: Final = f"""\
import os,sys
os.chdir("{WORK}")
m=os.path.exists("{EXCHANGE}/{HERE}")
os.write(1,("rlm: ""container %d.%d %d\\n"%(tuple(sys.version_info[:2])+(m,))).encode())
q,v=os.pipe()
p=os.fork()
if p:
    try: __import__("ctypes").CDLL(None).prctl(4,0,0,0,0)
    except Exception: pass
    import select,signal,time
    def r(*_):
        n=1
        while n:
            try: n,s=os.waitpid(-1,os.WNOHANG)
            except OSError: n=0
            if n==p: os._exit(128+os.WTERMSIG(s) if os.WIFSIGNALED(s) else os.WEXITSTATUS(s))
    signal.signal(signal.SIGCHLD,r)
    signal.signal(signal.SIGINT,lambda *_:os.kill(p,signal.SIGINT))
    r()
    os.close(q); os.close(v)
    os.dup2(os.open("/dev/null",1),1); os.dup2(1,2)
    w=select.poll(); w.register(0,0); w.poll()
    time.sleep(.2); os._exit(0)
os.close(v); os.read(q,1); os.close(q)
os.setsid()
"""


def program(argv: list[str]) -> list[str]:
    """The worker's command line with all this before it: its last word is the source of its bootstrap."""
    return [*argv[:-1], INIT + argv[-1]]
