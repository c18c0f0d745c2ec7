"""The viewer: trajectory files as a local page or one self-contained file. A room of its own, on public names alone.

`Log` reads a file lazily, `Summary` answers what one asks of a run first, `export` and `Server` make the page.
"""

from __future__ import annotations

from rlm.viewer.export import export
from rlm.viewer.log import Log
from rlm.viewer.server import Server
from rlm.viewer.summary import Summary

__all__ = ["Log", "Server", "Summary", "export"]
