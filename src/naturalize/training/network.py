"""What a training step and a validation pass are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.nn import functional

from naturalize.base.errors import NaturalizeError
from naturalize.base.rng import rng, seed_of
from naturalize.models.preprocess import normalise
from naturalize.models.zoo import Network
from naturalize.training import optimiser
from naturalize.training.framework import pl
from naturalize.training.losses import Loss
from naturalize.training.mixing import mix
from naturalize.training.settings import TrainSettings


class Classifier(pl.LightningModule):
    """A network in training.

    A step is written out (Lightning's "manual optimisation"), so that a batch that does not fit
    into memory can be worked off in pieces, and so that the loss of a batch is the same number
    whether one process has it or several have a share each.

    Parameters
    ----------
    network
        What is trained.
    settings
        Rates, schedule, mode.
    steps
        Optimiser steps an epoch.
    names
        Image or recipe id of each training row, for messages.
    loss
        Of an image; cross entropy by default.
    pieces
        How many pieces a batch is worked off in.

    Attributes
    ----------
    scores
        Of the last validation: ``loss``, ``accuracy``, ``macro_f1``.
    train_loss, last_lr
        Mean over the last epoch's steps, and the greatest rate of its last one.
    """

    network: Any

    def __init__(
        self,
        network: Network,
        settings: TrainSettings,
        *,
        steps: int,
        names: tuple[str, ...],
        loss: Loss | None = None,
        pieces: int = 1,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network.module
        self.config, self.settings, self.steps, self.names = network.config, settings, steps, names
        self.loss = loss or Loss(smoothing=settings.label_smoothing)
        self.pieces = pieces
        self.average: Any = None
        if settings.ema is not None:
            self.average = optimiser.moving_average(self.network, settings.ema)
        self.only_head = settings.head_epochs > 0
        self._learning = optimiser.learning(self.network)
        self.scores: dict[str, float] = {}
        self.train_loss = self.last_lr = math.nan
        self._losses: list[float] = []
        self._seen: list[tuple[torch.Tensor, ...]] = []

    @property
    def judged(self) -> nn.Module:
        """The module that is validated and kept: the moving average, if there is one."""
        return self.average.module if self.average is not None else self.network

    def train(self, mode: bool = True) -> Classifier:
        """Switch to training; a frozen backbone stays in evaluation: its statistics, no dropout."""
        super().train(mode)
        if self.average is not None:
            self.average.eval()
        if mode and self.only_head:
            self.network.eval()
            self.network.get_classifier().train()
        return self

    def configure_optimizers(self) -> Any:
        """Return AdamW with its rates and their schedule."""
        groups = optimiser.parameter_groups(self.network, self.settings)
        adam = torch.optim.AdamW(groups, lr=self.settings.lr)
        return [adam], [optimiser.schedule(adam, self.settings, self.steps)]

    # -- training -----------------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        """Forget the last epoch's losses, and freeze what does not learn in this one."""
        self._losses = []
        self.only_head = self.current_epoch < self.settings.head_epochs
        if self.settings.head_epochs:
            optimiser.only_head(self.network, self._learning, self.only_head)
            self.train()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed dropout by the step, so that a resumed run draws what an unbroken one draws."""
        torch.manual_seed(seed_of(self.settings.seed, "step", self.global_step, *self._rank))

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> dict[str, Any]:
        """Take one step; a loss that is no number stops the run, naming the batch's images."""
        adam: Any = self.optimizers()
        rates: Any = self.lr_schedulers()
        x, target = self._input(batch), batch["target"]
        x, partner, share = self._mixed(x)
        total = self._weight(target)
        value = 0.0
        adam.zero_grad()
        size = math.ceil(len(target) / self.pieces)
        for start in range(0, len(target), size):
            piece = slice(start, start + size)
            logits = self.network(x[piece]).float()
            losses = self.loss(logits, target[piece])
            if partner is not None:
                losses = share * losses + (1 - share) * self.loss(logits, target[partner[piece]])
            loss = losses.sum() / total
            value += float(loss.detach())
            self._check(value, batch)
            self.manual_backward(loss)
        if self.settings.clip_norm is not None:
            self.clip_gradients(adam, self.settings.clip_norm, "norm")
        self.last_lr = max(float(group["lr"]) for group in adam.param_groups)
        adam.step()
        rates.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        self._losses.append(value)
        return {"loss": torch.tensor(value)}

    def _weight(self, target: torch.Tensor) -> float:
        """Return the sum of a batch's weights, the mean over all processes."""
        if self.loss.weights is None:
            return len(target)
        return self._over_ranks(self.loss.weights[target].sum())

    def _mixed(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, float]:
        mixup, cutmix = self.settings.mixup, self.settings.cutmix
        if not (mixup or cutmix):
            return x, None, 1.0
        generator = rng(self.settings.seed, "mix", self.global_step, *self._rank)
        return mix(x, generator, mixup=mixup, cutmix=cutmix)

    def _check(self, value: float, batch: dict[str, torch.Tensor]) -> None:
        if not math.isfinite(value):
            ids = [self.names[row] for row in batch["row"].tolist()]
            raise NaturalizeError(
                f"step {self.global_step + 1}: the loss is {value}; lower lr (now "
                f"{self.settings.lr:g}) or look at the batch's images: {', '.join(ids)}"
            )

    # -- validation ---------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Let all processes judge the network that is kept: batch statistics differ a little."""
        if self._processes > 1:
            for buffer in self.judged.buffers():
                distributed.broadcast(buffer, 0)

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        """Keep the logits of a batch."""
        x = self._input(batch)
        size = math.ceil(len(x) / self.pieces)
        logits = torch.cat([self.judged(piece).float() for piece in x.split(size)])
        self._seen.append((batch["row"].cpu(), logits.cpu(), batch["target"].cpu()))

    def on_validation_epoch_end(self) -> None:
        """Score the pass over all validation images."""
        logits, target = self._all_seen()
        if not bool(torch.isfinite(logits).all()):
            raise NaturalizeError(
                f"after step {self.global_step}: the network's outputs on the validation images "
                f"are no numbers; lower lr (now {self.settings.lr:g})"
            )
        self.scores = scores_of(logits, target)
        mean = float(np.mean(self._losses)) if self._losses else math.nan
        self.train_loss = self._over_ranks(mean)

    def _all_seen(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits and targets of all validation images, in the order of their rows."""
        parts = [torch.cat([seen[i] for seen in self._seen]) for i in range(3)]
        self._seen = []
        if self._processes > 1:
            gathered: list[Any] = [None] * self._processes
            distributed.all_gather_object(gathered, [part.numpy() for part in parts])
            parts = [
                torch.from_numpy(np.concatenate(pieces)) for pieces in zip(*gathered, strict=True)
            ]
        order = parts[0].argsort()
        return parts[1][order], parts[2][order]

    # -- what several processes share -----------------------------------------------------------

    @property
    def _processes(self) -> int:
        return int(self.trainer.world_size) if self._trainer is not None else 1

    @property
    def _rank(self) -> tuple[int, ...]:
        """A key that sets other processes' draws apart from the first one's."""
        return (self.global_rank,) if self.global_rank else ()

    def _over_ranks(self, value: Any) -> float:
        """Return the mean of a number over all processes."""
        if self._processes == 1:
            return float(value)
        held = torch.as_tensor(value, dtype=torch.float64, device=self.device).clone()
        distributed.all_reduce(held)
        return float(held) / self._processes

    def _input(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        if "features" in batch:
            return batch["features"]
        return normalise(batch["pixels"], self.config.mean, self.config.std)


def scores_of(logits: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    """Return ``loss`` (cross entropy), ``accuracy`` and ``macro_f1`` over all C classes.

    Parameters
    ----------
    logits
        float32 (N, C).
    target
        int64 (N,).
    """
    from sklearn.metrics import accuracy_score, f1_score

    said, true = logits.argmax(1).numpy(), target.numpy()
    labels = np.arange(logits.shape[1])
    f1 = f1_score(true, said, labels=labels, average="macro", zero_division=0.0)
    return {
        "loss": float(functional.cross_entropy(logits, target)),
        "accuracy": float(accuracy_score(true, said)),
        "macro_f1": float(f1),
    }
