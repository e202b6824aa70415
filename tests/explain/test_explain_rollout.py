"""Attention rollout against weights worked out by hand, and which method fits which network."""

from __future__ import annotations

import pytest
import timm
import torch

from naturalize.base.errors import SettingsError
from naturalize.explain.attention import (
    attention_layers,
    attention_relevance,
    attention_rollout,
)
from naturalize.explain.maps import map_layer
from naturalize.explain.methods import default_methods


def small_vit(**settings: object) -> torch.nn.Module:
    torch.manual_seed(1)
    module = timm.models.VisionTransformer(
        img_size=settings.pop("img_size", 16), patch_size=4, embed_dim=24, depth=3, num_heads=3,
        num_classes=5, **settings,
    )  # fmt: skip
    return module.double().eval()


def by_hand(module: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Rollout from the weights of qkv alone, block by block: (N, tokens, tokens)."""
    inputs: list[torch.Tensor] = []
    handles = [
        block.attn.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        for block in module.blocks
    ]
    with torch.no_grad():
        module(images)
    for handle in handles:
        handle.remove()
    flow = None
    for block, x in zip(module.blocks, inputs, strict=True):
        heads, width = block.attn.num_heads, x.shape[2] // block.attn.num_heads
        q, k, _ = block.attn.qkv(x).chunk(3, dim=2)
        mean = torch.zeros(len(x), x.shape[1], x.shape[1], dtype=x.dtype)
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            mean += torch.softmax(q[..., part] @ k[..., part].mT / width**0.5, dim=2) / heads
        step = 0.5 * mean + 0.5 * torch.eye(x.shape[1], dtype=x.dtype)
        flow = step if flow is None else step @ flow
    assert flow is not None
    return flow


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.manual_seed(2))


@pytest.mark.parametrize("fused", [True, False])
def test_rollout_equals_hand_work(images: torch.Tensor, fused: bool) -> None:
    module = small_vit()
    for layer in attention_layers(module):
        layer.fused_attn = fused
    expected = by_hand(module, images)[:, 0, 1:].reshape(2, 4, 4)
    torch.testing.assert_close(attention_rollout(module, images), expected)


def test_networks_that_pool_patches_are_read_from_the_patches(images: torch.Tensor) -> None:
    module = small_vit(global_pool="avg", class_token=False)
    expected = by_hand(module, images).mean(dim=1).reshape(2, 4, 4)
    torch.testing.assert_close(attention_rollout(module, images), expected)


def test_rows_and_columns_are_not_swapped() -> None:
    module = small_vit(img_size=(16, 24))
    images = torch.randn(1, 3, 16, 24, dtype=torch.float64, generator=torch.manual_seed(2))
    expected = by_hand(module, images)[:, 0, 1:].reshape(1, 4, 6)
    torch.testing.assert_close(attention_rollout(module, images), expected)


@pytest.mark.parametrize("fused", [True, False])
def test_the_network_is_left_as_it_was(images: torch.Tensor, fused: bool) -> None:
    module = small_vit()
    for layer in attention_layers(module):
        layer.fused_attn = fused
    before = module(images)
    attention_rollout(module, images)
    with pytest.raises(AssertionError):  # timm checks the size
        attention_rollout(module, images[:, :, :8, :8])
    assert [layer.fused_attn for layer in attention_layers(module)] == [fused] * 3
    assert not any(part._forward_hooks for part in module.modules())
    torch.testing.assert_close(module(images), before, rtol=0, atol=0)


def relevance_by_hand(module: torch.nn.Module, image: torch.Tensor, target: int) -> torch.Tensor:
    """Run the network block by block with its attention in the open: R of Chefer et al., (T, T)."""
    x = module._pos_embed(module.patch_embed(image[None]))
    shown = []
    for block in module.blocks:
        heads, width = block.attn.num_heads, x.shape[2] // block.attn.num_heads
        q, k, v = block.attn.qkv(block.norm1(x))[0].chunk(3, dim=1)
        q, k, v = (part.reshape(-1, heads, width).transpose(0, 1) for part in (q, k, v))
        attention = torch.softmax(q @ k.mT / width**0.5, dim=2)
        attention.retain_grad()
        shown.append(attention)
        x = x + block.attn.proj((attention @ v).transpose(0, 1).reshape(x.shape))
        x = x + block.mlp(block.norm2(x))
    module.forward_head(module.norm(x))[0, target].backward()
    relevance = torch.eye(x.shape[1], dtype=x.dtype)
    for attention in shown:
        positive = (attention.grad * attention.detach()).clamp_min(0).mean(dim=0)
        relevance = relevance + positive @ relevance
    return relevance


def test_relevance_equals_hand_work_and_depends_on_the_class(images: torch.Tensor) -> None:
    module = small_vit()
    found = attention_relevance(module, images, torch.tensor([4, 2]))
    for i, target in enumerate((4, 2)):
        expected = relevance_by_hand(module, images[i], target)[0, 1:].reshape(4, 4)
        torch.testing.assert_close(found[i], expected)
    other = attention_relevance(module, images, torch.tensor([3, 2]))
    assert not torch.allclose(other[0], found[0])
    torch.testing.assert_close(other[1], found[1])
    frozen = small_vit().requires_grad_(False)
    torch.testing.assert_close(attention_relevance(frozen, images, torch.tensor([4, 2])), found)


def test_cams_on_a_transformer_say_what_fits(images: torch.Tensor) -> None:
    with pytest.raises(SettingsError, match="use attention-r"):
        map_layer(small_vit(), images[:1])


def test_rollout_on_a_convnet_says_what_fits(images: torch.Tensor) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3)).double()
    with pytest.raises(SettingsError, match="use score-cam or grad-cam"):
        attention_rollout(module, images)


def test_methods_that_fit_are_chosen() -> None:
    assert default_methods(small_vit()) == ("attention-rollout", "attention-relevance")
    assert default_methods(torch.nn.Conv2d(3, 2, 3)) == ("score-cam", "grad-cam")


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("tf_efficientnet_lite0", "bn2"),
        ("tf_efficientnetv2_b0", "bn2"),
        ("resnet18", "layer4"),
        ("mobilenetv2_100", "bn2"),
    ],
)
def test_last_maps_of_known_networks(name: str, layer: str) -> None:
    module = timm.create_model(name, num_classes=3).eval()
    found = map_layer(module, torch.zeros(1, 3, 64, 64))
    assert found is module.get_submodule(layer)


def test_last_maps_of_the_custom_cnn_are_what_its_head_gets() -> None:
    from naturalize.models.zoo import build

    module = build("custom_cnn", 3, weights="none").module.eval()
    x = torch.zeros(1, 3, 64, 64)
    found = map_layer(module, x)
    outputs = []
    handle = found.register_forward_hook(lambda *args: outputs.append(args[2]))
    features = module.forward_features(x)
    handle.remove()
    torch.testing.assert_close(outputs[0], features)


def test_swin_is_refused_rather_than_read_crosswise() -> None:
    module = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=32, window_size=2, depths=(1, 1, 1, 1),
        num_classes=3, embed_dim=24, num_heads=(1, 2, 2, 2),
    ).eval()  # fmt: skip
    with pytest.raises(SettingsError, match="need feature maps"):
        map_layer(module, torch.zeros(1, 3, 32, 32))
