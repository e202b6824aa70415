"""Preprocessing, the predictor, and predictions for files."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturalize.base.errors import InputError, SettingsError
from naturalize.base.images import write_image
from naturalize.base.walk import find_images
from naturalize.models import preprocess
from naturalize.models.folder import save_model
from naturalize.models.torch_predictor import TorchPredictor
from naturalize.models.zoo import build
from naturalize.prediction.files import predict_files
from naturalize.prediction.table import to_csv

torch = pytest.importorskip("torch")


def picture(height: int = 40, width: int = 37, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def predictor():
    torch.manual_seed(3)
    network = build("custom_cnn", ["A", "B", "C"], weights="none", input_size=32)
    return TorchPredictor(network.module, network.config)


@given(factor=st.integers(2, 5), size=st.integers(4, 20), seed=st.integers(0, 99))
def test_shrinking_by_a_whole_factor_averages_blocks(factor, size, seed):
    image = picture(size * factor, size * factor, seed)
    blocks = image.reshape(size, factor, size, factor, 3).mean(axis=(1, 3))
    assert np.abs(preprocess.resize(image, size) - blocks).max() <= 0.51


@given(height=st.integers(1, 60), width=st.integers(1, 60))
def test_any_shape_becomes_a_square_and_a_flat_colour_stays(height, width):
    flat = np.full((height, width, 3), (200, 7, 90), np.uint8)
    out = preprocess.resize(flat, 24)
    assert out.shape == (24, 24, 3)
    assert (out == (200, 7, 90)).all()


def test_an_image_of_the_right_size_is_not_touched():
    image = picture(24, 24)
    np.testing.assert_array_equal(preprocess.resize(image, 24), image)


def test_normalising_follows_the_formula_and_is_channels_last():
    pixels = np.stack([picture(8, 8, i) for i in range(2)])
    mean, std = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)
    out = preprocess.normalise(torch.from_numpy(pixels), mean, std)
    expected = ((pixels / 255.0 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(out.numpy(), expected, atol=2e-5)
    assert out.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(pixels, np.stack([picture(8, 8, i) for i in range(2)]))


def test_probabilities_are_softmax_of_the_modules_logits(predictor):
    images = [picture(seed=i) for i in range(5)]
    got = predictor.probabilities(iter(images), batch=2)
    with torch.no_grad():
        logits = predictor.module(predictor.tensor(images)).double().numpy()
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    np.testing.assert_allclose(got.sum(1), 1, atol=1e-6)


def test_temperature_softens_without_changing_the_order(predictor):
    from dataclasses import replace

    warm = TorchPredictor(predictor.module, replace(predictor.config, temperature=4.0))
    images = [picture(seed=i) for i in range(4)]
    sharp, soft = predictor.probabilities(images), warm.probabilities(images)
    assert (soft.max(1) < sharp.max(1)).all()
    np.testing.assert_array_equal(soft.argsort(1), sharp.argsort(1))


def test_features_are_what_the_classifier_reads(predictor):
    images = [picture(seed=i) for i in range(3)]
    features = torch.from_numpy(predictor.features(images))
    with torch.no_grad():
        expected = predictor.module(predictor.tensor(images))
        torch.testing.assert_close(predictor.module.get_classifier()(features), expected)


def test_a_device_that_is_not_there_is_named(predictor):
    with pytest.raises(SettingsError, match="unknown device 'gpu'"):
        TorchPredictor(predictor.module, predictor.config, device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(SettingsError, match="device cuda: this machine"):
            TorchPredictor(predictor.module, predictor.config, device="cuda")


def test_no_images_give_no_rows(predictor):
    assert predictor.probabilities([]).shape == (0, 3)
    assert predictor.features([]).shape == (0, 256)


def test_predicting_puts_the_module_into_evaluation_mode(predictor):
    predictor.module.train()
    first = predictor.probabilities([picture()])
    predictor.module.train()
    np.testing.assert_array_equal(predictor.probabilities([picture()]), first)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "images"
    for i, name in enumerate(["b/2.png", "a/9.png", "a/10.jpg"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(root / name, picture(seed=i))
    (root / "a" / "bad.jpg").write_bytes(b"no image")
    (root / "a" / "notes.txt").write_text("not an image")
    (root / ".hidden.png").write_bytes(b"x")
    return root


def test_files_are_predicted_in_order_and_bad_ones_are_rows(folder, predictor):
    paths = find_images([folder / "b" / "2.png", folder])
    assert [p.name for p in paths] == ["2.png", "10.jpg", "9.png", "bad.jpg"]  # 2.png once
    rows = list(predict_files(predictor, paths, batch=2))
    assert [row.path for row in rows] == paths
    assert [row.error for row in rows] == [None] * 3 + ["not an image that can be read"]
    alone = predictor.probabilities([picture(seed=0)])[0]
    np.testing.assert_allclose(rows[0].probabilities, alone, atol=1e-6)


def test_the_table_has_a_probability_for_each_class(folder, predictor):
    text = to_csv(predictor.classes, predict_files(predictor, find_images([folder])))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["path", "label", "confidence", "prob_A", "prob_B", "prob_C", "flag"]
    for row in rows:
        if row["flag"].startswith("error"):
            assert row["label"] == row["confidence"] == row["prob_A"] == ""
        else:
            numbers = {c: float(row[f"prob_{c}"]) for c in "ABC"}
            assert row["label"] == max(numbers, key=lambda c: numbers[c])
            assert float(row["confidence"]) == max(numbers.values())


def test_missing_inputs_and_empty_folders_are_named(tmp_path):
    with pytest.raises(InputError, match="nothing: no such file or folder"):
        find_images([tmp_path / "nothing"])
    with pytest.raises(InputError, match="no images there"):
        find_images([tmp_path])


def test_the_command_writes_the_table(folder, predictor, tmp_path):
    from naturalize.cli.predict import predict

    save_model(tmp_path / "model", predictor.module, predictor.config)
    predict(
        [folder],
        model=str(tmp_path / "model"),
        out=tmp_path / "p.csv",
        batch=32,
        device="cpu",
        standardise="auto",
        sheet=None,
        unsure=0.5,
    )
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 5
    with pytest.raises(InputError, match="none of 1 files can be read"):
        predict(
            [folder / "a/bad.jpg"],
            model=str(tmp_path / "model"),
            out=tmp_path / "q.csv",
            standardise="auto",
            sheet=None,
            unsure=0.5,
        )


def test_working_ahead_keeps_the_order_and_the_window():
    from naturalize.base.engine import prefetched

    begun = []

    def double(item: int) -> int:
        begun.append(item)
        return 2 * item

    results = prefetched(double, iter(range(100)), window=4)
    assert [next(results) for _ in range(10)] == list(range(0, 20, 2))
    assert max(begun) <= 14
    assert list(results) == list(range(20, 200, 2))


def test_an_error_while_working_ahead_comes_out_at_its_item():
    from naturalize.base.engine import prefetched

    results = prefetched(lambda item: 6 // item, [3, 2, 0, 1])
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)
