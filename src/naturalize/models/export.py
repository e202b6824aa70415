"""Give a model folder its graph, so that it predicts without PyTorch.

The graph holds operations only; its numbers stay in the file of weights that it was made for.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from naturalize.base.artifacts import (
    MANIFEST,
    file_hash,
    read_json,
    read_manifest,
    write_bytes,
    write_json,
    writing,
)
from naturalize.base.errors import ArtifactError, MissingExtraError, SettingsError
from naturalize.models.config import NetworkConfig
from naturalize.models.ensemble import is_ensemble, read_members
from naturalize.models.folder import ELSEWHERE, GRAPH, MODEL, WEIGHTS, halved, put_elsewhere
from naturalize.models.identity import layout
from naturalize.models.load import load_model
from naturalize.models.onnx_predictor import (
    BATCH,
    INPUT,
    OUTPUT,
    WEIGHTS_HASH,
    OnnxPredictor,
    open_session,
)
from naturalize.models.preprocess import normalise
from naturalize.models.shipped import find
from naturalize.models.torch_predictor import TorchPredictor

if TYPE_CHECKING:
    import onnx

#: The version of ONNX's operators: what onnxruntime reads since 2023.
_OPSET = 17

#: What the network's tensors are called in the graph, before their names in the state.
_PREFIX = "network."

#: The most that a probability may differ between the engines.
MOST_APART = 1e-4

#: Images that both engines are asked: phantoms, and as many of noise.
_EACH = 4


@dataclass(frozen=True)
class Exported:
    """What was written: the model folder, its graphs, and how far the engines are apart.

    ``difference`` is the largest one of any probability of ``images`` test images.
    """

    path: Path
    graphs: tuple[Path, ...]
    difference: float
    images: int


def export_model(
    path: str | Path,
    out: str | Path | None = None,
    *,
    elsewhere: str | Path | None = None,
    half: bool = False,
) -> Exported:
    """Write the graph of a model, of an ensemble those of its members, and check it.

    ``path`` is a model folder or the name of a shipped model, ``out`` where a copy of it with the
    graph shall be; by default the graph is written into ``path``, whose manifest is renewed.
    ``elsewhere`` is a model of the same classes that shall answer for standardised images in the
    model written; it gets a graph too. With ``half``, numbers are stored as float16; see
    `naturalize.models.folder.save_model`.

    ``MissingExtraError`` without the package onnx; ``SettingsError`` if the network cannot be
    written as a graph, or ``elsewhere`` has other classes; ``ArtifactError`` if a model folder is
    damaged, or the graph gives other probabilities. Nothing is written then.
    """
    shipped = not Path(path).is_dir()
    path = find(path).resolve()
    if shipped and out is None:
        raise SettingsError(f"{path.name} is part of the package: name a folder for a copy (--out)")
    out = path if out is None else Path(out)
    if path in out.resolve().parents:
        raise SettingsError(f"{out}: lies in the model folder itself; write the copy elsewhere")
    images = sample_images()
    away = None if elsewhere is None else find(elsewhere).resolve()
    differences = _write(path, out, images, away, half=half)
    graphs = tuple(sorted(out.rglob(GRAPH)))
    return Exported(out, graphs, max(differences), len(images))


def _write(
    path: Path, out: Path, images: list[np.ndarray], elsewhere: Path | None, *, half: bool
) -> list[float]:
    """Write a model folder again, with a graph; return how far the engines are apart."""
    manifest = read_manifest(path, "model")
    inputs = dict(manifest.inputs)
    if elsewhere is not None:
        inputs[ELSEWHERE] = read_manifest(elsewhere, "model").fingerprint
    members = read_members(path)[1] if is_ensemble(path) else []
    inner = [member.path.relative_to(path) for member in members]
    with writing(out, "model", settings=manifest.settings, inputs=inputs) as folder:
        shutil.copytree(path, folder, dirs_exist_ok=True)
        (folder / MANIFEST).unlink()
        if elsewhere is not None:
            shutil.rmtree(folder / ELSEWHERE, ignore_errors=True)
            put_elsewhere(folder, elsewhere)
        if (folder / ELSEWHERE).is_dir():
            inner.append(Path(ELSEWHERE))
        parts = [_write(folder / p, folder / p, images, None, half=half) for p in inner]
        found = [difference for part in parts for difference in part]
        return found if members else [*found, _write_graph(path, folder, images, half=half)]


def _write_graph(path: Path, folder: Path, images: list[np.ndarray], *, half: bool) -> float:
    module, config = load_model(path)  # which also says whether the weights are whole
    weights = folder / WEIGHTS
    if half:
        from safetensors.torch import save

        state = halved(module.state_dict())
        write_bytes(weights, save(state, metadata={"architecture": config.architecture}))
        write_json(folder / MODEL, {**read_json(folder / MODEL), "stored": "float16"})
        module.load_state_dict(state)
    write_bytes(folder / GRAPH, graph(module, config, weights, file_hash(weights)))
    found = OnnxPredictor(open_session(folder / GRAPH), config).probabilities(images)
    expected = TorchPredictor(module, config).probabilities(images, batch=4)
    difference = float(np.abs(found - expected).max())
    if not difference <= MOST_APART:
        raise ArtifactError(
            f"{folder / GRAPH}: its probabilities differ from PyTorch's by up to {difference:.1e} "
            f"(at most {MOST_APART:.0e} is accepted); nothing was written"
        )
    return difference


def sample_images() -> list[np.ndarray]:
    """Return images to compare engines with: phantoms of some classes, and noise."""
    from naturalize.dataset.phantom import CLASSES, render_phantom

    draw = np.random.default_rng(0)
    noise = [draw.integers(0, 256, (96, 101, 3), dtype=np.uint8) for _ in range(_EACH)]
    return [render_phantom(label, 0, 0).image for label in CLASSES[:_EACH]] + noise


class _FromPixels(nn.Module):
    """A network that takes images as `preprocess.batch` gives them, uint8 (N, S, S, 3)."""

    def __init__(self, network: nn.Module, config: NetworkConfig) -> None:
        super().__init__()
        self.network, self.mean, self.std = network, config.mean, config.std

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(normalise(images, self.mean, self.std)).float()


def graph(module: nn.Module, config: NetworkConfig, weights: Path, weights_hash: str) -> bytes:
    """Return the ONNX graph of a network on the processor, from pixels to logits.

    Tensors of the network are *external data*: an offset and a length in ``weights``, the
    safetensors file that ``module`` was read from, which has to lie beside the graph;
    ``weights_hash`` says whose it is. Those stored as float16 are cast; the runtime does so once,
    when it opens the file. The normalisation of ``config`` is a part of the graph. The batch norms
    are there as they are; the runtime fuses them. ``SettingsError`` if the network does something
    that ONNX has no operator for.
    """
    model = _traced(module.eval(), config)
    _refer(model, module.state_dict(), weights)
    for node in model.graph.node:
        node.doc_string = ""  # where in whose Python files it comes from
    entry = model.metadata_props.add()
    entry.key, entry.value = WEIGHTS_HASH, weights_hash
    return model.SerializeToString(deterministic=True)


def _traced(module: nn.Module, config: NetworkConfig) -> onnx.ModelProto:
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise MissingExtraError("onnx", "export") from error
    side = config.input_size
    with warnings.catch_warnings(), _Poolable(), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        warnings.simplefilter("ignore")  # of the tracer: sizes become constants, as they should
        try:
            torch.onnx.export(
                _FromPixels(module, config).eval(),
                (torch.zeros(2, side, side, 3, dtype=torch.uint8),),
                file,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: BATCH}, OUTPUT: {0: BATCH}},
                opset_version=_OPSET,
                dynamo=False,
                # tensors stay as they are in the file: nothing is fused, nothing is computed
                training=torch.onnx.TrainingMode.PRESERVE,
                do_constant_folding=False,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise SettingsError(
                f"{config.architecture}: cannot be written as a graph ({reason}); "
                "it predicts with PyTorch as before"
            ) from error
        return onnx.load(file)


def _refer(model: onnx.ModelProto, state: dict[str, torch.Tensor], weights: Path) -> None:
    """Replace tensors by references into a safetensors file, where they are what it holds."""
    import onnx

    entries = layout(weights)
    casts = []
    for tensor in model.graph.initializer:
        key = tensor.name.removeprefix(_PREFIX)
        entry = entries.get(key)
        if entry is None or tensor.raw_data != state[key].contiguous().numpy().tobytes():
            continue  # made by the tracer: it stays in the graph
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        where = {"location": weights.name, "offset": entry.offset, "length": entry.length}
        for name, value in where.items():
            tensor.external_data.add(key=name, value=str(value))
        if entry.dtype == "float16":
            name, tensor.name = tensor.name, f"{tensor.name}.half"
            tensor.data_type = onnx.TensorProto.FLOAT16
            float32 = int(onnx.TensorProto.FLOAT)
            casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=float32))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


class _Poolable(TorchFunctionMode):
    """Let adaptive means over any areas be traced: ONNX knows those of equal areas only."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Call a function of torch, adaptive means by :func:`_pool`."""
        given = _pool if func is functional.adaptive_avg_pool2d else func
        return given(*args, **(kwargs or {}))


def _pool(x: torch.Tensor, output_size: Any) -> torch.Tensor:
    """Return what ``adaptive_avg_pool2d`` does, as two products with matrices where it must be."""
    wanted = output_size if isinstance(output_size, list | tuple) else (output_size, output_size)
    here = [int(side) for side in x.shape[-2:]]
    rows, columns = (side if w is None else int(w) for w, side in zip(wanted, here, strict=True))
    if here[0] % rows == 0 and here[1] % columns == 0:
        return torch._C._nn.adaptive_avg_pool2d(x, (rows, columns))
    return _means(here[0], rows) @ x @ _means(here[1], columns).T


def _means(size: int, parts: int) -> torch.Tensor:
    """Return (parts, size): each row takes the mean of one of overlapping parts, as torch does."""
    matrix = torch.zeros(parts, size)
    for i in range(parts):
        begin, end = i * size // parts, -(-(i + 1) * size // parts)
        matrix[i, begin:end] = 1 / (end - begin)
    return matrix
