"""A network as an ONNX graph whose numbers stay in the file of weights that it was made for."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from naturalize.base.errors import MissingExtraError, SettingsError
from naturalize.models.config import NetworkConfig
from naturalize.models.identity import layout
from naturalize.models.onnx_predictor import BATCH, INPUT, OUTPUT, WEIGHTS_HASH
from naturalize.models.preprocess import normalise

if TYPE_CHECKING:
    import onnx

#: The version of ONNX's operators: what onnxruntime reads since 2023.
_OPSET = 17

#: What the network's tensors are called in the graph, before their names in the state.
_PREFIX = "network."


class _FromPixels(nn.Module):
    """A network that takes images as `preprocess.batch` gives them, uint8 (N, S, S, 3)."""

    def __init__(self, network: nn.Module, config: NetworkConfig) -> None:
        super().__init__()
        self.network, self.mean, self.std = network, config.mean, config.std

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(normalise(images, self.mean, self.std)).float()


def graph(module: nn.Module, config: NetworkConfig, weights: Path, weights_hash: str) -> bytes:
    """Return the ONNX graph of a network, from pixels to logits.

    Tensors of the network are *external data*: an offset and a length in ``weights``, which has to
    lie beside the graph. Those stored as float16 are cast; the runtime does so once, when it opens
    the file. The batch norms are there as they are; the runtime fuses them.

    Parameters
    ----------
    module
        Takes normalised (N, 3, S, S) to logits (N, C); on the processor.
    config
        Input size, and the normalisation that becomes a part of the graph.
    weights
        The safetensors file that ``module`` was read from.
    weights_hash
        Its hash, for the graph to say whose it is.

    Raises
    ------
    MissingExtraError
        If the package onnx is not installed.
    SettingsError
        If the network does something that ONNX has no operator for.
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
        if entry is None or tensor.raw_data != _bytes(state[key]):
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


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().numpy().tobytes()


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
