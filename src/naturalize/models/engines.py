"""What runs a network: onnxruntime, fast on a processor and light, or PyTorch, for all else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from naturalize.base.errors import SettingsError, unknown
from naturalize.models.onnx_predictor import OnnxPredictor, has_graph, load_onnx

if TYPE_CHECKING:
    from naturalize.models.predictor import Predictor

#: ``auto``: onnxruntime on the processor for a model folder that has a graph, else PyTorch.
ENGINES = ("auto", "onnx", "torch")


def open_predictor(
    path: str | Path, *, device: str = "cpu", engine: str = "auto"
) -> Predictor | OnnxPredictor:
    """Open a model folder with the engine that suits it; both give the same probabilities.

    Parameters
    ----------
    path
        A model folder.
    device
        A torch device; the processor by default.
    engine
        One of :data:`ENGINES`.

    Raises
    ------
    SettingsError
        For an unknown engine or device, or onnxruntime on another device than the processor.
    ArtifactError
        If the folder is damaged, or onnxruntime is asked for and it has no graph.
    """
    if engine not in ENGINES:
        raise unknown("engine", engine, list(ENGINES))
    if engine == "onnx" and device != "cpu":
        raise SettingsError(f"engine onnx runs on the processor only, not on {device}; try torch")
    if engine == "onnx" or (engine == "auto" and device == "cpu" and has_graph(path)):
        return load_onnx(path)
    from naturalize.models.predictor import Predictor

    return Predictor.load(path, device=device)
