"""Train the network on labels files; goes on where it was killed.

    python -m tools.unet.train --labels teacher/labels.npz --out runs/unet
    python -m tools.unet.train --labels own.npz composed.npz --start shipped --minutes 60 --out u

Of several files each gives as many samples. The images of all are listed beside the weights, as the
package lists them. With ``--minutes`` the rate falls with the time that
was trained, over all runs into one folder, and not with the epochs.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, Dataset

from naturalize.base.process import keep_memory
from naturalize.base.rng import rng
from naturalize.cells.segmenters.unet.network import OWN
from tools.unet.data import Example, load_labels, sample, weights
from tools.unet.labels import CYTOPLASM, IGNORE, NUCLEUS, WHITE
from tools.unet.network import load_onnx, normalise, small_unet

#: Share of a run in which the rate rises, and where it begins, as a share of the highest.
_RISE, _FIRST = 0.15, 0.04

#: Batches from which the statistics of the shipped network's normalisations are taken.
_LOOKED_AT = 8


class Samples(Dataset):
    """Sample ``i`` of an epoch: a function of seed, epoch and ``i``; the sources take turns."""

    def __init__(self, sources: list[list[Example]], seed: int, epoch: int, n: int) -> None:
        self.sources, self.seed, self.epoch, self.n = sources, seed, epoch, n
        self.orders = [
            np.resize(rng(seed, "order", epoch, k).permutation(len(one)), -(-n // len(sources)))
            for k, one in enumerate(sources)
        ]

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        draw = rng(self.seed, "sample", self.epoch, i)
        turn, k = divmod(i, len(self.sources))
        return sample(self.sources[k][self.orders[k][turn]], self.sources[k], draw)


def loss(out: torch.Tensor, batch: dict[str, torch.Tensor], of_class: torch.Tensor) -> dict:
    """Return the parts of the loss, scalars."""
    logits, centre, offset = out[:, :5], out[:, 5], out[:, 6:]
    classes = batch["classes"]
    shares = logits.log_softmax(1)
    white = torch.logsumexp(shares[:, CYTOPLASM : NUCLEUS + 1], 1)
    pixel = F.nll_loss(
        torch.cat([shares, white[:, None]], 1), classes, of_class, ignore_index=IGNORE
    )
    known = classes != IGNORE
    white = white.exp()[known]
    truth = ((classes == CYTOPLASM) | (classes == NUCLEUS) | (classes == WHITE))[known].float()
    overlap = 1 - (2 * (white * truth).sum() + 1) / (white.sum() + truth.sum() + 1)
    peak = batch["centre"]
    bce = F.binary_cross_entropy_with_logits(centre, peak, reduction="none")
    bce = (bce * (1 + 20 * peak) * torch.maximum(batch["taught"], (peak > 0.05).float())).mean()
    thing = batch["thing"][:, None]
    steps = F.smooth_l1_loss(offset * thing, batch["offset"] * thing, reduction="none", beta=0.1)
    steps = steps.sum() / (2 * thing.sum() + 1)
    return {"pixel": pixel, "white": 0.5 * overlap, "centre": 2 * bce, "offset": 3 * steps}


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--start", default="imagenet", help="imagenet, shipped (the package's) or a weights file"
    )
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--minutes", type=float, help="of training, instead of epochs")
    parser.add_argument("--samples", type=int, default=0, help="an epoch; by default each image")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def rate(share: float) -> float:
    """Return the rate, as a share of the highest, when that share of a run is done."""
    if share < _RISE:
        return _FIRST + (1 - _FIRST) * share / _RISE
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (share - _RISE) / (1 - _RISE)))


class Training:
    """The network, its slow average, the optimiser and its schedule: all that a run is."""

    def __init__(self, asked: argparse.Namespace, sources: list[list[Example]]) -> None:
        self.net = small_unet("none" if asked.start == "shipped" else "imagenet")
        if asked.start == "shipped":
            load_onnx(self.net, OWN)
            samples = Samples(sources, asked.seed, -1, _LOOKED_AT * asked.batch)
            normalise(self.net, (batch["image"] for batch in DataLoader(samples, asked.batch)))
        elif asked.start != "imagenet":
            self.net.load_state_dict(torch.load(asked.start, weights_only=True))
        self.net.to(memory_format=torch.channels_last)
        self.slow = copy.deepcopy(self.net).eval()
        of_encoder = {id(p) for p in self.net.encoder.parameters()}
        own = [p for p in self.net.parameters() if id(p) not in of_encoder]
        groups = [{"params": list(self.net.encoder.parameters())}, {"params": own}]
        self.rates = (asked.lr / 2, asked.lr)
        self.optimiser = torch.optim.AdamW(groups, lr=asked.lr, weight_decay=1e-4)
        self.of_class = torch.tensor(weights())
        self.done, self.seconds = 0, 0.0

    def step(self, batch: dict[str, torch.Tensor], share: float) -> dict[str, float]:
        """Learn from a batch when ``share`` of the run is done; return the parts of the loss."""
        for group, highest in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = highest * rate(share)
        x = batch["image"].contiguous(memory_format=torch.channels_last)
        parts = loss(self.net(x), batch, self.of_class)
        self.optimiser.zero_grad(set_to_none=True)
        sum(parts.values()).backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 2.0)
        self.optimiser.step()
        keep = min(0.998, (1 + self.done) / (20 + self.done))
        with torch.no_grad():
            pairs = zip(
                self.slow.state_dict().values(), self.net.state_dict().values(), strict=True
            )
            for slow, fast in pairs:
                slow.lerp_(fast, 1 - keep) if fast.dtype.is_floating_point else slow.copy_(fast)
        self.done += 1
        return {name: value.item() for name, value in parts.items()}

    def save(self, epoch: int, out: Path) -> None:
        """Keep the state after an epoch, and the weights as they stand."""
        kept = {name: getattr(self, name).state_dict() for name in _PARTS}
        partial = out / "state.tmp"
        torch.save(kept | {"epoch": epoch, "done": self.done, "seconds": self.seconds}, partial)
        partial.replace(out / "state.pt")
        torch.save(self.slow.state_dict(), out / "weights.pt")

    def resume(self, out: Path) -> int:
        """Go on from a kept state; return the epoch to begin with."""
        if not (out / "state.pt").exists():
            return 0
        kept = torch.load(out / "state.pt", weights_only=True)
        for name in _PARTS:
            getattr(self, name).load_state_dict(kept[name])
        self.done, self.seconds = kept["done"], kept["seconds"]
        return kept["epoch"]


_PARTS = ("net", "slow", "optimiser")


def main() -> None:
    asked = arguments()
    keep_memory()
    torch.manual_seed(asked.seed)
    asked.out.mkdir(parents=True, exist_ok=True)
    sources = [load_labels(file) for file in asked.labels]
    ids = {str(one) for file in asked.labels for one in np.load(file)["ids"]}
    (asked.out / "training_images.txt").write_text("".join(f"{one}\n" for one in sorted(ids)))
    steps = max(1, (asked.samples or sum(map(len, sources))) // asked.batch)
    training = Training(asked, sources)

    def share() -> float:
        if asked.minutes:
            return training.seconds / (60 * asked.minutes)
        return training.done / (steps * asked.epochs)

    epoch = training.resume(asked.out)
    while share() < 1:
        training.net.train()
        samples = Samples(sources, asked.seed, epoch, steps * asked.batch)
        sums, n = Counter[str](), 0
        begun, before = time.monotonic(), training.seconds
        for batch in DataLoader(samples, asked.batch, num_workers=1):
            n += 1
            sums.update(training.step(batch, share()))
            training.seconds = before + time.monotonic() - begun
            if share() >= 1:
                break
        epoch += 1
        parts = ", ".join(f"{name} {value / n:.3f}" for name, value in sums.items())
        print(f"epoch {epoch}: {parts}; {training.seconds - before:.0f} s, {n} steps", flush=True)
        training.save(epoch, asked.out)


if __name__ == "__main__":
    main()
