"""The predictor that needs no PyTorch: a model folder's graph, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from naturalize.base.artifacts import Manifest, read_manifest
from naturalize.base.console import track
from naturalize.base.engine import prefetched
from naturalize.base.errors import ArtifactError, SettingsError
from naturalize.models.config import Colour, NetworkConfig
from naturalize.models.ensemble import is_ensemble, read_members
from naturalize.models.folder import GRAPH, WEIGHTS, check_file, read_config
from naturalize.models.predictor import NetworkPredictor, mean_of_members, tempered

#: The graph's input and output, and what it says of the weights that it was made for.
INPUT, OUTPUT, WEIGHTS_HASH = "images", "logits", "weights"

#: The name of the first dimension of both.
BATCH = "n"


class OnnxPredictor(NetworkPredictor):
    """A model ready to predict on the processor.

    Images are taken one by one, on one thread each, so a row depends on nothing but its image; many
    threads may ask at once. ``session`` is onnxruntime's, of a graph that
    `naturalize.models.export` wrote; ``path``, the model folder, is where `weights_hash` reads.
    """

    members: Sequence[tuple[float, OnnxPredictor]] = ()

    def __init__(self, session: Any, config: NetworkConfig, path: Path | None = None) -> None:
        self.session, self.config, self.path = session, config, path
        self.device = "cpu"

    @staticmethod
    def open(path: str | Path, *, device: str = "cpu") -> OnnxPredictor:
        """Open a model folder for onnxruntime; of an ensemble, each member.

        ``ArtifactError`` if it is damaged, has no graph, or one that belongs to other weights;
        ``SettingsError`` for another device than the processor.
        """
        if device != "cpu":
            raise SettingsError(
                f"engine onnx runs on the processor only, not on {device}; try torch"
            )
        path = Path(path)
        manifest = read_manifest(path, "model")
        if is_ensemble(path):
            config, members = read_members(path)
            opened = [(each.share, OnnxPredictor.open(each.path)) for each in members]
            return OnnxAveraging(opened, config, path)
        config = read_config(path)
        return OnnxPredictor(_session(path, manifest, config), config, path)

    @property
    def weights_hash(self) -> str:
        """What names the weights, whichever engine runs them."""
        from naturalize.models.identity import stored_hash

        return stored_hash(self.path) if self.path is not None else ""

    def row(self, image: np.ndarray, slide: Colour | None = None) -> np.ndarray:
        """Return the probability of each class for one image, float32 (C,), summing to one.

        The image is RGB uint8 of any size; ``slide`` is the colour of its bare slide, if that is
        known.
        """
        return softmax(self.logits([image], [slide])[0] / np.float32(self.config.temperature))

    def logits(
        self, images: Sequence[np.ndarray], slides: Sequence[Colour | None] = ()
    ) -> np.ndarray:
        """Return what the last layer gives, float32 (N, C); see `NetworkPredictor.judged`."""
        found = []
        for image, slide in zip(images, slides or [None] * len(images), strict=True):
            pixels = self.config.view.prepare(image, slide)[None]
            found.append(self.session.run([OUTPUT], {INPUT: pixels})[0][0])
        return np.array(found, np.float32).reshape(len(found), len(self.classes))

    def judged(
        self, images: Sequence[np.ndarray], slides: Sequence[Colour | None], *, batch: int = 32
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities (N, C) and strangeness (N,); see `NetworkPredictor`."""
        logits = self.logits(images, slides)
        rows = softmax(logits / np.float32(self.config.temperature), axis=1)
        return rows, self.strangeness(logits)

    def probabilities(
        self, images: Iterable[np.ndarray], *, batch: int = 32, what: str | None = None
    ) -> np.ndarray:
        """Return float32 (N, C); see `Predictor`. The rows do not depend on ``batch``."""
        source = track(images, what) if what else images
        rows = list(prefetched(self.row, source, window=batch))
        return np.stack(rows) if rows else np.empty((0, len(self.classes)), np.float32)


class OnnxAveraging(OnnxPredictor):
    """The mean of several, each of which prepares images as it was trained to see them.

    The members' weights sum to one; the classes of ``config`` give the order.
    """

    def __init__(
        self,
        members: Sequence[tuple[float, OnnxPredictor]],
        config: NetworkConfig,
        path: Path | None = None,
    ) -> None:
        super().__init__(None, config, path)
        self.members = members
        self.columns = [[each.classes.index(c) for c in self.classes] for _, each in members]

    def row(self, image: np.ndarray, slide: tuple[float, float, float] | None = None) -> np.ndarray:
        """Return the members' mean probabilities, float32 (C,)."""
        mean = np.zeros(len(self.classes))
        for (share, member), order in zip(self.members, self.columns, strict=True):
            mean += share * member.row(image, slide)[order]
        return tempered(mean, self.config.temperature).astype(np.float32)

    def judged(
        self, images: Sequence[np.ndarray], slides: Sequence[Colour | None], *, batch: int = 32
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the members' mean probabilities and strangeness; see `NetworkPredictor`."""
        return mean_of_members(self, images, slides, batch)


def _session(path: Path, manifest: Manifest, config: NetworkConfig) -> Any:
    file = path / GRAPH
    anew = f"write it anew with: naturalize export {path}"
    if GRAPH not in manifest.files:
        raise ArtifactError(f"{path}: has no {GRAPH} of its own; {anew}")
    check_file(path, manifest, WEIGHTS, "copy the folder again")
    check_file(path, manifest, GRAPH, anew)
    made = open_session(file)
    if made.get_modelmeta().custom_metadata_map.get(WEIGHTS_HASH) != manifest.files[WEIGHTS]:
        raise ArtifactError(f"{file}: belongs to other weights; {anew}")
    shapes = [value.shape[1:] for value in (made.get_inputs()[0], made.get_outputs()[0])]
    side = config.input_size
    if shapes != [[side, side, 3], [len(config.classes)]]:
        raise ArtifactError(f"{file}: does not fit {path / 'model.json'}; {anew}")
    return made


def open_session(file: Path) -> Any:
    """Return the onnxruntime session of a graph whose weights lie beside it.

    It computes on the thread that asks, and many may ask at once.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # one image at a time: with all sizes known, whatever computes sizes goes, and padding joins
    # the convolutions, which then need not leave their layout
    options.add_free_dimension_override_by_name(BATCH, 1)
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common base class for its errors
        reason = str(error).strip().splitlines()[0]
        raise ArtifactError(f"{file}: cannot be opened ({reason})") from error
