"""SAM in PyTorch: official names into transformers', and the same answers as the official code."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from naturalize.cells.segmenters import segmenter
from naturalize.cells.segmenters.sam.weights import WeightsError
from naturalize.dataset.phantom import render_phantom

torch = pytest.importorskip("torch")
pytest.importorskip("transformers", reason="needs the extra sam: pip install 'naturalize[sam]'")

SAMPLES = Path(__file__).parent / "samples"
IMAGE = np.random.default_rng(0).integers(0, 256, (120, 90, 3)).astype(np.uint8)
BOXES = np.array([[10, 20, 60, 70], [30, 10, 85, 100], [0, 0, 90, 120]])
POINTS = np.array([[40.0, 50.0], [20.0, 100.0]])

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "mlp_dim": 32,
    "global_attn_indexes": [],
}


@pytest.fixture(scope="module", autouse=True)
def _working_torchvision():
    """Where torchvision is not whole, timm and transformers need it made up for."""
    from naturalize.models.torchvision_compat import ensure

    ensure()


def shaken(network, seed: int = 0):
    """Return a network with all parameters random: what is initialised to nothing too."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    return network.eval()


def official_sam():
    """A small SAM of the official code: two blocks, sixteen channels."""
    modeling = pytest.importorskip("segment_anything.modeling")
    encoder = modeling.ImageEncoderViT(
        depth=2, embed_dim=16, img_size=1024, mlp_ratio=2, num_heads=2, patch_size=16,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), qkv_bias=True, use_rel_pos=True,
        global_attn_indexes=(1,), window_size=14, out_chans=256,
    )  # fmt: skip
    return shaken(
        modeling.Sam(
            image_encoder=encoder,
            prompt_encoder=modeling.PromptEncoder(
                embed_dim=256, image_embedding_size=(64, 64), input_image_size=(1024, 1024),
                mask_in_chans=16,
            ),
            mask_decoder=modeling.MaskDecoder(
                num_multimask_outputs=3, transformer_dim=256, iou_head_depth=3,
                iou_head_hidden_dim=256,
                transformer=modeling.TwoWayTransformer(
                    depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8
                ),
            ),
        )
    )  # fmt: skip


def loaded(family: str, path: Path):
    from naturalize.cells.segmenters.sam.checkpoints import load_checkpoint

    return load_checkpoint(family, path, threads=1)


def test_an_official_checkpoint_answers_as_the_official_code(tmp_path: Path) -> None:
    from naturalize.cells.segmenters.sam.onnx import prepared

    theirs = official_sam()
    torch.save(theirs.state_dict(), tmp_path / "sam_vit_b_tiny.pth")
    ours = loaded("sam", tmp_path / "sam_vit_b_tiny.pth").encode(IMAGE)
    with torch.inference_mode():
        features = theirs.image_encoder(torch.from_numpy(prepared(IMAGE)))
        for given in ({"boxes": BOXES}, {"points": POINTS}):
            ((kind, values),) = given.items()
            corners = torch.from_numpy(ours.frame.inputs(values.reshape(len(values), -1, 2)))
            sparse, dense = theirs.prompt_encoder(
                points=None if kind == "boxes" else (corners, torch.ones(len(corners), 1)),
                boxes=corners.reshape(-1, 4) if kind == "boxes" else None,
                masks=None,
            )
            maps, scores = theirs.mask_decoder(
                image_embeddings=features, image_pe=theirs.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse, dense_prompt_embeddings=dense,
                multimask_output=True,
            )  # fmt: skip
            found = ours.masks(**given)
            assert found[0].shape == (len(values), 3, 256, 256)
            assert np.allclose(found[0], maps.numpy(), atol=1e-3 * float(maps.abs().max()))
            assert np.allclose(found[1], scores.numpy(), atol=1e-3 * float(scores.abs().max()))


def sample(name: str) -> dict[str, torch.Tensor]:
    shapes = json.loads((SAMPLES / name).read_text())
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def shapes_of(tensors) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def test_the_tensors_of_sam2_find_their_places() -> None:
    from transformers import Sam2Config, Sam2Model

    from naturalize.cells.segmenters.sam import official

    vision, tensors = official.sam2({"model": sample("sam2.1_tiny_tensors.json")})
    with torch.device("meta"):
        config = Sam2Config(vision_config={"model_type": "sam2_vision_model", **vision})
        network = Sam2Model(config)
    assert shapes_of(tensors) == shapes_of(network.state_dict())


