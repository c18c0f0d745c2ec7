"""Loggers under the reference library's names: `RLMLogger` records runs, `VerbosePrinter` prints them."""

from rlm.logger.rlm_logger import RLMLogger
from rlm.logger.text import printable
from rlm.logger.verbose import VerbosePrinter

__all__ = ["RLMLogger", "VerbosePrinter", "printable"]
