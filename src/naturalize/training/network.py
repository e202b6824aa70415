"""What a training step, a validation pass, the optimiser and the schedule are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from naturalize.base.errors import NaturalizeError
from naturalize.base.rng import rng, seed_of
from naturalize.models.preprocess import normalise
from naturalize.models.zoo import Network
from naturalize.training.framework import pl
from naturalize.training.mixing import mix
from naturalize.training.settings import TrainSettings


class Classifier(pl.LightningModule):
    """A network in training.

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
    class_weights
        float32 (C,), or null.

    Attributes
    ----------
    scores
        Of the last validation: ``loss``, ``accuracy``, ``macro_f1``.
    train_loss, last_lr
        Mean over the last epoch's steps, and the rate of its last one.
    """

    network: Any
    class_weights: torch.Tensor | None

    def __init__(
        self,
        network: Network,
        settings: TrainSettings,
        *,
        steps: int,
        names: tuple[str, ...],
        class_weights: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self.network = network.module
        self.config, self.settings, self.steps, self.names = network.config, settings, steps, names
        weights = None if class_weights is None else torch.from_numpy(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)
        self.average: Any = None
        if settings.ema is not None:
            from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

            self.average = AveragedModel(
                self.network, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True
            )
        self.frozen = settings.mode == "transfer"
        if self.frozen:
            head = {id(p) for p in self.network.get_classifier().parameters()}
            for parameter in self.network.parameters():
                parameter.requires_grad_(id(parameter) in head)
        self.scores: dict[str, float] = {}
        self.train_loss = self.last_lr = math.nan
        self._losses: list[float] = []
        self._seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    @property
    def judged(self) -> nn.Module:
        """The module that is validated and kept: the moving average, if there is one."""
        return self.average.module if self.average is not None else self.network

    def train(self, mode: bool = True) -> Classifier:
        """Switch to training; a frozen backbone stays in evaluation: its statistics, no dropout."""
        super().train(mode)
        if self.average is not None:
            self.average.eval()
        if mode and self.frozen:
            self.network.eval()
            self.network.get_classifier().train()
        return self

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed dropout by the step, so that a resumed run draws what an unbroken one draws."""
        torch.manual_seed(seed_of(self.settings.seed, "step", self.global_step))
        self.last_lr = float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Return the loss of a batch; a loss that is no number stops the run, naming its images."""
        x, target = self._input(batch), batch["target"]
        if self.settings.mixup or self.settings.cutmix:
            generator = rng(self.settings.seed, "mix", self.global_step)
            x, partner, share = mix(
                x, generator, mixup=self.settings.mixup, cutmix=self.settings.cutmix
            )
            logits = self.network(x).float()
            loss = share * self._loss(logits, target)
            loss = loss + (1 - share) * self._loss(logits, target[partner])
        else:
            loss = self._loss(self.network(x).float(), target)
        value = float(loss.detach())
        if not math.isfinite(value):
            ids = [self.names[row] for row in batch["row"].tolist()]
            raise NaturalizeError(
                f"step {self.global_step + 1}: the loss is {value}; lower lr (now "
                f"{self.settings.lr:g}) or look at the batch's images: {', '.join(ids)}"
            )
        self._losses.append(value)
        return loss

    def _loss(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(
            logits,
            target,
            weight=self.class_weights,
            label_smoothing=self.settings.label_smoothing,
        )

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the average."""
        if self.average is not None:
            self.average.update_parameters(self.network)

    def on_train_epoch_start(self) -> None:
        """Forget the last epoch's losses."""
        self._losses = []

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        """Keep the logits of a batch."""
        logits = self.judged(self._input(batch)).float()
        self._seen.append((logits.cpu(), batch["target"].cpu()))

    def on_validation_epoch_end(self) -> None:
        """Score the pass over all validation images."""
        from sklearn.metrics import accuracy_score, f1_score

        logits = torch.cat([seen[0] for seen in self._seen])
        target = torch.cat([seen[1] for seen in self._seen])
        self._seen = []
        if not bool(torch.isfinite(logits).all()):
            raise NaturalizeError(
                f"after step {self.global_step}: the network's outputs on the validation images "
                f"are no numbers; lower lr (now {self.settings.lr:g})"
            )
        said, true = logits.argmax(1).numpy(), target.numpy()
        self.scores = {
            "loss": float(functional.cross_entropy(logits, target)),
            "accuracy": float(accuracy_score(true, said)),
            "macro_f1": float(
                f1_score(
                    true,
                    said,
                    labels=np.arange(len(self.config.classes)),
                    average="macro",
                    zero_division=0.0,
                )
            ),
        }
        self.train_loss = float(np.mean(self._losses)) if self._losses else math.nan

    def configure_optimizers(self) -> Any:
        """Return AdamW (no decay for biases and norms) with warm-up and cosine, step by step."""
        settings = self.settings
        trained = [p for p in self.network.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.lr)
        total = settings.epochs * self.steps
        warmup = min(round(settings.warmup_epochs * self.steps), total - 1)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: rate_factor(step, total, warmup)
        )
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _input(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return normalise(batch["pixels"], self.config.mean, self.config.std)


def rate_factor(step: int, total: int, warmup: int) -> float:
    """Return the factor on the rate at a step: linear up to 1 over ``warmup``, then half a cosine.

    Examples
    --------
    >>> [round(rate_factor(step, 6, 2), 2) for step in range(6)]
    [0.5, 1.0, 1.0, 0.85, 0.5, 0.15]
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
