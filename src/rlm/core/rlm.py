"""`RLM` under the reference library's import path."""

from rlm.api import RLM

__all__ = ["RLM"]
