"""A program started by `warm` does what it does when an interpreter is started for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import warm

PROGRAMS = {
    "arguments, streams, directory, environment": """
import os, sys
print(sys.argv, sys.stdin.read(), os.getcwd(), os.environ["MINE"], len(os.environ), __name__, __doc__)
print(sys.stdin.isatty(), sys.stdout.isatty(), sys.stdout.encoding, sys.stdout.name, sys.stderr.errors, file=sys.stderr)
""",
    "what it imports": "import sys\nfrom rlm import RLM\nprint(RLM, 'openai' in sys.modules, sys.path[0])",
    "an exit code": "raise SystemExit(7)",
    "a message": "import sys; sys.exit('no more')",
    "at the end": "import atexit\natexit.register(print, 'the end')",
    "a thread": "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()",
    "descriptors": "import os\nprint(sorted(os.listdir('/proc/self/fd')))",
    "a child": "import os\npid = os.fork()\npid or os._exit(3)\nprint(os.waitpid(pid, 0)[1])",
    "a signal": "import os, signal\nprint(signal.getsignal(signal.SIGINT))\nos.kill(os.getpid(), signal.SIGKILL)",
    "signals": "import signal\nprint([signal.getsignal(s) for s in sorted(signal.valid_signals())])",
    "a module of its own": "import pickle\nclass C: pass\nprint(pickle.loads(pickle.dumps(C)) is C)",
    "a module that runs": "import runpy, sys\nsys.argv[1:] = ['--help']\nrunpy.run_module('rlm', run_name='__main__')",
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_does_the_same_as_from_a_fresh_interpreter(program: str, tmp_path: Path) -> None:
    arguments = ["-W", "error", "-c", program, "one", "two"]
    env = {**os.environ, "MINE": "value", "PYTHONHASHSEED": "0"}
    fresh = subprocess.run(
        [sys.executable, *arguments],
        input=b"input",
        cwd=tmp_path,
        env=env,
        capture_output=True,
        timeout=60,
        check=False,
    )
    warmed = warm.run(*arguments, stdin=b"input", cwd=tmp_path, env=env)
    if "sys.modules" in program and "openai" in program:
        assert b"False" in fresh.stdout
        assert warmed.stdout == fresh.stdout.replace(b"False", b"True"), "it is there already"
        return
    assert (warmed.returncode, warmed.stdout, warmed.stderr) == (fresh.returncode, fresh.stdout, fresh.stderr)


@pytest.mark.parametrize(
    ("program", "code", "words"),
    [
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT); input()", -signal.SIGINT, "KeyboardInterrupt"),
        ("file = open('/dev/null'); del file", 0, "ResourceWarning: unclosed file"),
        ("class C:\n def __init__(self): self.file, self.me = open('/dev/null'), self\nC()", 0, "unclosed file"),
    ],
)
def test_what_goes_wrong_is_seen_as_elsewhere(program: str, code: int, words: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(program)
    arguments = ["-W", "error", str(script)]
    fresh = subprocess.run([sys.executable, *arguments], capture_output=True, timeout=60, check=False)
    warmed = warm.run(*arguments, env=dict(os.environ))
    for done in (fresh, warmed):
        assert done.returncode == code
        assert words in done.stderr.decode()


def test_it_is_a_process_like_any_other() -> None:
    program = "import os\nprint(os.getpid(), flush=True)\ninput()"
    with warm.Program("-c", program, env=dict(os.environ), stdin=warm.PIPE, start_new_session=True) as running:
        assert running.stdout is not None
        assert int(running.stdout.readline()) == running.pid == os.getsid(running.pid)
        assert running.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(0.01)
        running.kill()
        assert running.wait(60) == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(running.pid, 0)
