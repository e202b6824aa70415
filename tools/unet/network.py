"""The network: a mobile encoder, a light decoder, and one head for kinds, centres and offsets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

#: Outputs: five classes, the centre map, two offsets.
CLASSES, OUTPUTS = 5, 8


class Block(nn.Sequential):
    """3 × 3 convolution, batch normalisation, ReLU6."""

    def __init__(self, n_in: int, n_out: int, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(n_in, n_out, 3, padding=1, bias=False, groups=groups),
            nn.BatchNorm2d(n_out),
            nn.ReLU6(inplace=True),
        )


class Up(nn.Module):
    """Twice as large, joined with the encoder's map of that size."""

    def __init__(self, n_in: int, n_skip: int, n_out: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(n_in, n_out, 1, bias=False)
        self.skip = nn.Conv2d(n_skip, n_out, 1, bias=False)
        self.norm = nn.BatchNorm2d(n_out)
        self.mix = Block(n_out, n_out)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        # the 1 × 1 commutes with the enlargement, and costs a quarter before it
        x = F.interpolate(self.narrow(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.mix(F.relu6(self.norm(x + self.skip(skip))))


class SmallUNet(nn.Module):
    """U-Net (Ronneberger 2015) on EfficientNet-Lite0 up to stride 16, 8 outputs at full size.

    Input: RGB on 0–1, float32 (N, 3, H, W), H and W multiples of 16. Output: float32 (N, 8, H, W):
    logits of slide, cytoplasm, nucleus, red cell, platelet; the centre map's logit; offsets (y, x)
    to the cell's centre in units of 16 pixels (after Cheng et al., Panoptic-DeepLab, CVPR 2020).
    """

    def __init__(self, encoder: nn.Module, widths: tuple[int, ...] = (112, 72, 48, 40)) -> None:
        super().__init__()
        self.encoder = encoder
        c2, c4, c8, c16 = encoder.feature_info.channels()
        a, b, c, d = widths
        self.deep = nn.Sequential(nn.Conv2d(c16, a, 1, bias=False), nn.BatchNorm2d(a), nn.ReLU6())
        self.whole = nn.Sequential(nn.Linear(a, a), nn.ReLU6(), nn.Linear(a, a))
        self.deep2 = Block(a, a)
        self.up8 = Up(a, c8, b)
        self.up4 = Up(b, c4, c)
        self.up2 = Up(c, c2, d)
        self.last = Block(d, d)
        self.head = nn.Conv2d(d, OUTPUTS * 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        f2, f4, f8, f16 = self.encoder((x - 127 / 255) / (128 / 255))
        deep = self.deep(f16)
        # stain and scale are properties of the whole picture
        deep = self.deep2(deep + self.whole(deep.mean((2, 3)))[..., None, None])
        y = self.up2(self.up4(self.up8(deep, f8), f4), f2)
        return F.pixel_shuffle(self.head(self.last(y)), 2)


def small_unet(weights: str = "imagenet") -> SmallUNet:
    """Return the network with the encoder's ImageNet weights (pip package), or ``"none"``."""
    from naturalize.models.torchvision_compat import ensure
    from naturalize.models.weights import find

    ensure()
    import timm

    name = "tf_efficientnet_lite0"
    encoder = timm.create_model(name, features_only=True, out_indices=(0, 1, 2, 3))
    found = find(name, weights)
    if found is not None:
        own = encoder.state_dict()
        encoder.load_state_dict({key: found.state[key] for key in own})
    # what comes after stride 16 is never looked at
    encoder.blocks = encoder.blocks[:5]
    return SmallUNet(encoder)


def load_onnx(net: SmallUNet, file: Path) -> None:
    """Give the network the weights of an exported file; evaluated, it answers as that does.

    The export folds a batch normalisation into the convolution before it. Here the convolution
    takes the folded weights and the normalisation keeps the bias, its statistics 0 and 1.
    """
    import onnx
    from onnx.numpy_helper import to_array

    graph = onnx.load(file).graph
    held = {one.name: torch.from_numpy(np.array(to_array(one))) for one in graph.initializer}
    own = net.state_dict()
    own.update({name: value for name, value in held.items() if name in own})
    net.load_state_dict(own)
    nodes = iter([node for node in graph.node if node.op_type == "Conv"])
    layers = _in_order(net)
    for layer, after in zip(layers, [*layers[1:], None], strict=True):
        if not isinstance(layer, nn.Conv2d):
            continue
        weight, *bias = (held[name] for name in next(nodes).input[1:])
        layer.weight.data.copy_(weight)
        if layer.bias is not None:
            layer.bias.data.copy_(bias[0])
        elif bias:
            assert isinstance(after, nn.BatchNorm2d)
            after.reset_parameters()
            after.weight.data.fill_((1 + after.eps) ** 0.5)
            after.bias.data.copy_(bias[0])


def _in_order(net: SmallUNet) -> list[nn.Module]:
    """Return convolutions and normalisations in the order in which they run."""
    ran: list[nn.Module] = []
    kinds = (nn.Conv2d, nn.BatchNorm2d)
    layers = [module for module in net.modules() if isinstance(module, kinds)]
    hooks = [one.register_forward_hook(lambda module, *_: ran.append(module)) for one in layers]
    with torch.no_grad():
        net.eval()(torch.zeros(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    return ran


def normalise(net: SmallUNet, images: Iterable[torch.Tensor]) -> None:
    """Give each batch normalisation the statistics of its input over ``images``.

    Evaluated, the network answers as before; and it can be trained, which folded weights cannot.
    ``images``: batches, float32 (N, 3, H, W) on 0-1.
    """
    layers = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    sums = {layer: torch.zeros(3, layer.num_features, dtype=torch.float64) for layer in layers}

    def look(layer: nn.Module, given: tuple[torch.Tensor]) -> None:
        x = given[0].double().transpose(0, 1).flatten(1)
        n = torch.full((len(x),), x.shape[1], dtype=torch.float64)
        sums[layer] += torch.stack([n, x.sum(1), (x * x).sum(1)])

    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    with torch.no_grad():
        net.eval()
        for batch in images:
            net(batch)
        for layer, hook in zip(layers, hooks, strict=True):
            hook.remove()
            n, total, squares = sums[layer]
            mean = total / n
            spread = (squares / n - mean**2).clamp_min(0)
            slope = layer.weight / (layer.running_var + layer.eps).sqrt()
            layer.bias += slope * (mean.float() - layer.running_mean)
            layer.weight.copy_(slope * (spread.float() + layer.eps).sqrt())
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(spread)
