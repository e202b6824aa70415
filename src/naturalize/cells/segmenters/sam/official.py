"""Official checkpoints for transformers: which network a file is of, and its tensors' new names.

The libraries that the checkpoints were published with are no longer maintained; transformers keeps
the same networks under other names. Every tensor must find its place, or loading is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from naturalize.cells.segmenters.sam.weights import WeightsError

#: (pattern, replacement), applied in this order to the name of a tensor.
Renames = tuple[tuple[str, str], ...]

#: Prompt encoder and mask decoder: the same in all of the family.
_DECODER: Renames = (
    (r"^sam_(prompt_encoder|mask_decoder)\.", r"\1."),
    (r"\.pe_layer\.positional_encoding_gaussian_matrix$", ".shared_embedding.positional_embedding"),
    (r"\.point_embeddings\.", ".point_embed."),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    # three layers of a perceptron: the first and the last have names of their own
    (r"(_head|_mlps\.\d)\.layers\.0\.", r"\1.proj_in."),
    (r"(_head|_mlps\.\d)\.layers\.1\.", r"\1.layers.0."),
    (r"(_head|_mlps\.\d)\.layers\.2\.", r"\1.proj_out."),
    (r"^(mask_decoder\..*)\.norm(\d|_final)", r"\1.layer_norm\2"),
)

_VIT: Renames = (
    (r"^image_encoder\.blocks\.(\d+)\.norm(\d)\.", r"vision_encoder.layers.\1.layer_norm\2."),
    (r"^image_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^image_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"^image_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
    (r"^image_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
    (r"^image_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
    (r"^image_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
    (r"^image_encoder\.", "vision_encoder."),
)

_HIERA: Renames = (
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^(vision_encoder\.backbone\.blocks\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
    (r"^image_encoder\.neck\.convs\.(\d)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
    (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
    (r"\.out_proj\.", ".o_proj."),
)  # fmt: skip

#: Blocks of SAM's encoder with global attention, by the number of blocks.
_GLOBAL = {12: [2, 5, 8, 11], 24: [5, 11, 17, 23], 32: [7, 15, 23, 31]}

#: SAM 2's encoders by the number of blocks: blocks a stage, global attention, windows.
_STAGES: dict[int, tuple[list[int], list[int], list[int]]] = {
    12: ([1, 2, 7, 2], [5, 7, 9], [8, 4, 14, 7]),
    16: ([1, 2, 11, 2], [7, 10, 13], [8, 4, 14, 7]),
    24: ([2, 3, 16, 3], [12, 16, 20], [8, 4, 14, 7]),
    48: ([2, 6, 36, 4], [23, 33, 43], [8, 4, 16, 8]),
}


def renamed(state: Mapping[str, Any], rules: Renames) -> dict[str, Any]:
    """Return the tensors of ``state`` under the names that the rules give them."""
    out = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)  # noqa: PLW2901
        out[name] = tensor
    return out


def sam(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of SAM's vision encoder, and a checkpoint's tensors renamed.

    ``state``: as ``torch.load`` gives it of ``sam_vit_*.pth``.
    """
    blocks = _blocks(state, r"image_encoder\.blocks\.(\d+)\.")
    width = int(state["image_encoder.pos_embed"].shape[-1])
    head = int(state["image_encoder.blocks.0.attn.rel_pos_h"].shape[-1])
    vision = {
        "hidden_size": width,
        "num_hidden_layers": blocks,
        "num_attention_heads": width // head,
        "mlp_dim": int(state["image_encoder.blocks.0.mlp.lin1.weight"].shape[0]),
        "global_attn_indexes": _GLOBAL.get(blocks, [blocks - 1]),
    }
    return vision, _with_shared(renamed(_cleaned(state), _DECODER + _VIT))


def decoder_only(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors of SAM's prompt encoder and mask decoder, renamed."""
    kept = {k: v for k, v in _cleaned(state).items() if not k.startswith("image_encoder.")}
    return _with_shared(renamed(kept, _DECODER))


def sam2(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of SAM 2's vision encoder, and a checkpoint's tensors renamed.

    What SAM 2 needs for video alone is left out.
    """
    import torch

    state = state.get("model", state)
    blocks = _blocks(state, r"image_encoder\.trunk\.blocks\.(\d+)\.")
    if blocks not in _STAGES:
        raise WeightsError(f"a SAM 2 encoder of {blocks} blocks is none that was published")
    stages, attention, windows = _STAGES[blocks]
    position = state["image_encoder.trunk.pos_embed"]
    width = int(position.shape[1])
    heads = 1 if width == 96 else 2
    vision = {
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": width,
            "num_attention_heads": heads,
            "blocks_per_stage": stages,
            "embed_dim_per_stage": [width * 2**k for k in range(4)],
            "num_attention_heads_per_stage": [heads * 2**k for k in range(4)],
            "window_size_per_stage": windows,
            "global_attention_blocks": attention,
            "window_positional_embedding_background_size": list(position.shape[2:]),
        },
        "backbone_channel_list": [width * 2**k for k in (3, 2, 1, 0)],
    }
    parts = ("image_encoder.", "sam_prompt_encoder.", "sam_mask_decoder.", "no_mem_embed")
    kept = {key: value for key, value in state.items() if key.startswith(parts)}
    tensors = _with_shared(renamed(kept, _DECODER + _HIERA))
    points = [tensors.pop(f"prompt_encoder.point_embed.{k}.weight") for k in range(4)]
    tensors["prompt_encoder.point_embed.weight"] = torch.cat(points)
    return vision, tensors


def fill(network: Any, tensors: Mapping[str, Any], what: object) -> None:
    """Load the tensors into a network; ``WeightsError`` unless each finds its place."""
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise WeightsError(f"{what}: not the tensors of this network ({first})") from error


def _cleaned(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key not in ("pixel_mean", "pixel_std")}


def _with_shared(tensors: dict[str, Any]) -> dict[str, Any]:
    """Return the tensors with the position code of the image, which is that of the prompts."""
    code = tensors["prompt_encoder.shared_embedding.positional_embedding"]
    return {**tensors, "shared_image_embedding.positional_embedding": code}


def _blocks(names: Iterable[str], pattern: str) -> int:
    numbers = [int(found[1]) for found in (re.match(pattern, name) for name in names) if found]
    if not numbers:
        raise WeightsError("the checkpoint holds no image encoder of its kind")
    return max(numbers) + 1
