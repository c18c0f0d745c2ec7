"""Where cells run: a file's name is its registration. For environments of other packages: `StreamEnvironment`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlm.environments._stream import StreamEnvironment as StreamEnvironment

__all__ = ["StreamEnvironment"]


def __getattr__(name: str) -> Any:
    """Imported when it is asked for: most programs only name an environment."""
    if name == "StreamEnvironment":
        from rlm.environments._stream import StreamEnvironment

        return StreamEnvironment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
