"""Makes a package out of sources sent down a stream: sent first, as it is, and run by the worker's short bootstrap."""

from __future__ import annotations

import importlib.machinery
import linecache
import marshal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Sources:
    """Finds and loads the modules of one package from {module name: (source, compiled code or None)}."""

    def __init__(self, package: str, modules: dict[str, tuple[str, bytes | None]]) -> None:
        self._package = package
        self._modules = modules

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        loader: Any = self
        if name == self._package:
            return importlib.machinery.ModuleSpec(name, loader, is_package=True)
        parent, _, last = name.rpartition(".")
        return (
            importlib.machinery.ModuleSpec(name, loader) if parent == self._package and last in self._modules else None
        )

    def create_module(self, spec: Any) -> None:
        """As usual."""

    def exec_module(self, module: Any) -> None:
        name = module.__name__
        if name == self._package:
            return
        source, code = self._modules[name.rpartition(".")[2]]
        filename = f"<{name}>"
        linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
        module.__file__ = filename
        exec(
            compile(source, filename, "exec", dont_inherit=True) if code is None else marshal.loads(code),
            module.__dict__,
        )

    def get_source(self, name: str) -> str:
        return self._modules[name.rpartition(".")[2]][0]


def install(package: Any) -> None:
    """`package` has its name, its sources, and codes that are for the Python of that magic number and used by no
    other."""
    same = package["magic"] == sys.modules["_frozen_importlib_external"].MAGIC_NUMBER
    codes = package["codes"] if same else {}
    modules = {name: (source, codes.get(name)) for name, source in package["sources"].items()}
    sys.meta_path.append(Sources(package["package"], modules))
