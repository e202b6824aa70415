"""Patches of 64 pixels at cell edges, and a small network that is trained to tell them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from naturalize.base.console import track
from naturalize.base.errors import MissingExtraError
from naturalize.base.rng import rng, seed_of
from naturalize.realism.areas import Areas

if TYPE_CHECKING:
    import torch
    from torch import nn

#: Side of a patch in pixels, and the grid of its corner: that of JPEG blocks.
SIDE, _GRID = 64, 8

#: Patches an image: at the target's border, at other cells' borders, anywhere.
SHARES = (4, 2, 2)

#: Passes over the training patches, at least so many steps; patches a step; learning rate.
_EPOCHS, _STEPS, _BATCH, _RATE = 8, 120, 32, 3e-3


def cut_patches(areas: Areas, *keys: str | int, seed: int = 0) -> np.ndarray:
    """Return patches of an image, RGB uint8 (8, 64, 64, 3), most of them over cells' borders.

    Corners lie on multiples of eight pixels. An image smaller than a patch is mirrored outwards;
    where there is no such border, places are drawn from the whole image.
    """
    image = areas.image
    low = [max(0, SIDE - side) for side in image.shape[:2]]
    if any(low):
        image = cv2.copyMakeBorder(image, 0, low[0], 0, low[1], cv2.BORDER_REFLECT)
    draw = rng(seed, "patches", *keys)
    height, width = areas.found.shape
    cells = (areas.kinds > 0).astype(np.uint8)
    other = cv2.morphologyEx(cells, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    places = (np.abs(areas.beyond) <= 2, other & (areas.beyond > 6), None)
    out = []
    for area, n in zip(places, SHARES, strict=True):
        spots = np.flatnonzero(area) if area is not None else np.zeros(0, int)
        picked = (
            spots[draw.integers(len(spots), size=n)]
            if len(spots)
            else draw.integers(height * width, size=n)
        )
        for spot in picked.tolist():
            y, x = divmod(spot, width)
            y, x = _corner(y, image.shape[0]), _corner(x, image.shape[1])
            out.append(image[y : y + SIDE, x : x + SIDE])
    return np.stack(out)


def _corner(middle: int, side: int) -> int:
    last = (side - SIDE) // _GRID * _GRID
    return int(min(max(round((middle - SIDE / 2) / _GRID) * _GRID, 0), last))


def patch_scores(
    patches: np.ndarray, composite: np.ndarray, fold: np.ndarray, *, seed: int = 0
) -> np.ndarray:
    """Train a small network for each fold and return scores of the images that it did not see.

    Four convolutions on colour and high-pass luminance, 42,000 weights; each of eight epochs (more
    where there are few images) sees half of an image's patches, flipped at random; an image's score
    is the mean logit of all.

    Parameters
    ----------
    patches
        Uint8 (N, K, 64, 64, 3).
    composite
        Bool (N,).
    fold
        Int (N,).

    Returns
    -------
    numpy.ndarray
        Float64 (N,): higher means composite.

    Raises
    ------
    MissingExtraError
        Without PyTorch.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("PyTorch", "train") from error
    scores = np.zeros(len(patches))
    pixels = torch.from_numpy(_with_high_pass(patches))
    with torch.random.fork_rng(devices=[]):
        for number in track(np.unique(fold).tolist(), "train on patches"):
            torch.manual_seed(seed_of(seed, "patches", number) % 2**63)
            out = fold == number
            network = _train(pixels[~out], composite[~out], seed=seed)
            scores[out] = _score(network, pixels[out])
    return scores


def _with_high_pass(patches: np.ndarray) -> np.ndarray:
    """Return uint8 (N, K, 64, 64, 4): colour, and luminance less its blur, ×8 about 128."""
    out = np.empty((*patches.shape[:-1], 4), np.uint8)
    out[..., :3] = patches
    for image, goal in zip(patches, out, strict=True):
        for patch, four in zip(image, goal, strict=True):
            luma = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY).astype(np.float32)
            fine = luma - cv2.blur(luma, (3, 3))
            four[..., 3] = np.clip(np.rint(fine * 8 + 128), 0, 255)
    return out


def _network() -> nn.Module:
    from torch import nn

    from naturalize.models.zoo import channels_last

    def layer(inputs: int, outputs: int, side: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, side, 2, side // 2, bias=False)
        return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

    layers = [*layer(4, 16, 5), *layer(16, 32, 3), *layer(32, 48, 3), *layer(48, 48, 3)]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 1))
    return channels_last(network)


def _train(pixels: torch.Tensor, composite: np.ndarray, *, seed: int) -> nn.Module:
    import torch

    n, each = pixels.shape[:2]
    flat = pixels.flatten(0, 1)
    goal = torch.from_numpy(np.repeat(composite, each).astype(np.float32))
    network = _network().train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=1e-2)
    half = max(1, each // 2)
    per_epoch = -(-n * half // _BATCH)
    epochs = max(_EPOCHS, -(-_STEPS // per_epoch))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=epochs * per_epoch)
    for epoch in range(epochs):
        draw = rng(seed, "patches", "epoch", epoch)
        picked = draw.permuted(np.tile(np.arange(each), (n, 1)), axis=1)[:, :half]
        order = draw.permutation((picked + each * np.arange(n)[:, None]).ravel())
        for start in range(0, len(order), _BATCH):
            rows = torch.from_numpy(order[start : start + _BATCH])
            flips = [axis for axis in (2, 3) if draw.random() < 0.5]
            if len(rows) > 1:  # one patch alone has nothing to be normalised with
                logit = network(_input(flat[rows]).flip(flips)).squeeze(1)
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, goal[rows])
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
            schedule.step()
    return network.eval()


def _input(pixels: torch.Tensor) -> torch.Tensor:
    """Return float32 (n, 4, 64, 64), channels last in memory, from uint8 (n, 64, 64, 4)."""
    return pixels.permute(0, 3, 1, 2).float().sub_(128).mul_(1 / 32)


def _score(network: nn.Module, pixels: torch.Tensor) -> np.ndarray:
    import torch

    n, each = pixels.shape[:2]
    with torch.inference_mode():
        logits = [network(_input(part)).squeeze(1) for part in pixels.flatten(0, 1).split(256)]
    return torch.cat(logits).numpy().astype(np.float64).reshape(n, each).mean(axis=1)
