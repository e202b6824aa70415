"""Write trained weights as the ONNX file that the package ships.

python -m tools.unet.export runs/unet/weights.pt unet.onnx
python -m tools.unet.export runs/unet/weights.pt unet.onnx --mix 0.5
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from naturalize.cells.segmenters.unet.network import OWN
from tools.unet.network import small_unet


def export(weights: Path, out: Path) -> None:
    """Write the network for any size of image."""
    net = small_unet("none")
    net.load_state_dict(torch.load(weights, weights_only=True))
    net.eval()
    torch.onnx.export(
        net,
        (torch.zeros(1, 3, 192, 192),),
        out,
        input_names=["image"],
        output_names=["maps"],
        dynamic_axes={"image": {0: "n", 2: "h", 3: "w"}, "maps": {0: "n", 2: "h", 3: "w"}},
        opset_version=17,
        dynamo=False,
    )


def mix(old: Path, new: Path, share: float, out: Path) -> None:
    """Write the mean of two exported networks of one shape, ``share`` of it the second one's.

    Between weights and those that were trained on from them, it holds in the old data and in the
    new (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022).
    """
    import onnx
    from onnx.numpy_helper import from_array, to_array

    mixed, other = onnx.load(old), onnx.load(new)
    held = {one.name: one for one in mixed.graph.initializer}
    theirs = {one.name: one for one in other.graph.initializer}
    for node, like in zip(mixed.graph.node, other.graph.node, strict=True):
        for name, name_there in zip(node.input, like.input, strict=True):
            if name in held and to_array(held[name]).dtype.kind == "f":
                values = (1 - share) * to_array(held[name]) + share * to_array(theirs[name_there])
                held[name].CopyFrom(from_array(values.astype("float32"), name))
    onnx.save(mixed, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--mix", type=float, help="share of these weights, the rest the package's")
    asked = parser.parse_args()
    export(asked.weights, asked.out)
    if asked.mix is not None:
        mix(OWN, asked.out, asked.mix, asked.out)
