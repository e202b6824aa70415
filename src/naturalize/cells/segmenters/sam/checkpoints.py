"""SAM, MobileSAM and SAM 2 in PyTorch: official checkpoints, or folders saved by transformers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from naturalize.base.errors import MissingExtraError
from naturalize.cells.segmenters.sam import official
from naturalize.cells.segmenters.sam.model import SIDE, Encoded, Frame, Model
from naturalize.cells.segmenters.sam.onnx import prepared
from naturalize.cells.segmenters.sam.weights import WeightsError

#: Mean and standard deviation of ImageNet (RGB, 0–1), which SAM 2 is trained with.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

#: Prompts at a time.
_BATCH = 16


@dataclass(frozen=True, eq=False)
class Network:
    """A SAM or SAM 2 of transformers; ``stretch``: images fill the square, as SAM 2 wants it."""

    network: Any
    stretch: bool

    def encode(self, image: np.ndarray) -> Encoded:
        """Encode RGB uint8 (H, W, 3)."""
        import torch

        shape = image.shape[:2]
        pixels = stretched(image) if self.stretch else prepared(image)
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            features = self.network.get_image_embeddings(torch.from_numpy(pixels).to(device))

        def answer(prompts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            given = torch.from_numpy(prompts).to(device)
            prompt = (
                {"input_boxes": given.reshape(1, -1, 4)}
                if prompts.shape[1] == 2
                else {"input_points": given[None]}
            )
            with torch.inference_mode():
                out = self.network(image_embeddings=features, multimask_output=True, **prompt)
            maps, scores = out.pred_masks[0], out.iou_scores[0]
            return maps.float().cpu().numpy(), scores.float().cpu().numpy()

        frame = Frame.stretched(shape) if self.stretch else Frame.padded(shape)
        return Encoded(frame, answer, _BATCH)


def stretched(image: np.ndarray) -> np.ndarray:
    """Return RGB uint8 (H, W, 3) as SAM 2 wants it: float32 (1, 3, 1024, 1024), stretched."""
    large = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    normal = (large / 255 - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1)[None], np.float32)


def load_checkpoint(family: str, path: Path, *, threads: int) -> Model:
    """Return the model of a checkpoint or folder; on a CUDA device where there is one.

    ``family``: ``"transformers"`` (a folder), ``"sam"``, ``"mobilesam"`` or ``"sam2"``; ``path``:
    the folder or the file; ``threads``: of PyTorch, on a processor.

    Raises ``MissingExtraError`` without PyTorch or transformers; ``WeightsError`` if it does not
    hold such a network.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtraError(f"{error.name} (for SAM checkpoints)", "sam") from error
    torch.set_num_threads(threads)
    transformers.utils.logging.disable_progress_bar()
    if family == "transformers":
        network, stretch = _from_folder(path)
    else:
        try:
            network, stretch = _official(family, _tensors(path), path)
        except KeyError as error:
            raise WeightsError(f"{path}: no checkpoint of {family}, it lacks {error}") from error
    network.eval().requires_grad_(False)
    return Network(network.to("cuda" if torch.cuda.is_available() else "cpu"), stretch)


def _from_folder(path: Path) -> tuple[Any, bool]:
    from transformers import Sam2Model, SamModel

    try:
        kind = json.loads((path / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (ValueError, KeyError, OSError, TypeError) as error:
        raise WeightsError(f"{path}/config.json: not a model's configuration ({error})") from error
    # the published SAM 2 folders are of the video model, which holds the image model
    classes = {"sam": SamModel, "sam2": Sam2Model, "sam2_video": Sam2Model}
    if kind not in classes:
        raise WeightsError(f"{path}: a model of type {kind!r}; expected sam or sam2")
    try:
        network = classes[kind].from_pretrained(path, local_files_only=True)
    except Exception as error:  # whatever transformers and safetensors raise for damaged files
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: cannot be loaded ({first})") from error
    return network, kind != "sam"


def _official(family: str, state: dict[str, Any], path: Path) -> tuple[Any, bool]:
    from transformers import Sam2Config, Sam2Model, SamConfig, SamModel

    if family == "sam2":
        vision, tensors = official.sam2(state)
        network = Sam2Model(Sam2Config(vision_config={"model_type": "sam2_vision_model", **vision}))
        official.fill(network, tensors, path)
        return network, True
    if family == "sam":
        vision, tensors = official.sam(state)
        network = SamModel(SamConfig(vision_config=vision))
        official.fill(network, tensors, path)
        return network, False
    return _mobile(state, path), False


def _mobile(state: dict[str, Any], path: Path) -> Any:
    """Return SAM's decoder with MobileSAM's encoder in front of it."""
    from transformers import SamConfig, SamModel

    from naturalize.cells.segmenters.sam.mobile import MobileEncoder, encoder_tensors

    encoder = MobileEncoder()
    official.fill(encoder, encoder_tensors(state), path)
    # the encoder of this one is thrown away: as small as it can be
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "mlp_dim": 16}
    network = SamModel(SamConfig(vision_config=small))
    network.vision_encoder = None
    official.fill(network, official.decoder_only(state), path)
    network.vision_encoder = encoder
    return network


def _tensors(path: Path) -> dict[str, Any]:
    """Read a checkpoint; pickled code in it is never run."""
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise whatever the unpickler stumbles over
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: damaged, or no PyTorch checkpoint ({first})") from error
    if not isinstance(state, dict):
        raise WeightsError(f"{path}: holds no tensors by name")
    return state
