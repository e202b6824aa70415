"""CBAM ensembles, ``cbam:NAME+NAME…``: maps of several networks, joined and refined by CBAM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import StrictBool
from torch import nn
from torch.nn import functional

from naturalize.base.errors import SettingsError
from naturalize.base.settings import Settings, validated
from naturalize.models import weights as sources
from naturalize.models.config import Network, NetworkConfig, Wanted
from naturalize.models.custom_cnn import Count, attention, build_own, load_all_but_head
from naturalize.models.names import CBAM, OWN, resolve
from naturalize.models.shipped import folder_of


class _Options(Settings):
    """Those of :func:`build_fusion`."""

    width: Count | None = 512
    grid: Count | None = None
    frozen: StrictBool = False
    members: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class _Member:
    """One backbone as it is asked for; ``folder`` where a model folder gives it."""

    architecture: str
    options: dict[str, Any]
    size: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    folder: Path | None = None


def build_fusion(wanted: Wanted) -> Network:
    """Build a CBAM ensemble (Abou Ali, Dornaika & Arganda-Carreras 2023, §3; CBAM: `cbam`).

    The last feature maps of the members are brought to one grid, joined, reduced by a 1×1
    convolution, refined by channel and spatial attention, pooled and classified. All members see
    one input; one that was trained with another normalisation gets it inside.

    The name is ``cbam:`` and the members with ``+`` between them: names that the zoo knows, or
    model folders, whose backbones then come as they were trained, whatever ``weights`` says (but
    for ``none``, which takes their architectures only). A path as ``weights`` is a trained CBAM
    ensemble of the same members.

    Options are ``width`` (channels after the reduction, 512; null: no reduction), ``grid`` (its
    side; the finest of the members' by default), ``frozen`` (leave the backbones as they are; false
    by default) and ``members``, which is written by the program itself.

    ``SettingsError`` for a member that cannot be one, an unknown option, or a size that a member
    cannot take; ``ArtifactError`` for a damaged model folder.
    """
    from naturalize.models.from_timm import try_out

    options = validated(_Options, wanted.options, what=f"network_options of {wanted.name}")
    members = _members(wanted.name, options.members)
    name = CBAM + "+".join(member.architecture for member in members)
    size = wanted.input_size or max(member.size for member in members)
    given = wanted.weights in ("auto", "imagenet", "download", "none")
    parts = [_maps(m, replace(wanted, input_size=size), given=given) for m in members]
    mean, std = parts[0].mean, parts[0].std
    more: dict[str, Any] = {} if wanted.dropout is None else {"drop_rate": wanted.dropout}
    module = Fused(
        [part.module for part in parts],
        [part.channels for part in parts],
        len(wanted.classes),
        affine=[_affine((mean, std), (part.mean, part.std)) for part in parts],
        width=options.width,
        grid=options.grid,
        frozen=options.frozen,
        **more,
    )
    source = "+".join(part.source for part in parts)
    if not given:
        found = sources.find(name, wanted.weights)
        assert found is not None
        load_all_but_head(module, found, "head.fc", name)
        source = found.source
    try_out(module, name, size)
    listed = [
        {
            "architecture": member.architecture,
            "mean": list(part.mean),
            "std": list(part.std),
            "options": member.options,
        }
        for member, part in zip(members, parts, strict=True)
    ]
    kept = {**wanted.options, "members": listed}
    return Network(
        module, NetworkConfig(name, wanted.classes, size, mean, std, source, options=kept)
    )


def _members(name: str, known: list[dict[str, Any]] | None) -> list[_Member]:
    spoken = [text.strip() for text in name.removeprefix(CBAM).split("+")]
    if not all(spoken):
        raise SettingsError(
            f"model {name!r}: name the members, with + between them: "
            "cbam:tf_efficientnet_lite0+mobilenetv2_100"
        )
    if known is None:
        return [_member(text) for text in spoken]
    if [each["architecture"] for each in known] != spoken:
        raise SettingsError(f"network_options: members are not those of {name!r}")
    return [
        _Member(
            each["architecture"],
            dict(each["options"]),
            _own_size(each["architecture"]),
            tuple(each["mean"]),
            tuple(each["std"]),
        )
        for each in known
    ]


def _member(text: str) -> _Member:
    folder = folder_of(text)
    if folder is None:
        name = resolve(text)
        if name.startswith(CBAM):
            raise SettingsError(f"cbam: {text!r} is an ensemble itself and cannot be a member")
        return _Member(name, {}, _own_size(name))
    from naturalize.models.folder import MEMBERS, describe, read_config

    average, config = MEMBERS in describe(folder), read_config(folder)
    if average or config.architecture.startswith(CBAM):
        raise SettingsError(f"cbam: {text} is an ensemble itself; name its members instead")
    return _Member(
        config.architecture,
        dict(config.options),
        config.input_size,
        config.mean,
        config.std,
        folder,
    )


def _own_size(name: str) -> int:
    from naturalize.models.custom_cnn import SIZE
    from naturalize.models.from_timm import own_size

    return SIZE if name in OWN else own_size(name)


def _maps(member: _Member, wanted: Wanted, *, given: bool) -> Any:
    """Build one backbone; ``given`` says whether ``weights`` speaks of members."""
    from naturalize.models.from_timm import Maps, build_maps

    name = member.architecture
    chosen = wanted.weights if given else "none"
    if member.folder is not None and chosen != "none":
        chosen = str(member.folder)
    if name in OWN and chosen in ("imagenet", "download"):
        chosen = "none"
    asked = replace(wanted, name=name, weights=chosen, options=member.options)
    if name in OWN:
        network = build_own(asked)
        module: Any = network.module
        config = network.config
        part = Maps(
            module.blocks, module.num_features, config.mean, config.std, config.weights_source
        )
    else:
        part = build_maps(replace(asked, dropout=None))
    if member.mean is not None and member.std is not None:
        part = replace(part, mean=member.mean, std=member.std)
    return part


def _affine(common: tuple, own: tuple) -> tuple[list[float], list[float]] | None:
    """Return scale and shift that turn the common normalisation into a member's own, if another."""
    if common == own:
        return None
    (mean, std), (mean_i, std_i) = common, own
    scale = [s / s_i for s, s_i in zip(std, std_i, strict=True)]
    shift = [(m - m_i) / s_i for m, m_i, s_i in zip(mean, mean_i, std_i, strict=True)]
    return scale, shift


