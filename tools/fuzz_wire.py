"""Fuzz the host's end of the wire: `python tools/fuzz_wire.py [--seconds 60]`, after `pip install atheris`.

Its twin in tests/wire/test_wire.py is quick; this one is led by the code it reaches, for as long as it is given.
A finding ends it with the traceback, the input beside it in a file, and an exit code that is not 0.
"""

from __future__ import annotations

import argparse
import base64
import importlib
import json
import sys
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

TOKEN: Final = "0123456789abcdef"
MARK: Final = (TOKEN + "<").encode()
# Small enough that the few bytes of one input reach them.
BYTES: Final = 4_096
BLOBS: Final = 12
REQUESTS: Final = 6
FRAME: Final = 2_048
SLICES: Final = 4
BOUND: Final = "a bound text é " * 40
NOISE: Final = 4_096
SLACK: Final = 64

NAMES: Final = ("value", "v", "b", "j", "$", "id", "raw", "data", "text", "end", "kind", "prompt", "context", "path")
TAGS: Final = (
    *("tuple", "set", "frozenset", "dict", "blob", "ref", "float", "int", "text", "bytes"),
    *("decimal", "date", "datetime", "time", "timedelta", "timezone", "zone"),
)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--input", type=Path, help="a file with the input of a finding, to run again")
    options = parser.parse_args(arguments)
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        sys.exit("fuzz_wire.py needs atheris: pip install atheris")
    with atheris.instrument_imports(include=["rlm.wire", "rlm.repl"]):
        wire: Any = importlib.import_module("rlm.wire")
        channel: Any = importlib.import_module("rlm.repl.channel")
        frames: Any = importlib.import_module("rlm.repl.frames")
    wire.BYTES = channel.BYTES = BYTES
    wire.REQUESTS, channel.BLOBS, frames.FRAME = REQUESTS, BLOBS, FRAME

    def once(data: bytes) -> None:
        Conversation(wire, atheris.FuzzedDataProvider(data)).run()

    work = [str(options.input)] if options.input else [f"-max_total_time={options.seconds}"]
    limits = ["-max_len=4096", "-timeout=20", "-rss_limit_mb=2048", "-len_control=20", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, *work], once)
    atheris.Fuzz()


