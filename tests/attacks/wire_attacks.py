"""Code in a cell that speaks on the wire itself: it is the same process, so it can. The host must not believe it."""

# ruff: noqa: E501 - code for cells, in lines as it would be written

from __future__ import annotations

from typing import Final

from attacks.attacks import Attack

SPEAK: Final = """
import gc, json
port = next(o for o in gc.get_objects() if type(o).__name__ == "Port")
mark, fd = port.channel.mark, port._descriptors.wire_out
def say(message, payload=b""):
    text = message if isinstance(message, bytes) else json.dumps(message).encode()
    port.write(mark + text + b"\\n" + payload)
def post(number, method, tree):
    say({"jsonrpc": "2.0", "id": number, "method": method, "params": {"value": {"b": [], "v": tree}}})
def ask(number, **params):
    post(number, "query", {"kind": "llm", "prompt": "x", "model": None, "batch": None, **params})
"""


def _wire(name: str, code: str, seconds: float = 10) -> Attack:
    return Attack(name=name, code=SPEAK + code, seconds=seconds)


WIRE: Final = (
    _wire("answer a question that was never asked", 'say({"jsonrpc": "2.0", "id": 987654, "result": {"value": {"b": [], "v": 1}}})'),
    _wire("answer for the cell itself", 'say({"jsonrpc": "2.0", "id": port.interrupts.cell, "result": {"value": {"b": [], "v": {"forged": 1}}}})'),
    _wire("greet a second time", 'say({"jsonrpc": "2.0", "method": "ready", "params": {"protocol": 1, "python": "3.99"}})'),
    _wire("call a method that is not there", 'say({"jsonrpc": "2.0", "id": 1, "method": "execute", "params": {}})'),
    _wire("a message that is not JSON", 'say(b"{" * 1000)'),
    _wire("JSON a million levels deep", 'say(b"[" * 900_000)'),
    _wire("numbers that JSON does not have", 'say(b\'{"jsonrpc": "2.0", "id": NaN, "method": "query", "params": 1e999}\')'),
    _wire("a number of a million digits", 'say(b\'{"jsonrpc": "2.0", "id": \' + b"9" * 900_000 + b"}")'),
    _wire("duplicate ids", "for _ in range(3): ask(424242, prompt='hang')\nimport time\ntime.sleep(5)"),
    _wire("a flood of questions", "for n in range(10**6, 10**6 + 200_000): ask(n, prompt='hang')", 20),
    _wire("a flood of messages that mean nothing", 'while True: say({"jsonrpc": "2.0", "method": "credit", "params": {"bytes": 0}})', 2),
    _wire("a line of 256 MB without an end", 'import os\nfor _ in range(1 << 8): os.write(fd, b"x" * (1 << 20))', 20),
    _wire("a frame of 1 GB", 'import os\nport.write(mark)\nfor _ in range(1 << 10): port.write(b"x" * (1 << 20))', 20),
    _wire("a frame that announces 1 TB", 'say({"jsonrpc": "2.0", "method": "blob", "params": {"id": 1, "text": True, "end": True, "raw": 1 << 40}})'),
    _wire("blobs that never end", """
n = 0
while True:
    n += 1
    say({"jsonrpc": "2.0", "method": "blob", "params": {"id": n % 50, "text": False, "end": False, "raw": 1 << 17}}, b"x" * (1 << 17))
""", 20),
    _wire("a blob in a file of the host's", 'say({"jsonrpc": "2.0", "method": "blob", "params": {"id": 1, "text": True, "end": True, "path": target["paths"][0]}})'),
    _wire("half a message, and then silence", "port.write(mark + b'{\"jsonrpc\"')"),
    _wire("random bytes", "import os\nfor _ in range(200): os.write(fd, os.urandom(1 << 16))"),
    _wire("close the wire", "import os\nos.close(fd)"),
    _wire("take the wire away", "import os\nos.dup2(os.open('/dev/null', os.O_WRONLY), fd)", 2),
    _wire("raise its own depth", "ask(77, depth=-5)\nimport time\ntime.sleep(2)"),
    _wire("raise its own budget", "ask(78, kind='rlm', max_budget=1e9, limits={'max_depth': 99})\nimport time\ntime.sleep(2)"),
    _wire("call a tool that was never given", "post(79, 'tool', {'name': '__import__', 'args': ['os'], 'kwargs': {}})\nimport time\ntime.sleep(2)"),
    _wire("refer to what was never bound", """
post(80, "query", {"kind": "rlm", "prompt": {"$": "ref", "v": [1, 0, 10**12]}, "model": None, "batch": None})
import time
time.sleep(2)
"""),
)  # fmt: skip
