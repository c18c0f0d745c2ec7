"""What is asked of the environment `daytona` alone."""

from __future__ import annotations

import asyncio
from typing import Any

from clouds.cases import case
from rlm.errors import SandboxError, SetupError
from rlm.testing.conformance import Bench
from rlm.testing.conformance._bench import raised


def asked(fake: Any) -> dict[str, Any]:
    return dict(list(fake.boxes.values())[-1].asked)


@case("daytona")
async def daytona_is_asked_for_what_was_configured(bench: Bench, fake: Any) -> None:
    options = {"target": "eu", "name": "mine", "cpu": 3, "memory": 7, "disk": 9, "auto_stop_interval": 15}
    more = {"image": "python:3.9-slim", "ttl_minutes": 30, "sandbox_options": {"labels": {"a": "b"}}}
    async with bench.create(**options, **more).open():
        pass
    first = asked(fake)
    assert first["name"].startswith("mine-")
    assert (first["target"], first["cpu"], first["memory"], first["disk"]) == ("eu", 3, 7, 9)
    assert (first["autoStopInterval"], first["autoDeleteInterval"], first["ttlMinutes"]) == (15, 0, 30)
    assert "FROM python:3.9-slim" in first["buildInfo"]["dockerfileContent"]
    assert first["labels"]["a"] == "b"
    assert first["networkBlockAll"] is True
    async with bench.create(network_access=True).open():
        pass
    second = asked(fake)
    assert (second["target"], second["cpu"], second["memory"], second["disk"]) == ("us", 1, 2, 5)
    assert (second["autoStopInterval"], second["autoDeleteInterval"], second["ttlMinutes"]) == (0, 0, 1440)
    assert "FROM python:3.11-slim" in second["buildInfo"]["dockerfileContent"]
    assert second["networkBlockAll"] is False
    assert not second["env"]


@case("daytona")
async def sessions_of_one_name_are_sandboxes_of_names_of_their_own(bench: Bench, fake: Any) -> None:
    environment = bench.create(name="mine")
    async with environment.open(), environment.open():
        names = [box.asked["name"] for box in list(fake.boxes.values())[-2:]]
        assert len(set(names)) == 2


@case("daytona")
async def a_sandbox_of_daytona_that_starts_slowly_is_waited_for(bench: Bench, fake: Any) -> None:
    fake.first_state = "creating"
    try:
        async with bench.repl() as repl:
            await repl.still_works()
    finally:
        fake.first_state = "started"


@case("daytona")
async def a_sandbox_whose_start_fails_is_deleted(bench: Bench, fake: Any) -> None:
    fake.first_state = "error"
    try:
        said = await raised(SandboxError, bench.create().open().__aenter__())
    finally:
        fake.first_state = "started"
    assert "error state" in said, said
    assert len(fake.machines) == 1
    assert not fake.living()


@case("daytona")
async def daytona_is_told_that_a_session_with_an_auto_stop_is_in_use(bench: Bench, fake: Any) -> None:
    fake.asked.clear()
    async with bench.repl(auto_stop_interval=1) as repl:
        fake.asked.clear()
        box = list(fake.boxes.values())[-1]
        if not box.renewals:
            await asyncio.to_thread(fake.asked.wait)
        await repl.still_works()
        assert box.renewals == 1


@case("daytona")
async def a_large_context_goes_to_daytona_as_a_file(bench: Bench, fake: Any) -> None:
    async with bench.repl(context="x" * 3_000_000) as repl:
        assert await repl.value("len(context)") == 3_000_000
    assert list(fake.boxes.values())[-1].uploads == [3_000_000]


@case("daytona")
async def a_log_whose_connection_breaks_is_read_on_without_a_gap(bench: Bench, fake: Any) -> None:
    def answer(query: Any) -> str:
        fake.break_connections()
        return "broken"

    async with bench.repl(answer=answer) as repl:
        await repl.show("kept = 'é' * 100_000")
        code = """
        import os
        os.write(2, 'half a character: '.encode() + 'é'.encode()[:1])
        for n in range(3):
            print(llm_query('break it'), n, kept[:n], flush=True)
        FINAL(kept)
        """
        cell = await repl.run(code)
        assert (cell.error, cell.lost, cell.answer) == (None, (), "é" * 100_000), cell
        assert "broken 0 \nbroken 1 é\nbroken 2 éé\n" in cell.output
        repl.host.answer = lambda query: str(query.prompt)
        await repl.still_works("kept", "é" * 100_000)
    assert len(fake.machines) == 1


@case("daytona", "prime", live=True)
async def a_child_that_makes_its_parent_deaf_is_interrupted_with_it(bench: Bench, fake: Any) -> None:
    async with bench.repl() as repl:
        await repl.show("import os\nkept = 1")
        await repl.overruns("os.system('sleep 600')")
        await repl.still_works("kept", 1)


@case("daytona")
async def what_holds_the_interpreter_is_interrupted_from_outside(bench: Bench, fake: Any) -> None:
    async with bench.repl(cell_grace=1) as repl:
        await repl.overruns("sum(range(10 ** 12))")
        await repl.still_works()
    executed = [command for box in fake.boxes.values() if box.machine in fake.machines for command in box.executed]
    assert executed
    assert all(command.startswith("kill -INT ") for command in executed)


@case("daytona")
async def a_wrong_key_of_daytona_is_told(bench: Bench, fake: Any) -> None:
    said = await raised(SetupError, bench.create(api_key="dtn_wrong").open().__aenter__())
    assert "DAYTONA_API_KEY" in said
    assert "dtn_wrong" not in said
    assert "dtn_wrong" not in repr(bench.create(api_key="dtn_wrong"))
