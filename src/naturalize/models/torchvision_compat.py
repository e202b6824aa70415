"""Let ``import torchvision`` work where its compiled extension cannot be loaded.

A CPU build of PyTorch beside a torchvision built for CUDA (what a plain package registry gives) has
no usable ``torchvision._C``. torchvision then describes two operators that nobody declared, and its
import, and with it that of timm, fails with "operator torchvision::nms does not
exist". Nothing here needs those operators; declaring them is enough for the Python parts to load.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_OPERATORS = ("nms", "qnms")

#: A declaration lives as long as its library object.
_declared: list[Any] = []


def ensure() -> bool:
    """Make torchvision importable; call it before importing torchvision or timm.

    Does nothing where torchvision is absent, imported already, or whole (its extension loads).
    Returns whether the operators had to be declared (in this call or an earlier one).
    """
    if _declared or hasattr(sys.modules.get("torchvision"), "transforms"):
        return bool(_declared)
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or _extension_loads(Path(spec.origin).parent):
        return False
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _OPERATORS:
        if not hasattr(torch.ops.torchvision, name):
            library.define(name + _SIGNATURE)
    _declared.append(library)
    return True


def _extension_loads(package: Path) -> bool:
    """Return whether the compiled extension in the folder ``package`` loads (and load it)."""
    import torch

    for file in sorted(package.glob("_C*.so")) + sorted(package.glob("_C*.pyd")):
        try:
            torch.ops.load_library(str(file))
        except OSError:
            continue
        return True
    return False
