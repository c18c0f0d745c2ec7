"""`rlm stats`: what many runs took, as tables, as a file with a line per run, and as plots."""

from rlm.cli.stats.report import Output, report

__all__ = ["Output", "report"]
