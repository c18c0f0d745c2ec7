"""A program that another process kills: a checkpointed run over real HTTP. Prints the answer."""

from __future__ import annotations

import sys
from pathlib import Path

from rlm import RLM

KEY = "sk-the-key-of-the-victim"


def main(folder: str, environment: str, address: str, effects: str) -> None:
    def note(text: str) -> int:
        """Has an effect that must happen once."""
        with open(effects, "a", encoding="utf-8") as file:
            return file.write(f"{text}\n")

    rlm = RLM(
        backend="openai",
        backend_kwargs={
            "model_name": "m",
            "base_url": address,
            "api_key": "sk-the-key-of-the-victim",
            "max_retries": 0,
        },
        environment=environment,
        max_depth=2,
        custom_tools={"note": note},
        checkpoint=Path(folder),
    )
    with rlm:
        print(rlm.completion([f"line {n}" for n in range(8)], "collect").response)


if __name__ == "__main__":
    main(*sys.argv[1:])
