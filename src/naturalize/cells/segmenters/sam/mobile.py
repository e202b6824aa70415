"""MobileSAM's image encoder (Zhang et al. 2023): a TinyViT from timm with SAM's neck."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from naturalize.cells.segmenters.sam.weights import WeightsError

#: timm's names of the parts of a TinyViT, for those of its first publication.
_RENAMES = (
    (r"^patch_embed\.seq\.0\.", "patch_embed.conv1."),
    (r"^patch_embed\.seq\.2\.", "patch_embed.conv2."),
    (r"^layers\.", "stages."),
    (r"\.c\.(weight|bias)$", r".conv.\1"),
)


class MobileEncoder(nn.Module):
    """Images float32 (n, 3, 1024, 1024) to features (n, 256, 64, 64), for transformers' SAM."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _trunk()
        from timm.layers.norm import LayerNorm2d

        self.neck = nn.Sequential(
            nn.Conv2d(320, 256, 1, bias=False),
            LayerNorm2d(256),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            LayerNorm2d(256),
        )

    def forward(self, pixels: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        """Return the features of normalised pixels, as the first of one, as encoders there do."""
        return (self.neck(self.trunk.stages(self.trunk.patch_embed(pixels))),)


def _trunk() -> Any:
    try:
        from timm.models.tiny_vit import TinyVit
    except (ImportError, RuntimeError) as error:
        raise WeightsError(
            f"MobileSAM's checkpoint needs timm, which cannot be imported ({error}); "
            "use the weights 'mobilesam' instead: the same network in ONNX"
        ) from error
    trunk: Any = TinyVit(
        embed_dims=(64, 128, 160, 320),
        depths=(2, 2, 6, 2),
        num_heads=(2, 4, 5, 10),
        window_sizes=(7, 7, 14, 7),
        drop_path_rate=0.0,
        num_classes=0,
    )
    trunk.head = nn.Identity()
    # the last stage keeps its size: features are a sixteenth of the image, not a thirty-second
    trunk.stages[3].downsample.conv2.conv.stride = (1, 1)
    return trunk


def encoder_tensors(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors of MobileSAM's encoder under the names of :class:`MobileEncoder`."""
    out = {}
    for name, tensor in state.items():
        if not name.startswith("image_encoder.") or name.endswith("attention_bias_idxs"):
            continue
        part = name.removeprefix("image_encoder.")
        if part.startswith(("norm_head.", "head.")):
            continue  # of the classifier that TinyViT was
        for pattern, replacement in _RENAMES:
            part = re.sub(pattern, replacement, part)
        # there a stage ends with the step down, in timm the next one begins with it
        part = re.sub(
            r"^stages\.(\d)\.downsample\.", lambda m: f"stages.{int(m[1]) + 1}.downsample.", part
        )
        out[part if part.startswith("neck.") else f"trunk.{part}"] = tensor
    return out
