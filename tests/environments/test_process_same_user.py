"""Where no namespaces can be had, cells run beside the host as the same user: what they could do to it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: no isolation elsewhere")


OF_THE_SAME_USER = """
import asyncio, os, resource
from rlm.environments import process
from rlm.environments._jail import seccomp, system
from rlm.testing.conformance import ScriptedHost

system.prctl(system.PR_SET_NO_NEW_PRIVS, 1)
system.drop_capabilities()  # as root, it could give cells a user of their own
seccomp.install(seccomp.Allowed(*[True] * 5))  # as in a container: no namespaces can be made

def settings():
    return (resource.getrlimit(resource.RLIMIT_NOFILE), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0),
            os.sched_getscheduler(0))

CELL = f'''
import os, resource
for change in (lambda: resource.prlimit({os.getpid()}, resource.RLIMIT_NOFILE, (64, 64)),
               lambda: os.setpriority(os.PRIO_PROCESS, {os.getpid()}, 19),
               lambda: os.setpriority(os.PRIO_USER, 0, 18),
               lambda: os.sched_setaffinity({os.getpid()}, [min(os.sched_getaffinity(0))]),
               lambda: os.sched_setscheduler({os.getpid()}, os.SCHED_BATCH, os.sched_param(0))):
    try:
        change()
    except OSError:
        print("refused")
os.nice(1); resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50)); os.sched_setaffinity(0, os.sched_getaffinity(0))
print("own")
'''

async def main():
    async with process.create().open() as session:
        print((await session.execute(CELL, ScriptedHost())).output)

before = settings()
asyncio.run(main())
print(settings() == before)
"""


def test_where_no_namespaces_can_be_had_a_cell_changes_no_other_process_of_its_user() -> None:
    command = [sys.executable, "-c", OF_THE_SAME_USER]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == [*["refused"] * 5, "own", "True"], done
