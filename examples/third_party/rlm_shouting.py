"""A backend whose one model repeats what it was told."""

from collections.abc import Callable, Sequence
from typing import Any

from rlm.errors import ConfigurationError
from rlm.types import Message, ModelInfo, Reply, Usage


class Shouting:
    """A provider whose one model repeats what it was told, louder."""

    def __init__(self, model_name: str) -> None:
        self.model = model_name

    def info(self, model: str | None = None) -> ModelInfo:
        return ModelInfo(context_window=8_000)  # what is not known is left out, never made up

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        model: str | None = None,
        on_text: Callable[[str], None] | None = None,
        **sampling: Any,
    ) -> Reply:
        text = messages[-1].content.upper()
        if on_text is not None:
            on_text(text)
        usage = Usage(calls=1, attempts=1, input_tokens=len(text), output_tokens=len(text), unpriced=1)
        return Reply(text=text, model=model or self.model, usage=usage)

    async def aclose(self) -> None:
        pass


def create(*, model_name: str | None = None, **others: object) -> Shouting:
    if model_name is None or others:
        raise ConfigurationError(f"shouting takes model_name and nothing else, not {sorted(others)}")
    return Shouting(model_name)
