"""Where the cells of a whole field lie: single, touching, in stacks and in clumps, cut by the edge.

Cells are discs here. Each lies at the first of its tries at which it goes no further into others
than it may; one for which there is none lies at the best, if that is still near enough, else it is
left out. So the work is bounded, however crowded the field.
"""

from __future__ import annotations

import numpy as np

from naturalize.compose.draw import constants as tuned


class Scatter:
    """The discs of a field of width and height ``canvas``, so far."""

    def __init__(self, canvas: tuple[int, int]) -> None:
        self.canvas = np.array(canvas, np.float64)
        self._n = 0
        self._at, self._radius, self._hard = np.zeros((64, 2)), np.zeros(64), np.zeros(64)

    def add(self, at: np.ndarray, radius: np.ndarray, hard: float = 1.0) -> None:
        """Let discs lie at ``at`` (g, 2).

        ``hard``: how many times as much it counts to go into them.
        """
        end = self._n + len(at)
        while end > len(self._at):
            self._at = np.concatenate([self._at, np.zeros_like(self._at)])
            self._radius = np.concatenate([self._radius, np.zeros_like(self._radius)])
            self._hard = np.concatenate([self._hard, np.zeros_like(self._hard)])
        self._at[self._n : end], self._radius[self._n : end] = at, radius
        self._hard[self._n : end] = hard
        self._n = end

    def into_others(self, at: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """Return how far groups go into others, (T,): shares of the sum of two radii, the most.

        ``at``: (T, g, 2), places of the g discs at each of T tries; ``radius``: (g,).
        """
        if not self._n:
            return np.zeros(len(at))
        off = at[:, :, None] - self._at[None, None, : self._n]
        apart = np.sqrt(off[..., 0] ** 2 + off[..., 1] ** 2)
        sums = radius[:, None] + self._radius[None, : self._n]
        into = (1 - apart / sums) * self._hard[: self._n]
        return into.max(axis=(1, 2)).clip(0)

    def try_group(
        self,
        shape: np.ndarray,
        radius: np.ndarray,
        may: float,
        at_most: float,
        chances: np.ndarray,
    ) -> np.ndarray | None:
        """Set a group of discs and return where they lie, (g, 2); ``None`` if there is no room.

        ``shape``: (g, 2), the discs about the group's middle; ``may``: how far it may go into
        others, and ``at_most`` where no try is as good; ``chances``: (T, 2) in [0, 1).
        """
        reach = (1 - 2 * tuned.INSIDE) * radius.min()
        middles = chances * (self.canvas + 2 * reach) - reach
        at = middles[:, None] + shape[None]
        into = self.into_others(at, radius)
        good = into <= may
        best = int(good.argmax()) if good.any() else int(into.argmin())
        if into[best] > max(may, at_most):
            return None
        found = at[best]
        self.add(found, radius)
        return found


def set_white(
    canvas: tuple[int, int],
    radius: np.ndarray,
    area: np.ndarray,
    hidden: float,
    chances: np.ndarray,
) -> np.ndarray:
    """Return where white cells lie, (n, 2), NaN for those that find no room.

    The first one lies on the canvas as a whole, if that is large enough; the others have their
    middle on it. Of none is more than the share ``hidden`` under all others: as the overlap of
    circles of ``radius`` (n,), which hold the cells, over their ``area`` (n,) in pixels.
    ``chances``: (n, T, 2) in [0, 1).
    """
    size, n = np.array(canvas, np.float64), len(radius)
    at, under = np.full((n, 2), np.nan), np.zeros(n)
    for i in range(n):
        inset = np.minimum(radius[i], size / 2) if i == 0 else np.zeros(2)
        places = inset + chances[i] * (size - 2 * inset)
        for place in places:
            lens = overlap_of_circles(np.hypot(*(at[:i] - place).T), radius[:i], radius[i])
            lens = np.nan_to_num(lens)
            if (under[:i] + lens <= hidden * area[:i]).all() and lens.sum() <= hidden * area[i]:
                at[i], under[i] = place, lens.sum()
                under[:i] += lens
                break
    return at


def overlap_of_circles(apart: np.ndarray, first: np.ndarray, second: float) -> np.ndarray:
    """Return the area that circles have in common, (n,); their middles lie ``apart``.

    Examples
    --------
    >>> overlap_of_circles(np.array([0.0, 1.0, 2.0]), np.ones(3), 1.0).round(3).tolist()
    [3.142, 1.228, 0.0]
    """
    apart = np.maximum(apart, 1e-9)
    inner = np.minimum(first, second)
    a = np.clip((apart**2 + first**2 - second**2) / (2 * apart * first), -1, 1)
    b = np.clip((apart**2 + second**2 - first**2) / (2 * apart * second), -1, 1)
    root = (-apart + first + second) * (apart + first - second)
    root = root * (apart - first + second) * (apart + first + second)
    lens = first**2 * np.arccos(a) + second**2 * np.arccos(b) - np.sqrt(np.maximum(root, 0)) / 2
    lens = np.where(apart >= first + second, 0.0, lens)
    return np.where(apart <= np.abs(first - second), np.pi * inner**2, lens)


def stack(radius: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the discs of a stack about its middle, (g, 2), and its direction at each (radians).

    Cells follow each other at a part of their diameter, along a line that bends a little.
    """
    g = len(radius)
    step = 2 * radius.mean() * generator.uniform(*tuned.STACK_STEP)
    bend = generator.normal(0, tuned.STACK_BEND)
    way = generator.uniform(0, 2 * np.pi) + bend * np.arange(g)
    steps = step * np.column_stack([np.cos(way), np.sin(way)])
    steps += generator.normal(0, tuned.STACK_JITTER, (g, 2)) * radius[:, None]
    at = np.cumsum(steps, axis=0)
    return at - at.mean(axis=0), way


def clump(radius: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return the discs of a clump about its middle, (g, 2): each beside an earlier one."""
    at = np.zeros((len(radius), 2))
    for i in range(1, len(radius)):
        beside = at[generator.integers(i)]
        angle = generator.uniform(0, 2 * np.pi)
        away = generator.uniform(*tuned.CLUMP_STEP) * 2 * radius[i]
        at[i] = beside + away * np.array([np.cos(angle), np.sin(angle)])
    return at - at.mean(axis=0)
