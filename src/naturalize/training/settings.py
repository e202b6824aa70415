"""What decides a training run: one schema for study files, the command line and Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from naturalize.base.settings import Settings, validated
from naturalize.base.text import expanded
from naturalize.training import devices

Share = Annotated[float, Field(ge=0, le=1)]


#: Augmentations by name: nothing, the defaults, one that varies real images as compose mode
#: ``varied`` varies its own (as many cells alone; stain and focus of the whole picture, composites
#: too), and one that prepares for other laboratories.
AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "none": {
        "flips": False, "right_angles": False, "rotate": 0, "zoom": 0, "shift": 0, "stain": 0,
        "brightness": 0,
    },
    "standard": {},
    "varied": {"alone": 0.1, "stain": 0.15, "blur": 0.006},
    "microscopes": {"microscopes": 0.6},
}  # fmt: skip


class AugmentSettings(Settings):
    """Augmentation, drawn by a key a sample; 0 or false turns a part off.

    Instead of its parts, a name of `AUGMENTATIONS` may be given.
    """

    flips: bool = True
    right_angles: bool = True
    #: Free rotation, uniform within ± this many degrees.
    rotate: Annotated[float, Field(ge=0, le=180)] = 15.0
    #: Zoom, uniform within 1 ± this share.
    zoom: Annotated[float, Field(ge=0, lt=0.9)] = 0.1
    #: Shift in x and y, uniform within ± this share of the side.
    shift: Annotated[float, Field(ge=0, lt=0.5)] = 0.03
    #: Factor on each channel's optical density, uniform within 1 ± this share.
    stain: Annotated[float, Field(ge=0, lt=1)] = 0.1
    #: Offset of all optical densities, uniform within ± this (0.05: about 5 % of brightness).
    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.05
    #: Greatest blur (σ in shares of the side) of every second sample: other lenses, other focus.
    blur: Annotated[float, Field(ge=0, le=0.1)] = 0.0
    #: Share of the real samples whose cell is shown alone on a bare slide; needs a bank.
    alone: Share = 0.0
    #: Share of the samples that look as another laboratory's microscope, stain and camera would
    #: show them (`naturalize.training.microscopes`), in place of all else here; with a bank, most
    #: of them are cells alone on a bare slide.
    microscopes: Share = 0.0
    #: Operations that RandAugment applies to each sample; 0: none.
    randaugment: Annotated[int, Field(ge=0, le=8)] = 0
    #: How strong they are, 0–10.
    magnitude: Annotated[float, Field(ge=0, le=10)] = 9.0

    @model_validator(mode="before")
    @classmethod
    def _of_name(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value not in AUGMENTATIONS:
            raise ValueError(f"a mapping, or one of {', '.join(AUGMENTATIONS)}")
        return AUGMENTATIONS[value]

    @property
    def masks(self) -> bool:
        """Whether the cells' masks are used, which a bank has."""
        return self.alone > 0 or self.microscopes > 0

    @property
    def changes(self) -> bool:
        """Whether any part is on."""
        return any(value for name, value in self if name != "magnitude")


