"""What is known of models without asking anyone: windows, output limits, prices. The one file that uses `genai-prices`.

The table ships with that package (nothing is fetched) and takes a quarter of a second to import, so it is read at the
first question.
"""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rlm.types import ModelInfo, Price, Usage

if TYPE_CHECKING:
    import genai_prices.types

PROVIDERS = {"gemini": "google", "azure_openai": "azure"}
"""Providers whose name in the table is not their backend's; a name the table has not is simply not found."""
ROUTERS = ("portkey", "vercel")
"""Providers whose model names are `provider/model`, with or without a leading @."""
PREFIXES = {"google": ("models/",)}

LIMITS: tuple[tuple[str, int | None, int], ...] = (
    (r"gpt-5(\.\d)?-chat", None, 16_384),
    (r"gpt-5", None, 128_000),
    (r"gpt-4\.1", 1_047_576, 32_768),
    (r"gpt-4o", None, 16_384),
    (r"o[134](-|$)", None, 100_000),
    (r"claude-(3-opus|3-sonnet|3-haiku)", None, 4_096),
    (r"claude-3-5", None, 8_192),
    (r"claude-opus-4(-0|-1|-2025|$)", None, 32_000),
    (r"claude-", None, 64_000),
    (r"gemini-2\.0", 1_048_576, 8_192),
    (r"gemini-[23]", 1_048_576, 65_536),
)
"""A model's name, its input window where the table has none or a rounded one, its output limit, by the providers."""

INPUT_OF_TOTAL = {400_000: 272_000}
"""GPT-5 models take 400,000 tokens of which 128,000 are kept for output; the table gives the total."""


def lookup(provider: str, model: str) -> ModelInfo:
    """What is known of a provider's model; what is not known is `None`. `provider` is a backend's name."""
    info, _ = _known(provider, model)
    return info


def dollars(provider: str, model: str, usage: Usage) -> float | None:
    """What a call cost by the table, `None` where the table does not have the model."""
    info, tiered = _known(provider, model)
    if tiered is not None:
        return _tiered_cost(tiered, usage)
    return None if info.price is None else cost(info.price, usage)


def cost(price: Price, usage: Usage) -> float:
    """Dollars of one call. Its input includes tokens read from and written to a cache, which have their own prices."""
    cached = price.input if price.cached is None else price.cached
    written = price.input if price.cache_write is None else price.cache_write
    plain = max(usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens, 0)
    total = plain * price.input + usage.cached_tokens * cached + usage.cache_write_tokens * written
    return (total + usage.output_tokens * price.output) / 1_000_000


@functools.lru_cache(maxsize=1024)
def _known(provider: str, model: str) -> tuple[ModelInfo, genai_prices.types.ModelPrice | None]:
    """What is known, and the table's own price where it depends on the prompt's length."""
    provider, model = _canonical(provider, model)
    window, limit = _limits(model)
    found = _find(provider, model)
    if found is None:
        return ModelInfo(context_window=window, max_output_tokens=limit), None
    told = found.context_window
    window = window or (INPUT_OF_TOTAL.get(told, told) if told else None)
    prices = found.get_prices(datetime.now(UTC))
    first = {name: _first(getattr(prices, f"{name}_mtok", None)) for name in ("input", "output", "cache_read")}
    written = _first(getattr(prices, "cache_write_mtok", None))
    if first["input"] is None or first["output"] is None:
        return ModelInfo(context_window=window, max_output_tokens=limit), None
    price = Price(input=first["input"], output=first["output"], cached=first["cache_read"], cache_write=written)
    tiered = any(hasattr(value, "tiers") for value in vars(prices).values())
    info = ModelInfo(context_window=window, max_output_tokens=limit, price=price)
    return info, prices if tiered else None


def _canonical(provider: str, model: str) -> tuple[str, str]:
    provider = PROVIDERS.get(provider, provider)
    if provider in ROUTERS and "/" in model:
        provider, _, model = model.lstrip("@").partition("/")
    for prefix in PREFIXES.get(provider, ()):
        model = model.removeprefix(prefix)
    return provider, model


def _find(provider: str, model: str) -> genai_prices.types.ModelInfo | None:
    from genai_prices import data_snapshot

    try:
        _, found = data_snapshot.get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return None
    return found


def _limits(model: str) -> tuple[int | None, int | None]:
    name = model.rpartition("/")[2]
    for pattern, window, limit in LIMITS:
        if re.match(pattern, name):
            return window, limit
    return None, None


def _first(value: Any) -> float | None:
    """A price in the table: a number, or a base with tiers for long prompts."""
    number = getattr(value, "base", value)
    return float(number) if isinstance(number, Decimal | int | float) else None


def _tiered_cost(prices: genai_prices.types.ModelPrice, usage: Usage) -> float:
    from genai_prices import Usage as Counts

    counts = Counts(
        # A provider that counts cached tokens apart from the input would make the rest negative.
        input_tokens=max(usage.input_tokens, usage.cached_tokens + usage.cache_write_tokens),
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    return float(prices.calc_price(counts)["total_price"])
