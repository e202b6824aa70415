"""Train the network on a teacher's labels; goes on where it was killed.

python -m tools.unet.train --labels teacher/labels.npz --out runs/unet
"""

from __future__ import annotations

import argparse
import copy
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
from tools.unet.data import Example, sample, weights
from tools.unet.network import small_unet


class Samples(Dataset):
    """Sample ``i`` of an epoch: a function of seed, epoch and ``i`` alone."""

    def __init__(self, examples: list[Example], seed: int, epoch: int, n: int) -> None:
        self.examples, self.seed, self.epoch = examples, seed, epoch
        order = rng(seed, "order", epoch).permutation(len(examples))
        self.order = np.resize(order, n)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        draw = rng(self.seed, "sample", self.epoch, i)
        return sample(self.examples[self.order[i]], self.examples, draw)


def loss(out: torch.Tensor, batch: dict[str, torch.Tensor], of_class: torch.Tensor) -> dict:
    """Return the parts of the loss, scalars."""
    logits, centre, offset = out[:, :5], out[:, 5], out[:, 6:]
    classes = batch["classes"]
    pixel = F.cross_entropy(logits, classes, of_class, ignore_index=255)
    known = classes != 255
    share = logits.softmax(1)
    white = (share[:, 1] + share[:, 2])[known]
    truth = ((classes == 1) | (classes == 2))[known].float()
    overlap = 1 - (2 * (white * truth).sum() + 1) / (white.sum() + truth.sum() + 1)
    peak = batch["centre"]
    bce = F.binary_cross_entropy_with_logits(centre, peak, reduction="none")
    bce = (bce * (1 + 20 * peak) * torch.maximum(batch["taught"], (peak > 0.05).float())).mean()
    thing = batch["thing"][:, None]
    steps = F.smooth_l1_loss(offset * thing, batch["offset"] * thing, reduction="none", beta=0.1)
    steps = steps.sum() / (2 * thing.sum() + 1)
    return {"pixel": pixel, "white": 0.5 * overlap, "centre": 2 * bce, "offset": 3 * steps}


def load(path: Path) -> list[Example]:
    """Return the examples of a labels file."""
    with np.load(path, allow_pickle=False) as file:
        images, classes, instances = file["images"], file["classes"], file["instances"]
        light, sizes = file["background"], file["sizes"]
    return [
        Example(images[i, :h, :w], classes[i, :h, :w], instances[i, :h, :w], tuple(light[i]))
        for i, (h, w) in enumerate(sizes)
    ]


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="weights to begin with")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--samples", type=int, default=0, help="an epoch; by default each image")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


class Training:
    """The network, its slow average, the optimiser and its schedule: all that a run is."""

    def __init__(self, asked: argparse.Namespace, steps: int) -> None:
        self.net = small_unet().to(memory_format=torch.channels_last)
        if asked.start:
            self.net.load_state_dict(torch.load(asked.start, weights_only=True))
        self.slow = copy.deepcopy(self.net).eval()
        of_encoder = {id(p) for p in self.net.encoder.parameters()}
        own = [p for p in self.net.parameters() if id(p) not in of_encoder]
        groups = [
            {"params": list(self.net.encoder.parameters()), "lr": asked.lr / 2},
            {"params": own, "lr": asked.lr},
        ]
        self.optimiser = torch.optim.AdamW(groups, weight_decay=1e-4)
        self.plan = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            [group["lr"] for group in groups],
            total_steps=steps * asked.epochs + 1,
            pct_start=0.15,
        )
        self.of_class = torch.tensor(weights())
        self.done = 0

    def step(self, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        """Learn from a batch; return the parts of the loss."""
        x = batch["image"].contiguous(memory_format=torch.channels_last)
        parts = loss(self.net(x), batch, self.of_class)
        self.optimiser.zero_grad(set_to_none=True)
        sum(parts.values()).backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 2.0)
        self.optimiser.step()
        self.plan.step()
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
        torch.save(kept | {"epoch": epoch, "done": self.done}, partial)
        partial.replace(out / "state.pt")
        torch.save(self.slow.state_dict(), out / "weights.pt")

    def resume(self, out: Path) -> int:
        """Go on from a kept state; return the epoch to begin with."""
        if not (out / "state.pt").exists():
            return 0
        kept = torch.load(out / "state.pt", weights_only=True)
        for name in _PARTS:
            getattr(self, name).load_state_dict(kept[name])
        self.done = kept["done"]
        return kept["epoch"]


_PARTS = ("net", "slow", "optimiser", "plan")


def main() -> None:
    asked = arguments()
    keep_memory()
    torch.manual_seed(asked.seed)
    asked.out.mkdir(parents=True, exist_ok=True)
    examples = load(asked.labels)
    steps = (asked.samples or len(examples)) // asked.batch
    training = Training(asked, steps)
    for epoch in range(training.resume(asked.out), asked.epochs):
        training.net.train()
        samples = Samples(examples, asked.seed, epoch, steps * asked.batch)
        start, sums = time.time(), Counter[str]()
        for batch in DataLoader(samples, asked.batch, num_workers=1):
            sums.update(training.step(batch))
        parts = ", ".join(f"{name} {value / steps:.3f}" for name, value in sums.items())
        print(f"epoch {epoch}: {parts}; {time.time() - start:.0f} s", flush=True)
        training.save(epoch + 1, asked.out)


if __name__ == "__main__":
    main()