class Conversation:
    """One host, and a worker that says whatever the input makes of it."""

    def __init__(self, module: Any, chance: Any) -> None:
        self.module, self.chance = module, chance
        self.raw = bool(chance.ConsumeBool())
        self.wire = module.Wire(TOKEN, raw=self.raw)
        self.open: list[int] = []
        self.fed = 0

    def run(self) -> None:
        try:
            if self.chance.ConsumeIntInRange(0, 9):  # most of the code is behind the greeting
                self.feed(self.frame({"method": "ready", "params": {"protocol": 1, "python": "3.8"}}))
            self.bind()
            while self.chance.remaining_bytes():
                self.host_acts()
                for piece in self.pieces(self.worker_says()):
                    self.feed(piece)
        except self.module.WireError:
            self.check(whole=False)  # the session ends a little later, and may hold no more till then

    def bind(self) -> None:
        encoded = {"$": "blob", "v": 0}, [BOUND]
        _, shipment = self.wire.call("bind", {"name": "context"}, encoded)
        for number, blob in shipment.blobs:
            for _, size in self.wire.pieces(number, blob):
                self.wire.take_room(size)
        self.wire.know(shipment)

    def host_acts(self) -> None:
        what = self.chance.ConsumeIntInRange(0, 5)
        if what == 0:
            self.wire.call("execute", {}, ("x = 1", []))
        elif what == 1 and self.open:
            number = self.open.pop(0)
            if self.chance.ConsumeBool():
                self.wire.fail(number, {"message": "m"})
            else:
                self.wire.answer(number, ("", []))
            self.wire.settled(number)
        elif what == 2:
            self.wire.acknowledgement()

    def feed(self, data: bytes) -> None:
        self.fed = len(data)
        for event in self.wire.feed(data):
            if isinstance(event, self.module.Asked):
                self.open.append(event.number)
            if isinstance(event, self.module.Printed):
                assert type(event.text) is str
        self.check()

    def check(self, *, whole: bool = True) -> None:
        """What it holds is bounded, and what it believes to hold is what it holds (at least, in mid-failure)."""
        wire, channel = self.wire, self.wire._channel
        held = sum(blob.size for blob in channel._arriving.values())
        held += sum(size for size, _ in channel._arrived.values())
        assert held <= BYTES + FRAME, held
        assert channel._held == held if whole else channel._held >= held, (channel._held, held)
        assert len(channel._arriving) + len(channel._arrived) <= BLOBS + 1
        assert len(channel.reader._buffer) <= 2 * FRAME + self.fed + SLACK
        assert len(channel.reader.unread()) <= NOISE
        assert len(wire._asked) <= REQUESTS + 1
        assert wire._asked_bytes == sum(size for size, _ in wire._asked.values())
        assert wire._sliced == sum(sliced for _, sliced in wire._asked.values())
        assert wire._sliced <= BYTES + SLICES * len(BOUND)

    # What the worker says -------------------------------------------------------------------------------------------

    def pieces(self, data: bytes) -> list[bytes]:
        at = self.chance.ConsumeIntInRange(0, len(data)) if self.chance.ConsumeBool() else 0
        return [data[:at], data[at:]] if at else [data]

    def worker_says(self) -> bytes:
        kind = self.chance.ConsumeIntInRange(0, 7)
        some = self.some
        if kind == 0:
            return bytes(self.chance.ConsumeBytes(some(600)))
        if kind == 1:
            return MARK + bytes(self.chance.ConsumeBytes(some(300))) + b"\n"
        if kind == 2:
            return self.frame({name: self.tree(3) for name in ("id", "method", "params", "result")[: some(4)]})
        if kind == 3:
            return self.blob()
        if kind == 4:
            return self.frame({"id": some(9), "result" if some(3) else "error": self.value()})
        if kind == 5:
            return self.frame({"method": "output", "params": self.value()})
        if kind == 6:
            numbers = [some(BLOBS) for _ in range(some(4))]
            drop, credit = {"ids": numbers}, {"bytes": some(1_000)}
            return self.frame({"method": "drop", "params": drop} if some(1) else {"method": "credit", "params": credit})
        return self.question()

    def question(self) -> bytes:
        method = "query" if self.some(2) else "tool"
        tree: dict[str, Any]
        if method == "query":
            tree = {"kind": "rlm", "prompt": self.tree(3) if self.some(1) else "p", "model": None, "batch": None}
            if self.some(1):
                tree["context"] = self.tree(4)
        else:
            tree = {"name": "f", "args": [self.tree(4)], "kwargs": {"k": self.tree(2)}}
        return self.frame({"id": self.some(9), "method": method, "params": self.value(tree)})

    def value(self, tree: Any = None) -> dict[str, Any]:
        numbers = [self.some(BLOBS) for _ in range(self.some(2))]
        if self.some(3) == 0:
            return {"value": {"j": self.some(BLOBS), "b": numbers}}
        return {"value": {"v": self.tree(5) if tree is None else tree, "b": numbers}}

    def blob(self) -> bytes:
        params: dict[str, Any] = {"id": self.some(BLOBS), "text": bool(self.some(1)), "end": bool(self.some(3))}
        if self.some(1):
            data = json.dumps(self.tree(4)).encode()
        elif self.some(1):
            data = b"x" * self.some(FRAME)  # costs the input nothing, and gets to the bounds
        else:
            data = bytes(self.chance.ConsumeBytes(self.some(300)))
        if self.raw and self.some(7):
            params["raw"] = len(data) + (0 if self.some(15) else self.some(9))
            return self.frame({"method": "blob", "params": params}) + data
        params["data"] = base64.b64encode(data).decode()
        if self.some(30) == 1:
            params["path"] = "/dev/null"
        return self.frame({"method": "blob", "params": params})

    def tree(self, depth: int) -> Any:
        kind = self.chance.ConsumeIntInRange(0, 9 if depth else 4)
        if kind == 0:
            return self.chance.PickValueInList([None, True, False, -1, 1.5, 1 << 70, 1e308])
        if kind == 1:
            return self.some(700)
        if kind in (2, 3):
            return self.chance.ConsumeUnicode(self.some(20))
        if kind == 4:
            return {"$": "ref", "v": [self.some(2), self.some(len(BOUND)), self.some(len(BOUND))]}
        if kind == 5:
            return [self.tree(depth - 1) for _ in range(self.some(4))]
        if kind == 6:
            return [self.tree(0)] * self.some(30)
        if kind == 7:
            return {self.chance.PickValueInList(list(NAMES)): self.tree(depth - 1) for _ in range(self.some(3))}
        return {"$": self.chance.PickValueInList(list(TAGS)), "v": self.tree(depth - 1)}

    def frame(self, message: dict[str, Any]) -> bytes:
        return MARK + json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"

    def some(self, most: int) -> int:
        return int(self.chance.ConsumeIntInRange(0, most))


if __name__ == "__main__":
    main(sys.argv[1:])
