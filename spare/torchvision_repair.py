"""Makes torchvision's Python half usable where its compiled half does not fit the installed torch.

torchvision from PyPI is compiled against CUDA. Beside a processor-only torch its operators are
missing, and `import torchvision` dies ("operator torchvision::nms does not exist") although
resizing and normalising, all that picture processors need, are plain torch. Declaring the two
operators that the import looks for is enough. Where torchvision works, nothing is done.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_FRAGILE = "torchvision._meta_registrations"
_libraries: list[Any] = []  # torch forgets the operators when their library is collected


@functools.cache
def repair_torchvision() -> None:
    """Arrange that a later `import torchvision` succeeds. Imports neither it nor torch."""
    if "torchvision" not in sys.modules:
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Steps in just before the one module that looks the operators up."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != _FRAGILE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if not sys.modules["torchvision.extension"]._has_ops():
            _declare_operators()
        self.loader.exec_module(module)


def _declare_operators() -> None:
    import torch

    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)
