"""A stand-in for a SAM model that knows the truth, and where the real one's weights are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from naturalize.base.errors import NaturalizeError
from naturalize.cells.segmenters.sam.model import MAP, Frame
from naturalize.cells.segmenters.sam.weights import find

#: Gives logits (m, H, W) and scores (m,) for an image and the middle of a prompt.
Answer = Callable[[np.ndarray, tuple[float, float]], tuple[np.ndarray, np.ndarray]]


def need_mobilesam() -> None:
    """Skip where the weights are not in the cache, saying how to get them."""
    try:
        find("mobilesam")
    except NaturalizeError as error:
        pytest.skip(str(error))


def to_map(logits: np.ndarray, frame: Frame) -> np.ndarray:
    """Return full-size logits (H, W) as the model's map (256, 256); the inverse of ``Frame``."""
    there = np.array(
        [
            [1 / frame.per_x, 0, 0.5 / frame.per_x - 0.5],
            [0, 1 / frame.per_y, 0.5 / frame.per_y - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        np.asarray(logits, np.float32), there, (MAP, MAP), flags=flags,
        borderMode=cv2.BORDER_CONSTANT, borderValue=-20.0,
    )  # fmt: skip


def logits_of(mask: np.ndarray, *, height: float = 2.0) -> np.ndarray:
    """Return logits that are the signed distance to a mask's outline: a sharp, stable answer."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    signed = inside - outside - 0.5 * np.sign(inside - outside)
    return (height * np.clip(signed, -1000, 1000)).astype(np.float32)


@dataclass
class FakeModel:
    """Answers prompts by a function; counts how often it looked."""

    answer: Answer
    looks: int = 0
    prompts: int = 0

    def encode(self, image: np.ndarray) -> FakeEncoded:
        self.looks += 1
        return FakeEncoded(Frame.padded(image.shape[:2]), image, self)


@dataclass
class FakeEncoded:
    frame: Frame
    image: np.ndarray
    model: FakeModel

    def masks(
        self, *, boxes: np.ndarray | None = None, points: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        at = points if boxes is None else (boxes[:, :2] + boxes[:, 2:]) / 2
        self.model.prompts += len(at)
        maps, scores = [], []
        for x, y in at:
            logits, score = self.model.answer(self.image, (float(x), float(y)))
            maps.append([to_map(one, self.frame) for one in logits])
            scores.append(score)
        return np.array(maps, np.float32), np.array(scores, np.float32)
