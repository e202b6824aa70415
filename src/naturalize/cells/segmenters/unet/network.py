"""The network's file, the image as it was taught to see it, and one pass of it through it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from naturalize.base.artifacts import file_hash
from naturalize.base.errors import ArtifactError
from naturalize.cells.segmenters.classical.view import slide

#: The weights that come with the package.
OWN = Path(__file__).with_name("unet.onnx")

#: Sides of the network's input are multiples of this.
STEP = 16

#: Outputs of the network: five classes, the centre map, offsets (y, x) in units of ``UNIT`` pixels.
SLIDE, CYTOPLASM, NUCLEUS, RED, PLATELET, CENTRE = range(6)
OUTPUTS, UNIT = 8, 16.0

#: Grey level of the bare slide in training, and the most that light is changed to give it (chosen
#: while the mask sets were looked at; see the model card).
SLIDE_GREY, _MOST_GAIN = 225.0, 2.2


@lru_cache(maxsize=2)
def session(weights: str | None = None) -> Any:
    """Return the onnxruntime session of a file; one a process, on one thread.

    Images are distributed over processes, so a second thread would only wait for the first.
    """
    import onnxruntime

    path = Path(weights) if weights else OWN
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        made = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common base class for its errors
        reason = str(error).strip().splitlines()[0]
        raise ArtifactError(f"{path}: cannot be opened as an ONNX network ({reason})") from error
    outputs = made.get_outputs()
    if len(made.get_inputs()) != 1 or len(outputs) != 1 or outputs[0].shape[1] != OUTPUTS:
        raise ArtifactError(
            f"{path}: expected one input (n, 3, h, w) and one output (n, {OUTPUTS}, h, w)"
        )
    return made


@lru_cache(maxsize=8)
def digest(weights: str | None = None) -> str:
    """Return 16 hex digits of the SHA-256 of the weights' file."""
    path = Path(weights) if weights else OWN
    try:
        return file_hash(path)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from error


def maps(image: np.ndarray, weights: str | None = None) -> np.ndarray:
    """Return the network's outputs, float32 (8, h, w), for an image at the scale of its input.

    ``image``: RGB uint8 (h, w, 3), its slide grey; ``weights``: as for
    :class:`~naturalize.cells.segmenters.unet.UNet`.
    """
    height, width = image.shape[:2]
    # mirrored past the edge, as in training: a cell cut by the edge goes on to look like a cell
    padded = cv2.copyMakeBorder(image, 0, -height % STEP, 0, -width % STEP, cv2.BORDER_REFLECT_101)
    x = np.multiply(padded.transpose(2, 0, 1)[None], np.float32(1 / 255), dtype=np.float32)
    run = session(weights)
    return run.run(None, {run.get_inputs()[0].name: np.ascontiguousarray(x)})[0][
        0, :, :height, :width
    ]


def balanced(image: np.ndarray, scale: float) -> np.ndarray:
    """Return RGB uint8 (H, W, 3) at the scale of the network's input, at least 16 × 16.

    Every channel is multiplied so that the bare slide becomes grey, as in training; a yellow or
    lilac slide is no property of the cells. ``scale``: pixels of the result to one of the image's.
    """
    height, width = image.shape[:2]
    size = (max(STEP, round(width * scale)), max(STEP, round(height * scale)))
    how = cv2.INTER_AREA if size[0] * size[1] < width * height else cv2.INTER_LINEAR
    small = cv2.resize(image, size, interpolation=how)
    gain = np.clip(SLIDE_GREY / np.maximum(slide(small)[0], 1), 1 / _MOST_GAIN, _MOST_GAIN)
    levels = np.clip(np.rint(np.arange(256)[:, None] * gain), 0, 255).astype(np.uint8)
    return cv2.LUT(small, levels[None])


def strengthened(seen: np.ndarray, gain: float) -> np.ndarray:
    """Return a balanced image, RGB uint8 (h, w, 3), with ``gain`` times the optical density."""
    if gain == 1:
        return seen
    passed = np.maximum(np.arange(256, dtype=np.float32), 1) / SLIDE_GREY
    return cv2.LUT(seen, np.clip(np.rint(SLIDE_GREY * passed**gain), 0, 255).astype(np.uint8))
