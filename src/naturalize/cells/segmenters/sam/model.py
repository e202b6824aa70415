"""What every model of the SAM family does: it encodes an image once and answers many prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

#: Longest side of the models' input, in pixels.
SIDE = 1024

#: Side of the maps that they answer with.
MAP = 256


@dataclass(frozen=True)
class Frame:
    """Where a model's maps lie in the image: how many map pixels an image pixel is wide and high.

    ``shape`` is the image's height and width. SAM lays images into the upper left corner of a
    square, SAM 2 stretches them to it; this hides the difference.
    """

    shape: tuple[int, int]
    per_x: float
    per_y: float

    @classmethod
    def padded(cls, shape: tuple[int, int]) -> Frame:
        """Return the frame of an image scaled to the longest side, with room below or beside."""
        height, width = fitted(shape)
        return cls(shape, width / shape[1] * MAP / SIDE, height / shape[0] * MAP / SIDE)

    @classmethod
    def stretched(cls, shape: tuple[int, int]) -> Frame:
        """Return the frame of an image stretched over the whole square."""
        return cls(shape, MAP / shape[1], MAP / shape[0])

    def inputs(self, points: np.ndarray) -> np.ndarray:
        """Return x, y (..., 2) of the image as float32 x, y of the model's input."""
        factor = np.array([self.per_x, self.per_y]) * (SIDE / MAP)
        return (np.asarray(points, np.float64) * factor).astype(np.float32)

    def logits(self, low: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
        """Return a map (256, 256) in image pixels, float32, inside ``x0, y0, x1, y1``.

        Bilinear between the middles of pixels, as SAM's own post-processing is.
        """
        x0, y0, x1, y1 = window
        # the middle of image pixel x lies at (x + 0.5) * per_x - 0.5 of the map
        back = np.array(
            [
                [self.per_x, 0, (x0 + 0.5) * self.per_x - 0.5],
                [0, self.per_y, (y0 + 0.5) * self.per_y - 0.5],
            ]
        )
        return cv2.warpAffine(
            np.asarray(low, np.float32),
            back,
            (x1 - x0, y1 - y0),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )

    def window(self, low: np.ndarray) -> tuple[int, int, int, int] | None:
        """Return the box of image pixels in which a map exceeds 0; ``None`` if nowhere."""
        above = low > 0
        rows, columns = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
        if not len(rows):
            return None
        height, width = self.shape
        x0, x1 = int((columns[0] - 0.5) / self.per_x) - 1, int((columns[-1] + 1.5) / self.per_x) + 1
        y0, y1 = int((rows[0] - 0.5) / self.per_y) - 1, int((rows[-1] + 1.5) / self.per_y) + 1
        box = (max(0, x0), max(0, y0), min(width, x1), min(height, y1))
        # the map goes on below or beside the image
        return box if box[0] < box[2] and box[1] < box[3] else None


def fitted(shape: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of an image scaled to the longest side, rounded as SAM rounds."""
    factor = SIDE / max(shape)
    return int(shape[0] * factor + 0.5), int(shape[1] * factor + 0.5)


@dataclass(frozen=True, eq=False)
class Encoded:
    """An image that a model has encoded.

    ``frame``: where its answers lie in the image; ``answer`` gives maps and scores of up to
    ``batch`` prompts: float32 (n, k, 2), the two corners of a box or one point each, x and y in
    pixels of the model's input.
    """

    frame: Frame
    answer: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    batch: int

    def masks(
        self, *, boxes: np.ndarray | None = None, points: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Answer prompts: the logits of m masks each, and the model's own estimates of their IoU.

        ``boxes``: (n, 4), ``x0, y0, x1, y1`` in pixels of the image; or ``points``: (n, 2), x, y of
        one point inside each object. Maps are float32 (n, m, 256, 256), above 0 inside; scores
        float32 (n, m).
        """
        given = np.asarray(boxes if boxes is not None else points, np.float64)
        prompts = self.frame.inputs(given.reshape(len(given), -1, 2))
        starts = range(0, len(prompts), self.batch)
        found = [self.answer(prompts[start : start + self.batch]) for start in starts]
        maps, scores = zip(*found, strict=True)
        return np.concatenate(maps), np.concatenate(scores)


class Model(Protocol):
    """A model of the SAM family."""

    def encode(self, image: np.ndarray) -> Encoded:
        """Encode RGB uint8 (H, W, 3); the slow part, once an image."""
