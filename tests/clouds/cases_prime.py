"""What is asked of the environment `prime` alone."""

from __future__ import annotations

import asyncio
from typing import Any

from clouds.cases import case
from rlm.errors import ConfigurationError, SetupError
from rlm.testing.conformance import Bench
from rlm.testing.conformance._bench import raised


def asked(fake: Any) -> dict[str, Any]:
    return dict(list(fake.boxes.values())[-1].asked)


@case("prime")
async def prime_is_asked_for_what_was_configured(bench: Bench, fake: Any) -> None:
    options = {"name": "mine", "docker_image": "python:3.9-slim", "timeout_minutes": 7}
    async with bench.create(**options, sandbox_options={"cpu_cores": 2.0}).open():
        pass
    first = asked(fake)
    assert first["name"].startswith("mine-")
    assert (first["docker_image"], first["timeout_minutes"], first["cpu_cores"]) == ("python:3.9-slim", 7, 2.0)
    assert first["network_allowlist"] == []
    async with bench.create(network_access=True).open():
        pass
    second = asked(fake)
    assert (second["docker_image"], second["timeout_minutes"]) == ("python:3.11-slim", 60)
    assert "network_allowlist" not in second
    assert "environment_vars" not in second
    wrong = bench.create(sandbox_options={"gpu_count": 1}).open()
    assert "gpu_type" in await raised(ConfigurationError, wrong.__aenter__())


@case("prime")
async def a_large_context_goes_to_prime_as_a_file(bench: Bench, fake: Any) -> None:
    async with bench.repl(context="x" * 3_000_000) as repl:
        assert await repl.value("len(context)") == 3_000_000
    assert list(fake.boxes.values())[-1].uploads == [3_000_000]


@case("prime")
async def a_connection_that_breaks_while_nothing_is_said_costs_nothing(bench: Bench, fake: Any) -> None:
    async with bench.repl() as repl:
        await repl.show("kept = 1")
        fake.break_connections()
        await asyncio.to_thread(fake.attached.wait)
        await repl.still_works("kept", 1)
    assert len(fake.machines) == 1


@case("prime")
async def output_that_is_lost_while_a_connection_is_broken_ends_the_session(bench: Bench, fake: Any) -> None:
    def answer(query: Any) -> str:
        fake.break_connections()
        return "broken"

    async with bench.repl(answer=answer) as repl:
        await repl.show("kept = 1")
        code = """
        import time
        llm_query('break it')
        while True:
            print('on and on', flush=True)
            time.sleep(0.01)
        """
        cell = await repl.run(code)
        assert cell.error is not None
        assert cell.error.type == "SandboxDied"
        assert "lost" in cell.error.message, cell
        assert "kept" in cell.lost
        repl.host.answer = lambda query: str(query.prompt)
        await repl.still_works()
    assert len(fake.machines) == 2


@case("prime")
async def a_last_word_that_is_lost_is_noticed_too(bench: Bench, fake: Any) -> None:
    def answer(query: Any) -> str:
        fake.break_connections()
        return "broken"

    async with bench.repl(answer=answer) as repl:
        cell = await repl.run("llm_query('break it')")
        assert cell.error is not None
        assert "lost" in cell.error.message, cell
        repl.host.answer = lambda query: str(query.prompt)
        await repl.still_works()


@case("prime")
async def a_sandbox_of_prime_that_starts_slowly_is_waited_for(bench: Bench, fake: Any) -> None:
    fake.slow = 1
    try:
        async with bench.repl() as repl:
            await repl.still_works()
    finally:
        fake.slow = 0


@case("prime")
async def a_wrong_key_of_prime_is_told(bench: Bench, fake: Any) -> None:
    said = await raised(SetupError, bench.create(api_key="pit_wrong").open().__aenter__())
    assert "PRIME_API_KEY" in said
    assert "pit_wrong" not in said
    assert "pit_wrong" not in repr(bench.create(api_key="pit_wrong"))
