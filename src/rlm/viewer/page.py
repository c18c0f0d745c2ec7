"""The page: one HTML document with its styles and scripts inside, the same whether it is served or exported.

Nothing of a log is ever markup: an export carries it as JSON that the HTML parser cannot leave, and the policy lets no
script run but ours, by its digest.
"""

from __future__ import annotations

import json
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final

STYLES: Final = ("page.css", "run.css")
SCRIPTS: Final = (
    "dom.js",
    "highlight.js",
    "model.js",
    "source.js",
    "list.js",
    "tree.js",
    "timeline.js",
    "detail.js",
    "summary.js",
    "runs.js",
    "app.js",
)


def page(data: Any = None) -> bytes:
    """The document: with `data` it shows that and asks nobody, without it asks the server it came from."""
    island = "null" if data is None else island_of(data)
    policy = content_policy(served=data is None)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>rlm view</title>
<style>{style()}</style>
</head>
<body>
<noscript>This page needs JavaScript; all of it is inside the page.</noscript>
<div id="app"></div>
<script type="application/json" id="data">{island}</script>
<script>{script()}</script>
</body>
</html>
""".encode()


def island_of(data: Any) -> str:
    """JSON for inside a `script` element: ASCII, without a character that HTML could take for markup."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def content_policy(*, served: bool) -> str:
    connect = "'self'" if served else "'none'"
    return (
        f"default-src 'none'; script-src '{digest(script())}'; style-src '{digest(style())}'; connect-src {connect}; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def script() -> str:
    return "\n" + "\n".join(static(name) for name in SCRIPTS)


@cache
def style() -> str:
    return "\n" + "\n".join(static(name) for name in STYLES)


def static(name: str) -> str:
    return files("rlm.viewer").joinpath("static", name).read_text("utf-8")


def digest(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()
