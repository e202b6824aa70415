"""Batch statistics after an epoch: those of the batches that are given, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from naturalize.models.config import Network, NetworkConfig
from naturalize.training.settings import TrainSettings

torch = pytest.importorskip("torch")

CONFIG = NetworkConfig("toy", ("a", "b"), 4, (0.0,) * 3, (1.0,) * 3, "none")


class Toy(torch.nn.Module):
    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(3, momentum=0.01) if norm else torch.nn.Identity()
        self.head = torch.nn.Linear(3, 2)

    def get_classifier(self) -> torch.nn.Module:
        return self.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(x).mean((2, 3)))


def learner(**settings):
    from naturalize.training.learner import Learner

    wanted = TrainSettings(model="toy", **settings)
    made = Learner(Network(Toy(), CONFIG), wanted, steps=3, names=tuple("abcdefgh"))
    made.begin(0)
    return made


def batches(n: int, size: int = 8):
    draw = np.random.default_rng(0)
    return [
        {
            "pixels": torch.from_numpy(draw.integers(0, 256, (size, 4, 4, 3), dtype=np.uint8)),
            "target": torch.zeros(size, dtype=torch.int64),
            "row": torch.arange(size),
        }
        for _ in range(n)
    ]


def expected(given) -> np.ndarray:
    return np.mean([b["pixels"].numpy().reshape(-1, 3).mean(0) / 255 for b in given], axis=0)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_statistics_are_the_mean_of_those_of_the_batches_not_of_the_training_before(ema):
    made, given = learner(ema=ema), batches(3)
    for batch in batches(2):
        made.step({**batch, "pixels": batch["pixels"] // 4})
    before = made.network.head.weight.clone()
    made.settle(given)
    np.testing.assert_allclose(made.judged.norm.running_mean, expected(given), rtol=1e-4)
    assert made.judged.norm.momentum == 0.01  # the next epoch goes on as before
    assert (made.network.head.weight == before).all()


def test_they_stay_as_they_are_while_only_the_head_learns():
    made = learner(head_epochs=1, epochs=3)
    before = made.judged.norm.running_mean.clone()
    made.settle(batches(2))
    assert (made.judged.norm.running_mean == before).all()


def test_a_network_without_them_reads_no_image():
    from naturalize.training.learner import Learner

    made = Learner(
        Network(Toy(norm=False), CONFIG), TrainSettings(model="toy"), steps=3, names=("a",)
    )
    made.begin(0)
    made.settle(pytest.fail("read") for _ in range(1))
