"""The live view: what runs are doing, drawn while they do it. Nothing of rich is imported before there is a screen."""

from rlm.live.fold import summary
from rlm.live.view import LiveView

__all__ = ["LiveView", "summary"]
