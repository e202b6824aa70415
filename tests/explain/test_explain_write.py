"""Overlays, picks and the explanation artifact."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics.pairwise import cosine_similarity

from naturalize.base.artifacts import read_manifest
from naturalize.base.errors import InputError, NaturalizeError, SettingsError
from naturalize.base.images import read_image, write_image
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.explain import write as writer
from naturalize.explain.methods import explain
from naturalize.explain.neighbours import Training
from naturalize.explain.overlay import heat_by_kind, heat_inside, overlay
from naturalize.explain.picks import Pick, pick_for_explanation, picks_of_files, worst_mistakes
from naturalize.explain.sheet import heat_remark
from naturalize.explain.write import explain_images
from naturalize.models.predictor import Predictor
from naturalize.models.torch_predictor import TorchPredictor
from naturalize.models.zoo import build
from naturalize.prediction.predictor import StandardisingPredictor
from naturalize.prediction.standardise import Standardised


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    import torch

    torch.manual_seed(0)
    network = build("custom_cnn", ["BA", "EO", "LY"], weights="none", input_size=32)
    return TorchPredictor(network.module, network.config)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for i in range(4):
        shape = (40, 52, 3) if i else (36, 36, 3)
        write_image(tmp_path / "images" / f"{i}.png", draw.integers(0, 255, shape).astype(np.uint8))
    return tmp_path / "images"


def _picks(n: int = 4) -> list[Pick]:
    return [Pick(f"{i:016x}", f"{i}.png", "EO", "BA", 0.7, "mistake") for i in range(n)]


# -- one door to the methods ------------------------------------------------------------------


@pytest.mark.parametrize("method", ["score-cam", "grad-cam"])
def test_maps_cover_the_input_and_lie_in_0_to_1(
    predictor: Predictor, images: Path, method: str
) -> None:
    pictures = [read_image(images / f"{i}.png") for i in range(4)]
    maps = explain(predictor, pictures, method)
    assert maps.shape == (4, 32, 32)
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    assert maps.max() <= 1
    for one in maps:
        assert (one.min(), one.max()) in ((0, 1), (0, 0))


def test_target_decides_the_map(predictor: Predictor, images: Path) -> None:
    picture = [read_image(images / "1.png")]
    maps = [explain(predictor, picture, "grad-cam", [name])[0] for name in predictor.classes]
    best = predictor.classes[predictor.probabilities(picture)[0].argmax()]
    own = explain(predictor, picture, "grad-cam")[0]
    np.testing.assert_array_equal(own, maps[predictor.classes.index(best)])
    assert not np.array_equal(maps[0], maps[1])


def test_a_network_that_looks_at_one_corner_is_seen_to() -> None:
    """The class score is the red of the upper left quarter: so must the heat be."""
    import torch

    class Corner(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.maps = torch.nn.Conv2d(3, 3, 1, bias=False)
            self.maps.weight.data = torch.eye(3).reshape(3, 3, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.maps(x)
            red = 10 * x[:, 0, :16, :16].mean(dim=(1, 2))
            return torch.stack([red, -red], dim=1)

    def transform(picture: Image.Image) -> torch.Tensor:
        return torch.tensor(np.asarray(picture)).permute(2, 0, 1).float() / 255

    image = np.zeros((32, 32, 3), np.uint8)
    image[:16, :16, 0] = 255
    image[16:, 16:, 2] = 255
    for method in ("score-cam", "grad-cam"):
        given = {"classes": ("red", "not"), "transform": transform}
        heat = explain(Corner(), [image], method, ["red"], **given)[0]
        mask = np.zeros((32, 32), bool)
        mask[:16, :16] = True
        assert heat_inside(heat, mask) > 0.8


def test_doors_say_what_is_wrong(predictor: Predictor) -> None:
    image = [np.zeros((8, 8, 3), np.uint8)]
    with pytest.raises(SettingsError, match="did you mean 'score-cam'"):
        explain(predictor, image, "scorecam")
    with pytest.raises(SettingsError, match="unknown class 'XX'"):
        explain(predictor, image, "grad-cam", ["XX"])
    with pytest.raises(SettingsError, match="targets: expected one for each"):
        explain(predictor, image, "grad-cam", ["EO", "EO"])
    with pytest.raises(SettingsError, match="use score-cam or grad-cam"):
        explain(predictor, image, "attention-rollout")
    with pytest.raises(SettingsError, match="its classes and the transform"):
        explain(predictor.module, image, "grad-cam")
    with pytest.raises(SettingsError, match="a dict has no network to look into"):
        explain({}, image, "grad-cam")


def test_a_model_that_onnxruntime_runs_is_explained_too() -> None:
    image = [np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8)]
    opened = Predictor.load("pbc11", engine="onnx")
    (heat,) = explain(opened, image, "grad-cam", ["LY"])
    (same,) = explain(Predictor.load("pbc11", engine="torch"), image, "grad-cam", ["LY"])
    np.testing.assert_array_equal(heat, same)


def test_a_standardised_image_is_explained_by_the_network_that_answered(
    predictor: Predictor, images: Path, tmp_path: Path
) -> None:
    """Of four images three are brought to a standard (here: turned over)."""
    import torch

    torch.manual_seed(1)
    other = build("custom_cnn", ["BA", "EO", "LY"], weights="none", input_size=32)
    home = TorchPredictor(predictor.module, predictor.config)
    home.elsewhere = TorchPredictor(other.module, other.config)

    class Turns:
        mode, profile = "auto", None

        def __call__(self, image: np.ndarray) -> Standardised:
            if image.shape[0] == 36:
                return Standardised(image)
            return Standardised(image[::-1].copy(), flags=("standardised",))

    model = StandardisingPredictor(home, Turns())
    root, picks = picks_of_files([images])
    training = Training.drawn(root, [Pick(p.image_id, p.path, "BA") for p in picks])
    given = {"methods": ["grad-cam"], "training": training}
    out = explain_images(model, picks, root, tmp_path / "out", **given)
    for entry in json.loads((out / "explanations.json").read_text()):
        image = read_image(images / entry["path"])
        assert entry["standardised"] == (entry["path"] != "0.png")
        network = home.elsewhere if entry["standardised"] else home
        seen = image[::-1].copy() if entry["standardised"] else image
        (heat,) = explain(network, [seen], "grad-cam", [entry["predicted"]])
        (answer,) = model.probabilities([image])
        assert entry["predicted"] == model.classes[answer.argmax()]
        assert entry["confidence"] == pytest.approx(answer.max(), abs=1e-5)
        with np.load(out / "maps.npz") as maps:
            np.testing.assert_allclose(maps[f"{entry['image_id']}-grad-cam"], heat, atol=1e-6)
        ids = [p.image_id for p in training.items if p.image_id != entry["image_id"]]
        known = network.features([read_image(root / p.path) for p in training.items
                                  if p.image_id in ids])  # fmt: skip
        alike = cosine_similarity(network.features([seen]), known)[0]
        assert entry["neighbours"][0]["image_id"] == ids[int(alike.argmax())]


# -- overlays -----------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(8, 60), st.integers(8, 60), st.integers(0, 10**6))
def test_where_there_is_no_heat_the_image_stays(height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    heat = np.zeros((height, width), np.float32)
    np.testing.assert_array_equal(overlay(image, heat), image)
    heat[: height // 2] = 1
    painted = overlay(image, heat, contour=False)
    np.testing.assert_array_equal(painted[height // 2 :], image[height // 2 :])
    assert (painted[: height // 2] != image[: height // 2]).any()


def test_texture_shows_through_the_hottest_heat() -> None:
    """Light and dark of the cell keep at least three quarters of their difference."""
    image = np.full((20, 20, 3), (200, 170, 190), np.uint8)
    image[::2] = (90, 50, 130)
    painted = overlay(image, np.ones((20, 20)), contour=False).astype(float).mean(axis=2)
    plain = image.astype(float).mean(axis=2)
    assert painted[1].mean() - painted[0].mean() > 0.75 * (plain[1].mean() - plain[0].mean())


def test_the_line_encloses_what_is_hotter_than_half() -> None:
    image = np.full((60, 60, 3), 200, np.uint8)
    heat = np.zeros((60, 60), np.float32)
    heat[20:40, 20:40] = 1
    changed = (overlay(image, heat) != overlay(image, heat, contour=False)).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert 17 <= rows.min() <= 20
    assert 39 <= columns.max() <= 42
    assert not changed[25:35, 25:35].any()


@pytest.mark.parametrize("heat", [np.zeros(4), np.full((4, 4), 2.0), np.full((4, 4), np.nan)])
def test_heat_that_is_no_map_is_refused(heat: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected a matrix within 0–1"):
        overlay(np.zeros((8, 8, 3), np.uint8), heat)


def test_share_inside_a_cell_by_hand() -> None:
    heat = np.zeros((4, 4))
    heat[0, :] = 1
    heat[3, 0] = 1
    mask = np.zeros((4, 4), bool)
    mask[:2] = True
    assert heat_inside(heat, mask) == pytest.approx(4 / 5)
    assert heat_inside(np.zeros((4, 4)), mask) is None


def test_heat_is_shared_out_among_the_kinds_of_cells_by_hand() -> None:
    heat = np.zeros((10, 10))
    heat[:, :5] = 1  # 50 pixels: 8 on the white cell, 6 on the red one
    full = np.ones((4, 4), bool)
    cells = (Cell("wbc", (3, 0, 7, 4), full), Cell("rbc", (0, 6, 2, 9), np.ones((3, 2), bool)))
    found = heat_by_kind(heat, Segmentation((10, 10), cells, (255.0, 230.0, 200.0)))
    assert found == {"slide": 0.72, "wbc": 0.16, "rbc": 0.12, "platelet": 0.0}
    assert heat_by_kind(np.zeros((10, 10)), Segmentation((10, 10), cells, (0.0, 0.0, 0.0))) is None


def test_heat_outside_the_cell_is_remarked_on() -> None:
    on = {"slide": 0.2, "wbc": 0.3, "rbc": 0.5, "platelet": 0.0}
    said = heat_remark({"heat_inside": 0.3, "heat_on": on})
    assert said == "70 % of the heat outside the cell, 50 % on red cells"
    assert heat_remark({"heat_inside": 0.6, "heat_on": on}) is None
    assert heat_remark({"heat_on": on}) is None


# -- picks --------------------------------------------------------------------------------------


def _predictions() -> pa.Table:
    rows = []
    for i in range(60):
        label, wrong = ["BA", "EO", "LY"][i % 3], i % 7 == 0
        predicted = ["EO", "LY", "BA"][i % 3] if wrong else label
        rows.append((f"{i:016x}", f"{i:02d}.png", label, predicted, (i * 37 % 60) / 60))
    names = ["image_id", "path", "label", "predicted", "confidence"]
    return pa.table({name: list(c) for name, c in zip(names, zip(*rows, strict=True), strict=True)})


def test_worst_mistakes_are_the_most_confident_wrong_ones() -> None:
    found = worst_mistakes(_predictions(), 4).to_pylist()
    wrong = [r for r in _predictions().to_pylist() if r["label"] != r["predicted"]]
    assert found == sorted(wrong, key=lambda r: -r["confidence"])[:4]
    assert worst_mistakes(_predictions(), 0).num_rows == 0
    assert worst_mistakes(_predictions(), 999).num_rows == len(wrong)


def test_picks_are_one_right_of_each_class_and_the_mistakes() -> None:
    found = pick_for_explanation(_predictions(), per_class=2, mistakes=3, seed=1).to_pylist()
    examples = [row for row in found if row["reason"] == "example"]
    assert [row["label"] for row in examples] == ["BA", "BA", "EO", "EO", "LY", "LY"]
    assert all(row["label"] == row["predicted"] for row in examples)
    assert [row["reason"] for row in found[6:]] == ["mistake"] * 3
    assert len({row["image_id"] for row in found}) == 9


def test_picks_depend_on_the_seed_but_not_on_the_order_of_rows() -> None:
    table = _predictions()
    shuffled = table.take(np.random.default_rng(0).permutation(60))
    one = pick_for_explanation(table, 2, 2, seed=1)
    assert pick_for_explanation(shuffled, 2, 2, seed=1).equals(one)
    assert not pick_for_explanation(table, 2, 2, seed=2).equals(one)


def test_a_class_that_is_always_wrong_gives_no_example() -> None:
    table = pa.table(
        {"path": ["a", "b"], "label": ["EO", "LY"], "predicted": ["LY", "LY"],
         "confidence": [0.9, 0.8]}
    )  # fmt: skip
    found = pick_for_explanation(table).to_pylist()
    assert [(row["path"], row["reason"]) for row in found] == [("b", "example"), ("a", "mistake")]


def test_files_and_folders_become_picks(images: Path) -> None:
    (images / "notes.txt").write_text("no image")
    root, picks = picks_of_files([images])
    assert root == images.resolve()
    assert [pick.path for pick in picks] == ["0.png", "1.png", "2.png", "3.png"]
    assert len(picks_of_files([images], limit=2)[1]) == 2
    assert picks_of_files([images / "1.png"])[1] == [picks[1]]
    with pytest.raises(InputError, match="no such file"):
        picks_of_files([images / "9.png"])
    (images / "empty").mkdir()
    with pytest.raises(InputError, match="no images there"):
        picks_of_files([images / "empty"])


# -- the artifact -------------------------------------------------------------------------------


def test_artifact_holds_what_the_format_says(
    predictor: Predictor, images: Path, tmp_path: Path
) -> None:
    mask = np.zeros((36, 36), bool)
    mask[:18] = True
    out = explain_images(
        predictor, _picks(), images, tmp_path / "out", masks={f"{0:016x}": mask}, inputs={"m": "1"}
    )
    entries = json.loads((out / "explanations.json").read_text())
    assert [entry["method"] for entry in entries] == ["score-cam", "grad-cam"] * 4
    assert read_manifest(out, "explanation").inputs == {"m": "1"}
    with np.load(out / "maps.npz", allow_pickle=False) as maps:
        assert set(maps.files) == {f"{e['image_id']}-{e['method']}" for e in entries}
        heat = maps[f"{0:016x}-grad-cam"]
    assert heat.dtype == np.float32
    assert entries[1]["cell_share"] == 0.5
    assert entries[1]["heat_inside"] == pytest.approx(heat_inside(heat, mask))
    for entry in entries:  # a map may be without any heat
        on = entry["heat_on"]
        assert on is None or sum(on.values()) == pytest.approx(1, abs=1e-3)
    for entry in entries:
        painted = read_image(out / "overlays" / entry["overlay"])
        assert painted.shape == read_image(images / entry["path"]).shape
        assert painted.shape == read_image(out / entry["image"]).shape
        assert (entry["label"], entry["predicted"], entry["reason"]) == ("EO", "BA", "mistake")
    assert read_image(out / "sheet.jpg").ndim == 3
    checks = json.loads((out / "checks.json").read_text())
    assert list(checks["methods"]) == ["score-cam", "grad-cam", "middle of the image"]
    for method in ("score-cam", "grad-cam"):
        areas = [entry["insertion_auc"] for entry in entries if entry["method"] == method]
        assert checks["methods"][method]["insertion_auc"] == pytest.approx(np.mean(areas), abs=1e-3)
    assert set(checks["classes"]) <= {"BA"}
    assert not list(tmp_path.glob(".*"))


def test_same_inputs_give_the_same_bytes(
    predictor: Predictor, images: Path, tmp_path: Path
) -> None:
    one, other = (explain_images(predictor, _picks(2), images, tmp_path / n) for n in "ab")
    assert read_manifest(one) == read_manifest(other)


def test_a_killed_run_goes_on_where_it_stopped(
    predictor: Predictor, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = explain_images(predictor, _picks(), images, tmp_path / "whole")
    calls = []

    def counted(*args: object, **more: object) -> np.ndarray:
        calls.append(args[2])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return explain(*args, **more)

    monkeypatch.setattr(writer, "explain", counted)
    with pytest.raises(KeyboardInterrupt):
        explain_images(predictor, _picks(), images, tmp_path / "out", work=tmp_path / "work")
    assert not (tmp_path / "out").exists()
    calls += [""] * 10
    explain_images(predictor, _picks(), images, tmp_path / "out", work=tmp_path / "work")
    assert len(calls) == 14 + 5  # three of eight were kept
    assert read_manifest(tmp_path / "out") == read_manifest(whole)


def test_without_labels_the_model_says_what_it_predicts(
    predictor: Predictor, images: Path, tmp_path: Path
) -> None:
    root, picks = picks_of_files([images])
    out = explain_images(predictor, picks, root, tmp_path / "out", methods=["grad-cam"])
    entries = json.loads((out / "explanations.json").read_text())
    shares = predictor.probabilities([read_image(images / e["path"]) for e in entries])
    for entry, row in zip(entries, shares, strict=True):
        assert entry["predicted"] == predictor.classes[row.argmax()]
        assert entry["confidence"] == pytest.approx(row.max(), abs=1e-5)
        assert entry["label"] is None


def test_unreadable_images_are_named_and_left_out(
    predictor: Predictor, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "2.png").write_bytes(b"")
    out = explain_images(predictor, _picks(), images, tmp_path / "out", methods=["grad-cam"])
    entries = json.loads((out / "explanations.json").read_text())
    assert [entry["path"] for entry in entries] == ["0.png", "1.png", "3.png"]
    assert "2.png: empty file (0 bytes); not explained" in capsys.readouterr().err
    with pytest.raises(InputError, match="none of the 1 images"):
        explain_images(predictor, [Pick("0", "2.png")], images, tmp_path / "none")


@pytest.mark.parametrize(
    ("items", "more", "said"),
    [
        ([], {}, "nothing to explain"),
        (_picks(1), {"methods": ["gradcam"]}, "did you mean 'grad-cam'"),
        (_picks(1), {"layer": "nowhere"}, "unknown layer 'nowhere'"),
        ([Pick("0", "0.png", "EO", "XX")], {}, "unknown class 'XX'"),
    ],
)
def test_bad_input_leaves_nothing_behind(
    predictor: Predictor, images: Path, tmp_path: Path, items: list[Pick], more: dict, said: str
) -> None:
    with pytest.raises(NaturalizeError, match=said):
        explain_images(predictor, items, images, tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()


def test_a_long_sheet_stands_in_two_columns(
    predictor: Predictor, images: Path, tmp_path: Path
) -> None:
    names = [f"{i}.png" for i in range(3)]
    for i in range(3, 8):
        write_image(images / f"{i}.png", read_image(images / "1.png") // i)
        names.append(f"{i}.png")
    sizes = {}
    for n in (2, 8):
        picks = [Pick(f"{i:016x}", name, "EO", "BA", 0.7) for i, name in enumerate(names[:n])]
        out = explain_images(predictor, picks, images, tmp_path / str(n), methods=["grad-cam"])
        sizes[n] = read_image(out / "sheet.jpg").shape
    assert sizes[8][1] > 1.8 * sizes[2][1]
    assert sizes[8][0] < 2.2 * sizes[2][0]  # four rows beside four, not eight
