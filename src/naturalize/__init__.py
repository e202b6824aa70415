"""naturalize: from a few, imbalanced images of cells to a classifier that can be trusted.

The names below do from Python what the commands of the same names do; they are imported when first
used, so that ``import naturalize`` is quick and composing works without PyTorch.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as in typing, whose import takes as long as the rest of this file

__version__ = "0.1.0"

if TYPE_CHECKING:
    from typing import Any

    from naturalize.adaptation.adapt import adapt
    from naturalize.base.errors import NaturalizeError
    from naturalize.cells.bank import CellBank
    from naturalize.cells.segment import segment_images
    from naturalize.cells.segmenters import segmenter
    from naturalize.compose.deliver.transform import Naturalize
    from naturalize.compose.draw.planner import plan
    from naturalize.compose.paint.render import render
    from naturalize.dataset.audit import audit
    from naturalize.dataset.catalog import Catalog
    from naturalize.dataset.phantom import write_phantom
    from naturalize.dataset.split import Split
    from naturalize.evaluation.evaluate import evaluate
    from naturalize.evaluation.metrics import scores
    from naturalize.explain.methods import explain
    from naturalize.fields.read import read
    from naturalize.inputs.labs import labs
    from naturalize.models.predictor import Predictor
    from naturalize.prediction.files import predict
    from naturalize.prediction.predictor import TorchClassifier
    from naturalize.report import write_report
    from naturalize.study.run import run_study
    from naturalize.study.settings import load_study
    from naturalize.training.fit import train

_HOMES = {
    "Catalog": "dataset.catalog",
    "CellBank": "cells.bank",
    "Naturalize": "compose.deliver.transform",
    "NaturalizeError": "base.errors",
    "Predictor": "models.predictor",
    "Split": "dataset.split",
    "TorchClassifier": "prediction.predictor",
    "adapt": "adaptation.adapt",
    "audit": "dataset.audit",
    "evaluate": "evaluation.evaluate",
    "explain": "explain.methods",
    "labs": "inputs.labs",
    "load_study": "study.settings",
    "plan": "compose.draw.planner",
    "predict": "prediction.files",
    "read": "fields.read",
    "render": "compose.paint.render",
    "run_study": "study.run",
    "scores": "evaluation.metrics",
    "segment_images": "cells.segment",
    "segmenter": "cells.segmenters",
    "train": "training.fit",
    "write_phantom": "dataset.phantom",
    "write_report": "report",
}

__all__ = [
    "Catalog",
    "CellBank",
    "Naturalize",
    "NaturalizeError",
    "Predictor",
    "Split",
    "TorchClassifier",
    "adapt",
    "audit",
    "evaluate",
    "explain",
    "labs",
    "load_study",
    "plan",
    "predict",
    "read",
    "render",
    "run_study",
    "scores",
    "segment_images",
    "segmenter",
    "train",
    "write_phantom",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'naturalize' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"naturalize.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