class Fused(nn.Module):
    """Feature maps of several backbones on one grid, joined, and a head that refines them.

    It has timm's interface (``forward_features``, ``forward_head``, ``get_classifier``,
    ``num_features``, ``group_matcher``). Its classifier is the whole head, reduction and CBAM
    included: it is what learns where the backbones are frozen (never trained, their batch
    statistics kept). ``width`` and ``grid`` are those of :func:`build_fusion`.

    ``members`` take (N, 3, S, S) to maps (N, K, h, w), or to a list that ends in such maps;
    ``channels`` has the K of each, ``affine`` scale and shift, three numbers each, that bring the
    common input to what it was normalised for (null where that is the common one).
    """

    def __init__(
        self,
        members: Sequence[nn.Module],
        channels: Sequence[int],
        num_classes: int,
        *,
        affine: Sequence[tuple[Sequence[float], Sequence[float]] | None],
        width: int | None = 512,
        grid: int | None = None,
        frozen: bool = False,
        drop_rate: float = 0.2,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.grid, self.frozen = grid, frozen
        for i, pair in enumerate(affine):
            for name, values in zip(("scale", "shift"), pair or (None, None), strict=True):
                tensor = None
                if values is not None:
                    tensor = torch.tensor(values, dtype=torch.float32).view(3, 1, 1)
                self.register_buffer(f"{name}_{i}", tensor, persistent=False)
        self.head = Head(sum(channels), num_classes, width=width, drop_rate=drop_rate)
        self.num_features, self.num_classes = self.head.num_features, num_classes
        if frozen:
            self.members.requires_grad_(False)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the members' maps joined on one grid, (N, ΣK, g, g), of images (N, 3, S, S)."""
        found = []
        for i, member in enumerate(self.members):
            scale, shift = getattr(self, f"scale_{i}"), getattr(self, f"shift_{i}")
            maps = member(x if scale is None else x * scale + shift)
            found.append(maps[-1] if isinstance(maps, list | tuple) else maps)
        side = self.grid or max(maps.shape[-1] for maps in found)
        return torch.cat([on_grid(maps, side) for maps in found], dim=1)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Return logits (N, C) of joined maps, or with ``pre_logits`` pooled features (N, D)."""
        return self.head.pooled(x) if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, C) of normalised images (N, 3, S, S)."""
        return self.head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """Return the head, from joined maps to logits."""
        return self.head

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return timm's description of which parameters lie how deep, for layer-wise rates."""
        return {"stem": r"^members\."}  # the rest is new, hence the last layer together

    def train(self, mode: bool = True) -> Fused:
        """Switch to training, but for frozen members."""
        super().train(mode)
        if self.frozen:
            self.members.eval()
        return self


class Head(nn.Module):
    """From joined maps (N, K, g, g) to logits (N, C): reduction, CBAM, mean, a dense layer."""

    def __init__(
        self, channels: int, num_classes: int, *, width: int | None, drop_rate: float
    ) -> None:
        super().__init__()
        self.reduce: nn.Module = nn.Identity()
        if width is not None:
            convolution = nn.Conv2d(channels, width, 1, bias=False)
            self.reduce = nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.num_features = width or channels
        self.cbam = attention(self.num_features)
        self.dropout = nn.Dropout(drop_rate)
        self.fc = nn.Linear(self.num_features, num_classes)

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        """Return the refined maps' means, (N, D)."""
        return self.cbam(self.reduce(x)).mean(dim=(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return self.fc(self.dropout(self.pooled(x)))


def on_grid(maps: torch.Tensor, side: int) -> torch.Tensor:
    """Bring maps (N, K, h, w) to (N, K, side, side): linear upwards, means over areas downwards."""
    size = (side, side)
    if tuple(maps.shape[-2:]) == size:
        return maps
    if side < min(maps.shape[-2:]):
        return functional.adaptive_avg_pool2d(maps, size)
    return functional.interpolate(maps, size, mode="bilinear", align_corners=False)
