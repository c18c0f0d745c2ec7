"""What is asked of an environment over a cloud besides the promises of the REPL."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from clouds._machine import MARK
from rlm import RLM
from rlm.errors import SandboxError, SetupError
from rlm.testing.conformance import Bench, Traits, promises
from rlm.testing.conformance._bench import raised

Check = Callable[[Bench, Any], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """`live`: it looks at nothing of the fake's, and runs over the real cloud too."""

    check: Check
    clouds: frozenset[str]
    live: bool


CASES: dict[str, Case] = {}
EVERY = ("modal", "e2b", "daytona", "prime")


def case(*clouds: str, live: bool = False) -> Callable[[Check], Check]:
    def add(check: Check) -> Check:
        CASES[check.__name__] = Case(check, frozenset(clouds or EVERY), live)
        return check

    return add


@functools.cache
def big() -> str:
    """20 MB."""
    return "".join(f"{n}: “ünï” \r\n\0 {n * n}\n" for n in range(700_000))


@case(live=True)
async def a_context_of_20_mb_arrives_exactly(bench: Bench, fake: Any) -> None:
    text = big()
    digest = hashlib.sha256(text.encode()).hexdigest()
    async with bench.repl(context=text) as repl:
        code = "import hashlib\nprint(len(context), hashlib.sha256(context.encode()).hexdigest())"
        assert await repl.show(code) == f"{len(text)} {digest}\n"
        assert await repl.value("context[-100:]") == text[-100:]


@case(live=True)
async def twenty_megabytes_come_back_exactly(bench: Bench, fake: Any) -> None:
    async with bench.repl(context=big()) as repl:
        assert await repl.value("context + '.'") == big() + "."


@case()
async def a_sandbox_that_vanishes_in_a_cell_is_replaced(bench: Bench, fake: Any) -> None:
    async with bench.repl() as repl:
        await repl.show("kept = 1")
        cell = asyncio.create_task(repl.run("print('in the cell', flush=True)\nimport time\ntime.sleep(600)"))
        await repl.host.sees("in the cell\n")
        fake.vanish(fake.machines[-1])
        ended = await cell
        assert ended.error is not None
        assert ended.error.type == "SandboxDied"
        assert ended.output == "in the cell\n", ended
        assert "kept" in ended.lost
        await repl.still_works()
        assert len(fake.machines) == 2, ended


@case()
async def a_sandbox_that_vanishes_between_cells_is_replaced(bench: Bench, fake: Any) -> None:
    async with bench.repl() as repl:
        await repl.show("kept = 1")
        fake.vanish(fake.machines[-1])
        cell = await repl.run("print(context)")
        if cell.error is not None:  # the news had not come yet
            assert cell.error.type == "SandboxDied"
            assert "kept" in cell.lost
        else:
            assert (cell.output, "kept" in cell.lost) == ("the context\n", True)
        await repl.still_works()


