"""Pictures of any framework, to RGB uint8 (H, W, 3) and back. Torch only where a tensor comes."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from PIL import Image

from naturalize.base.errors import InputError


def as_rgb(picture: Any) -> np.ndarray:
    """Return a picture as RGB uint8 (H, W, 3).

    Parameters
    ----------
    picture
        A uint8 tensor (3, H, W), on any device; a uint8 array (H, W, 3); or a PIL image.

    Raises
    ------
    InputError
        For anything else: floats, batches, grey images.
    """
    if isinstance(picture, Image.Image):
        return np.asarray(picture.convert("RGB"))
    if _is_tensor(picture):
        if str(picture.dtype) != "torch.uint8" or picture.ndim != 3 or picture.shape[0] != 3:
            raise _wrong(f"a {picture.dtype!s} tensor {tuple(picture.shape)}")
        return picture.detach().cpu().permute(1, 2, 0).contiguous().numpy()
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise _wrong(f"a {picture.dtype} array {picture.shape}")
        return picture
    raise _wrong(f"{type(picture).__name__}")


def like(rgb: np.ndarray, picture: Any) -> Any:
    """Return RGB uint8 (H, W, 3) as the kind of thing that ``picture`` is."""
    if isinstance(picture, Image.Image):
        return Image.fromarray(rgb)
    if not _is_tensor(picture):
        return rgb
    import torch

    tensor = torch.from_numpy(np.array(rgb.transpose(2, 0, 1), order="C")).to(picture.device)
    if type(picture) is torch.Tensor:
        return tensor
    from torchvision import tv_tensors

    return tv_tensors.wrap(tensor, like=picture)


def _is_tensor(picture: Any) -> bool:
    torch = sys.modules.get("torch")  # no tensor comes where nobody has imported it
    return torch is not None and isinstance(picture, torch.Tensor)


def _wrong(found: str) -> InputError:
    return InputError(
        f"Naturalize: expected a uint8 tensor (3, H, W), a uint8 array (H, W, 3) or a PIL image, "
        f"got {found}; put it before transforms that change the type or stack images"
    )