class TrainSettings(Settings):
    """One training run.

    ``workers`` (processes that load data; null: 0 on a processor, some beside a GPU), ``device``
    (see :mod:`naturalize.training.devices`) and ``loggers`` do not decide the result: they are not
    part of ``model_dump()``, hence of no fingerprint.
    """

    #: A name that `naturalize.models.zoo` knows, or any timm name.
    model: str = "tf_efficientnet_lite0"
    #: ``auto``, ``imagenet``, ``download``, ``none``, or a path.
    weights: Annotated[str, AfterValidator(expanded)] = "auto"
    #: ``scratch``: no weights; ``transfer``: only the classifier is trained, on features that are
    #: computed once; ``finetune``: all.
    mode: Literal["scratch", "transfer", "finetune"] = "finetune"
    #: The first epochs of ``finetune`` train the classifier alone.
    head_epochs: Annotated[int, Field(ge=0)] = 0
    #: Factor on the rate from each layer to the one before it; 1: one rate for all.
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    #: Augmented views of each training image whose features ``transfer`` computes.
    views: Annotated[int, Field(ge=1, le=64)] = 4
    #: Side in pixels; the architecture's own by default.
    input_size: Annotated[int, Field(ge=16, le=2048)] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    #: Settings of the architecture itself; see ``options`` of `naturalize.models.zoo.build`.
    network_options: dict[str, Any] = Field(default_factory=dict)
    #: Share of the shorter side that the network sees, about the centre; 1: the whole image.
    crop: Annotated[float, Field(gt=0.1, le=1)] = 1.0
    #: Bring the bare slide of every image to the same grey.
    balanced: bool = False

    epochs: Annotated[int, Field(ge=1)] = 8
    batch_size: Annotated[int, Field(ge=2)] = 32
    #: Images drawn an epoch, rounded to whole batches; all training images by default. With equal
    #: values, or ``real`` (as many as there are real ones), runs with and without composites have
    #: an equal budget.
    samples_per_epoch: Annotated[int, Field(ge=1)] | Literal["real"] | None = None
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup_epochs: Annotated[float, Field(ge=0)] = 1.0
    #: Which epoch's weights are kept: the best on the validation images, or the last. What is best
    #: there need not be so elsewhere.
    keep: Literal["best", "last"] = "best"
    #: Stop after so many epochs without a better validation score; null: never.
    patience: Annotated[int, Field(ge=1)] | None = None
    loss: Literal["cross_entropy", "focal", "balanced_softmax"] = "cross_entropy"
    #: γ of the focal loss: how little well-known images count.
    focal_gamma: Annotated[float, Field(ge=0, le=10)] = 2.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    #: Share of the target that the neighbouring stages of maturation have: PMY, MY, MMY, BNE, SNE.
    neighbours: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    clip_norm: Annotated[float, Field(gt=0)] | None = 5.0
    #: Decay of the exponential moving average of the weights; null: none.
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    #: ``auto``: bfloat16 where the GPU has it, else full.
    precision: Literal["auto", "full", "bf16"] = "auto"

    #: Train on the plan's composites too.
    composites: bool = False
    #: Share of the samples that are composites; by default they are drawn as often as real images.
    composite_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    class_weights: Literal["none", "balanced"] = "none"
    sampler: Literal["natural", "balanced"] = "natural"
    augment: AugmentSettings = AugmentSettings()
    #: What answers for standardised images in the model made, with the same classes: a model folder
    #: or a shipped model; in a study, a run that is named before.
    elsewhere: Annotated[str, AfterValidator(expanded)] | None = None
    #: α of the Beta distribution that MixUp and CutMix draw from; 0: none.
    mixup: Annotated[float, Field(ge=0, le=10)] = 0.0
    cutmix: Annotated[float, Field(ge=0, le=10)] = 0.0

    seed: int = 0
    workers: Annotated[int, Field(ge=0)] | None = Field(default=None, exclude=True)
    #: ``auto``, ``cpu``, ``cpu:2`` (two processes), ``cuda``, ``cuda:1``, ``cuda:0,1``,
    #: ``cuda:all`` or ``mps``.
    device: str = Field(default="auto", exclude=True)
    #: Besides ``history.csv``: ``tensorboard``, ``mlflow``.
    loggers: tuple[Literal["tensorboard", "mlflow"], ...] = Field(default=(), exclude=True)

    @field_validator("device")
    @classmethod
    def _a_device(cls, value: str) -> str:
        devices.parse(value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> TrainSettings:
        for wrong, message in (
            (
                self.mode == "scratch" and self.weights not in ("auto", "none"),
                "mode scratch takes no weights: leave weights out, or set it to none",
            ),
            (
                self.mode == "transfer" and self.weights == "none",
                "mode transfer needs weights: nothing but the classifier is trained",
            ),
            (
                self.mode == "transfer" and bool(self.mixup or self.cutmix),
                "mode transfer trains on features, and mixup and cutmix mix images: set them to 0, "
                "or use mode finetune",
            ),
            (
                self.mode != "finetune" and self.head_epochs > 0,
                f"head_epochs warms up the classifier of mode finetune; mode {self.mode} has "
                "no use for it",
            ),
            (
                self.mode != "finetune" and self.layer_decay < 1,
                f"layer_decay is for mode finetune: mode {self.mode} has no learnt layers to spare",
            ),
            (
                self.mode == "finetune" and self.head_epochs >= self.epochs,
                f"head_epochs ({self.head_epochs}) must be fewer than epochs ({self.epochs})",
            ),
            (
                self.keep == "last" and self.patience is not None,
                "patience waits for a better epoch than the one that is kept: set it to null, or "
                "keep to best",
            ),
            (
                self.composite_share is not None and not self.composites,
                "composite_share is a share of composites: set composites to true",
            ),
            (
                self.class_weights == "balanced" and self.sampler == "balanced",
                "class_weights and sampler are both balanced: choose one of them",
            ),
            (
                self.loss == "balanced_softmax"
                and "balanced" in (self.class_weights, self.sampler),
                "loss balanced_softmax corrects for the counts of the classes by itself: leave "
                "class_weights at none and sampler at natural",
            ),
            (
                self.batch_size % devices.parse(self.device).known_processes != 0,
                f"batch_size {self.batch_size} cannot be dealt evenly to the processes of device "
                f"{self.device}",
            ),
        ):
            if wrong:
                raise ValueError(message)
        return self

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> TrainSettings:
        """Check a mapping of settings; ``SettingsError`` names the key and what came."""
        return validated(cls, values, what="training")
