"""Write trained weights as the ONNX file that the package ships.

python tools/unet/export.py runs/unet/weights.pt unet.onnx
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    export(asked.weights, asked.out)