@case()
async def nothing_of_the_hosts_environment_is_in_the_sandbox(bench: Bench, fake: Any) -> None:
    assert os.environ["OPENAI_API_KEY"] == "sk-of-the-host"
    secrets = [value for name, value in {**os.environ, **fake.variables}.items() if "KEY" in name or "TOKEN" in name]
    async with bench.repl() as repl:
        inside = await repl.value("dict(__import__('os').environ)")
        seen = await repl.value("open('/proc/self/environ').read() + open('/proc/self/cmdline').read()")
    assert inside.keys() <= {"PATH", "HOME", "TMPDIR", "LANG", MARK, "PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}
    assert secrets
    assert not [secret for secret in secrets if secret in seen or secret in str(inside)]


@case()
async def a_session_that_is_left_by_an_error_ends_its_sandbox(bench: Bench, fake: Any) -> None:
    async def fail() -> None:
        async with bench.repl() as repl:
            await repl.still_works()
            raise LookupError("of the caller")

    assert await raised(LookupError, fail()) == "of the caller"
    assert len(fake.machines) == 1
    assert not fake.living()


@case()
async def cancelling_while_a_sandbox_is_made_ends_it_once_it_is_there(bench: Bench, fake: Any) -> None:
    fake.hold()

    async def use() -> None:
        async with bench.repl():
            raise AssertionError("it was cancelled before")

    task = asyncio.create_task(use())
    await asyncio.to_thread(fake.asked.wait)
    task.cancel()
    await asyncio.sleep(0)
    fake.release()
    await asyncio.wait([task])
    assert task.cancelled()
    assert len(fake.machines) == 1
    assert not fake.living()


@case()
async def cancelling_a_cell_and_leaving_ends_the_sandbox(bench: Bench, fake: Any) -> None:
    started = asyncio.Event()

    async def use() -> None:
        async with bench.repl(cell_grace=0.5) as repl:
            cell = asyncio.create_task(repl.run("print('on', flush=True)\nwhile True: pass"))
            try:
                await repl.host.sees("on")
                started.set()
                await cell
            finally:
                cell.cancel()
                await asyncio.wait([cell])

    task = asyncio.create_task(use())
    await started.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not fake.living()


@case()
async def an_image_without_python_says_so(bench: Bench, fake: Any) -> None:
    fake.bare = True
    try:
        said = await raised(SandboxError, bench.create().open().__aenter__())
    finally:
        fake.bare = False
    assert "python3" in said, said
    assert "not found" in said, said


@case()
async def twenty_sessions_at_once_are_twenty_sandboxes(bench: Bench, fake: Any) -> None:
    async def use(number: int) -> Any:
        async with bench.repl(context=number) as repl:
            return await repl.value("(context, __import__('os').getpid())")

    found = await asyncio.gather(*map(use, range(20)))
    assert [number for number, _ in found] == list(range(20))
    assert len({process for _, process in found}) == len(fake.machines) == 20, (found, len(fake.machines))


@case()
async def a_sandbox_that_cannot_be_ended_is_told_of(bench: Bench, fake: Any) -> None:
    fake.refusing = "the service is not well"
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            async with bench.repl() as repl:
                await repl.still_works()
    finally:
        fake.refusing = ""
    assert "could not be ended" in str(told[0].message)
    assert "the service is not well" in str(told[0].message)
    for machine in fake.living():
        fake.vanish(machine)


@case()
async def a_whole_run_with_a_child_answers(bench: Bench, fake: Any) -> None:
    async def answer(messages: Any) -> str:
        if "how many" in str(messages[-1]) or "how many" in str(messages[0:2]):
            return "```repl\nFINAL(len(context))\n```"
        return "```repl\nFINAL(rlm_query('how many?', context=context * 2) + '!')\n```"

    rlm = RLM(backend=answer, environment=fake.name, max_depth=2)
    result = await rlm.acompletion("x" * 5_000, "say it")
    assert result.response == "10000!"
    assert len(fake.machines) == 2
    assert not fake.living()


@case()
async def the_synchronous_face_works_over_it(bench: Bench, fake: Any) -> None:
    def answer(messages: Any) -> str:
        return "```repl\nFINAL(context[::-1])\n```"

    with RLM(backend=answer, environment=fake.name) as rlm:
        result = await asyncio.to_thread(rlm.completion, "x" * 3_000 + "y", "turn it round")
    assert result.response == "y" + "x" * 3_000
    assert not fake.living()


@case("modal", "e2b")
async def code_that_holds_the_interpreter_is_interrupted_from_outside(bench: Bench, fake: Any) -> None:
    async with bench.repl(cell_grace=30) as repl:
        await repl.show("import re\nkept = 1")
        cell = await repl.overruns("re.match('(a+)+$', 'a' * 60 + 'b')")
        assert not cell.lost
        await repl.still_works("kept", 1)


@case("modal")
async def modal_is_asked_for_what_was_configured(bench: Bench, fake: Any) -> None:
    options = {"app_name": "my-rlm-app", "timeout": 77, "image": "python:3.9-slim"}
    async with bench.create(**options, sandbox_options={"cpu": 2.0}).open():
        pass
    definition = list(fake.boxes.values())[-1].definition
    assert fake.apps[-1] == "my-rlm-app"
    assert definition.timeout_secs == 77
    assert definition.resources.milli_cpu == 2000
    assert definition.network_access.network_access_type == definition.network_access.BLOCKED
    assert "FROM python:3.9-slim" in fake.images[-1]
    async with bench.create(network_access=True).open():
        pass
    definition = list(fake.boxes.values())[-1].definition
    assert definition.network_access.network_access_type == definition.network_access.OPEN
    assert definition.timeout_secs == 600
    assert fake.apps[-1] == "rlm-sandbox"


@case("e2b")
async def e2b_is_asked_for_what_was_configured(bench: Bench, fake: Any) -> None:
    async with bench.create(template="my-template", timeout=77, sandbox_options={"metadata": {"a": "b"}}).open():
        pass
    asked = list(fake.boxes.values())[-1].asked
    assert (asked["templateID"], asked["timeout"], asked["metadata"]) == ("my-template", 77, {"a": "b"})
    assert asked["allow_internet_access"] is False
    async with bench.create(network_access=True).open():
        pass
    asked = list(fake.boxes.values())[-1].asked
    assert (asked["templateID"], asked["timeout"], asked["allow_internet_access"]) == ("base", 300, True)


@case("e2b")
async def a_session_of_e2b_outlives_the_time_of_its_sandbox(bench: Bench, fake: Any) -> None:
    async with bench.repl(timeout=1) as repl:
        fake.asked.clear()
        await asyncio.to_thread(fake.asked.wait)
        assert list(fake.boxes.values())[-1].renewals == [1]
        await repl.still_works()


@case("e2b")
async def a_large_context_goes_to_e2b_as_a_file(bench: Bench, fake: Any) -> None:
    async with bench.repl(context="x" * 3_000_000) as repl:
        assert await repl.value("len(context)") == 3_000_000
    assert list(fake.boxes.values())[-1].uploads == [3_000_000]


@case("e2b")
async def a_wrong_key_of_e2b_is_told(bench: Bench, fake: Any) -> None:
    said = await raised(SetupError, bench.create(api_key="e2b_wrong").open().__aenter__())
    assert "E2B_API_KEY" in said
    assert "e2b_wrong" not in said
    assert "e2b_wrong" not in repr(bench.create(api_key="e2b_wrong"))


def cases(cloud: str, *, live: bool = False) -> list[str]:
    """Every promise of the REPL, and what else is asked of a cloud."""
    own = [name for name, case in CASES.items() if cloud in case.clouds and (case.live or not live)]
    return [*map(str, promises(Traits())), *own]


from clouds import cases_daytona, cases_prime  # noqa: E402, F401 - importing them adds their cases