def test_the_tensors_of_mobilesam_find_their_places() -> None:
    pytest.importorskip("timm")
    from naturalize.cells.segmenters.sam import official
    from naturalize.cells.segmenters.sam.mobile import MobileEncoder, encoder_tensors

    state = sample("mobile_sam_tensors.json")
    assert shapes_of(encoder_tensors(state)) == shapes_of(MobileEncoder().state_dict())
    from transformers import SamConfig, SamModel

    network = SamModel(SamConfig(vision_config=TINY))
    network.vision_encoder = None
    assert shapes_of(official.decoder_only(state)) == shapes_of(network.state_dict())


def test_mobilesams_encoder_gives_features_of_a_sixteenth() -> None:
    pytest.importorskip("timm")
    from naturalize.cells.segmenters.sam.mobile import MobileEncoder

    with torch.inference_mode():
        (features,) = MobileEncoder().eval()(torch.zeros(1, 3, 224, 224))
    assert features.shape == (1, 256, 14, 14)


@pytest.fixture(scope="module")
def sam_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random SAM as transformers saves it."""
    from transformers import SamConfig, SamModel

    folder = tmp_path_factory.mktemp("sam")
    shaken(SamModel(SamConfig(vision_config=TINY))).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sam2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random SAM 2 as transformers saves it."""
    from transformers import Sam2Config, Sam2Model

    backbone = {
        "model_type": "sam2_hiera_det_model", "hidden_size": 16, "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [16, 32, 64, 128], "num_attention_heads_per_stage": [1, 2, 4, 8],
        "global_attention_blocks": [3],
    }  # fmt: skip
    vision = {
        "model_type": "sam2_vision_model", "backbone_config": backbone,
        "backbone_channel_list": [128, 64, 32, 16],
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("sam2")
    shaken(Sam2Model(Sam2Config(vision_config=vision))).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_a_folder_of_transformers_is_a_segmenter(kind: str, request, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("NATURALIZE_CACHE", str(tmp_path))
    folder = request.getfixturevalue(f"{kind}_folder")
    image = render_phantom("LY", 2, 0).image[90:270, 90:270]
    sam = segmenter("sam", weights=str(folder), threads=1)
    first, second = sam.segment(image), sam.segment(image)
    # a random network outlines nothing: the detector's cells remain, but for duplicates
    assert first.of("wbc")
    assert np.array_equal(first.label_image(), second.label_image())
    assert len(sam.settings["weights_sha256"]) == 16


@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_prompts_are_answered_alike_one_by_one_and_together(kind: str, request) -> None:
    encoded = loaded("transformers", request.getfixturevalue(f"{kind}_folder")).encode(IMAGE)
    together = encoded.masks(boxes=BOXES)
    for number, box in enumerate(BOXES):
        alone = encoded.masks(boxes=box[None])
        assert np.allclose(alone[0][0], together[0][number], atol=1e-3)
        assert np.allclose(alone[1][0], together[1][number], atol=1e-3)


def test_what_is_no_network_is_refused_in_a_line(tmp_path: Path, sam_folder: Path) -> None:
    (tmp_path / "sam_vit_b.pth").write_bytes(b"junk")
    with pytest.raises(WeightsError, match="damaged, or no PyTorch checkpoint"):
        loaded("sam", tmp_path / "sam_vit_b.pth")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="no tensors by name"):
        loaded("sam2", tmp_path / "list.pt")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    for family in ("sam", "sam2", "mobilesam"):
        with pytest.raises(WeightsError):
            loaded(family, tmp_path / "other.pt")
    state = official_sam().state_dict()
    del state["mask_decoder.iou_token.weight"]
    torch.save(state, tmp_path / "sam_vit_b_lacking.pth")
    with pytest.raises(WeightsError, match="not the tensors of this network"):
        loaded("sam", tmp_path / "sam_vit_b_lacking.pth")
    bad = {"{": "not a model's configuration", '{"model_type": "bert"}': "expected sam or sam2"}
    for config, message in bad.items():
        (tmp_path / "config.json").write_text(config)
        with pytest.raises(WeightsError, match=message):
            loaded("transformers", tmp_path)
    (tmp_path / "config.json").write_text((sam_folder / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        loaded("transformers", tmp_path)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was run",))

    torch.save({"x": Evil()}, tmp_path / "sam_vit_b_evil.pth")
    with pytest.raises(WeightsError):
        loaded("sam", tmp_path / "sam_vit_b_evil.pth")
    assert not (tmp_path / "was run").exists()
