"""Averaging ensembles: a mean of probabilities, a folder like any other, weights that fit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.base.errors import ArtifactError, InputError, NaturalizeError, SettingsError
from naturalize.base.images import write_image
from naturalize.cli.ensemble import ensemble
from naturalize.models.ensemble import fit_weights, save_ensemble
from naturalize.models.folder import describe, save_model
from naturalize.models.identity import weights_hash
from naturalize.models.load import load_model
from naturalize.models.predictor import Predictor
from naturalize.models.zoo import build

torch = pytest.importorskip("torch")

CLASSES = ("A", "B", "C")


def images(n: int = 5, side: int = 40) -> list[np.ndarray]:
    generator = np.random.default_rng(9)
    return [generator.integers(0, 256, (side, side + 8, 3), dtype=np.uint8) for _ in range(n)]


def saved(path, name, classes, size, seed, **changes):
    torch.manual_seed(seed)
    options = {"channels": [8, 16]} if name == "custom_cnn" else {}
    network = build(name, classes, weights="none", input_size=size, options=options)
    with torch.no_grad():  # opinions far apart, so that an error shows
        for parameter in network.module.get_classifier().parameters():
            parameter.mul_(5)
    config = replace(network.config, **changes)
    return save_model(path, network.module, config)


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Three models with different sizes, views, normalisations, temperatures and class orders."""
    folder = tmp_path_factory.mktemp("members")
    return [
        saved(folder / "a", "custom_cnn", CLASSES, 32, 1),
        saved(folder / "b", "test_resnet", ("C", "A", "B"), 48, 2, crop=0.8, temperature=2.0),
        saved(folder / "c", "custom_cnn", ("B", "C", "A"), 40, 3, balanced=True),
    ]


def by_hand(members, weights):
    """The mean, class by class, of what each member says of its own."""
    total = np.zeros((5, 3))
    for path, weight in zip(members, weights, strict=True):
        predictor = Predictor.load(path)
        said = predictor.probabilities(images())
        for i, label in enumerate(CLASSES):
            total[:, i] += weight * said[:, predictor.classes.index(label)].astype(np.float64)
    return total


@pytest.mark.parametrize("weights", [None, [1, 1, 2], [0.0, 3.0, 1.0]])
def test_averaging_is_the_mean_of_what_the_members_say(members, weights, tmp_path):
    save_ensemble(tmp_path / "all", members, weights=weights)
    predictor = Predictor.load(tmp_path / "all")
    assert predictor.classes == CLASSES
    shares = np.ones(3) / 3 if weights is None else np.array(weights) / sum(weights)
    got = predictor.probabilities(iter(images()), batch=2)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, by_hand(members, shares), atol=2e-6)
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-6)
    assert np.abs(got - by_hand(members, [1, 0, 0])).max() > 0.05


def test_features_of_an_ensemble_lie_side_by_side(members, tmp_path):
    save_ensemble(tmp_path / "two", members[:2])
    predictor = Predictor.load(tmp_path / "two")
    each = [Predictor.load(path).features(images()) for path in members[:2]]
    np.testing.assert_allclose(predictor.features(images()), np.hstack(each), atol=1e-5)
    assert predictor.features([]).shape == (0, each[0].shape[1] + each[1].shape[1])
    assert predictor.probabilities([]).shape == (0, 3)


def test_the_folder_stands_alone_and_says_what_is_in_it(members, tmp_path):
    import shutil

    copies = [shutil.copytree(path, tmp_path / path.name) for path in members]
    save_ensemble(tmp_path / "all", copies, weights=[1, 1, 2])
    expected = Predictor.load(tmp_path / "all").probabilities(images())
    for path in copies:
        shutil.rmtree(path)
    (tmp_path / "all").rename(tmp_path / "elsewhere")
    about = describe(tmp_path / "elsewhere")
    assert [entry["share"] for entry in about["members"]] == [0.25, 0.25, 0.5]
    assert [e["architecture"] for e in about["members"]] == [
        "custom_cnn",
        "test_resnet",
        "custom_cnn",
    ]
    assert about["parameters"] == sum(describe(path)["parameters"] for path in members)
    assert about["protocol"] == "honest"
    assert str(tmp_path) not in json.dumps(about)
    again = Predictor.load(tmp_path / "elsewhere")
    np.testing.assert_array_equal(again.probabilities(images()), expected)


def test_an_ensemble_may_be_a_member(members, tmp_path):
    save_ensemble(tmp_path / "two", members[:2])
    save_ensemble(tmp_path / "all", [tmp_path / "two", members[2]], weights=[2, 1])
    got = Predictor.load(tmp_path / "all").probabilities(images())
    np.testing.assert_allclose(got, by_hand(members, np.ones(3) / 3), atol=2e-6)


def test_other_weights_are_another_network(members, tmp_path):
    names = []
    for i, weights in enumerate([[1, 1], [1, 2]]):
        save_ensemble(tmp_path / str(i), members[:2], weights=weights)
        names.append(weights_hash(load_model(tmp_path / str(i))[0]))
    assert names[0] != names[1]


def test_with_one_view_for_all_the_module_gives_the_same_as_logits(tmp_path):
    paths = [
        saved(tmp_path / "a", "custom_cnn", CLASSES, 32, 1),
        saved(tmp_path / "b", "test_resnet", ("C", "A", "B"), 32, 2, temperature=1.5),
    ]
    save_ensemble(tmp_path / "both", paths, weights=[1, 3])
    predictor = Predictor.load(tmp_path / "both")
    with torch.inference_mode():
        logits = predictor.module(predictor.tensor(images()))
    got = torch.softmax(logits, dim=1).numpy()
    np.testing.assert_allclose(got, predictor.probabilities(images()), atol=2e-5)


def test_with_different_views_the_module_says_that_it_has_no_single_input(members, tmp_path):
    save_ensemble(tmp_path / "two", members[:2])
    module, _ = load_model(tmp_path / "two")
    with pytest.raises(SettingsError, match=r"different size, crop or balance"):
        module(torch.zeros(1, 3, 32, 32))


# -- explaining ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["grad-cam", "score-cam"])
def test_an_ensembles_map_is_the_mean_of_its_members_maps(members, tmp_path, method):
    from naturalize.explain.methods import default_methods, explain

    paths = [members[0], members[2]]
    save_ensemble(tmp_path / "two", paths, weights=[1, 3])
    predictor = Predictor.load(tmp_path / "two")
    assert method in default_methods(predictor.module)
    got = explain(predictor, images(2), method, ["B", "B"], channels=4)
    each = [explain(Predictor.load(p), images(2), method, ["B", "B"], channels=4) for p in paths]
    assert got.shape == (2, 40, 40)
    import cv2

    for i in range(2):
        mean = 0.25 * cv2.resize(each[0][i], (40, 40)) + 0.75 * each[1][i]
        expected = (mean - mean.min()) / (mean.max() - mean.min())
        np.testing.assert_allclose(got[i], expected, atol=1e-5)


def test_each_method_speaks_of_the_members_that_it_fits(members, tmp_path):
    from naturalize.explain.methods import default_methods, explain

    tokens = saved(tmp_path / "vit", "test_vit", CLASSES, 32, 4)
    save_ensemble(tmp_path / "two", [members[0], tokens])
    predictor = Predictor.load(tmp_path / "two")
    chosen = {"score-cam", "grad-cam", "attention-rollout", "attention-relevance"}
    assert set(default_methods(predictor.module)) == chosen
    got = explain(predictor, images(1), "attention-rollout", ["A"])
    alone = explain(Predictor.load(tokens), images(1), "attention-rollout", ["A"])
    np.testing.assert_allclose(got, alone, atol=1e-6)
    save_ensemble(tmp_path / "cnn", [members[0], members[2]])
    with pytest.raises(SettingsError, match="fits none of the ensemble's members"):
        explain(Predictor.load(tmp_path / "cnn"), images(1), "attention-rollout", ["A"])


def test_a_model_that_sees_the_middle_is_explained_in_the_middle(tmp_path):
    from naturalize.explain.methods import explain

    path = saved(tmp_path / "m", "custom_cnn", CLASSES, 32, 1, crop=0.5)
    image = images(1, side=40)[0]  # 40 × 48: the middle 20 × 20 is shown
    (got,) = explain(Predictor.load(path), [image], "grad-cam")
    top, bottom = round(10 / 40 * 32), round(30 / 40 * 32)
    left, right = round(14 / 48 * 32), round(34 / 48 * 32)
    assert got.max() > 0
    outside = got.copy()
    outside[top:bottom, left:right] = 0
    assert not outside.any()


# -- what is refused ------------------------------------------------------------------------------


def test_members_must_have_the_same_classes(members, tmp_path):
    other = saved(tmp_path / "other", "custom_cnn", ("A", "B", "D"), 32, 1)
    with pytest.raises(SettingsError, match=r"other lacks C, also has D, compared with .*a;"):
        save_ensemble(tmp_path / "both", [members[0], other])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1], "expected 2, one for each model, got 1"),
        ([1, -1], "expected numbers from 0, not all 0, got 1, -1"),
        ([0, 0], "not all 0"),
        ([1, float("nan")], "expected numbers"),
    ],
)
def test_weights_that_are_none_are_refused(members, tmp_path, weights, message):
    with pytest.raises(SettingsError, match=message):
        save_ensemble(tmp_path / "both", members[:2], weights=weights)
    assert not (tmp_path / "both").exists()


def test_one_model_is_no_ensemble(members, tmp_path):
    with pytest.raises(SettingsError, match="two models or more, got 1"):
        save_ensemble(tmp_path / "one", members[:1])


def test_an_ensemble_does_not_replace_its_member(members, tmp_path):
    with pytest.raises(SettingsError, match="is one of the members"):
        save_ensemble(members[0], members[:2])
    assert Predictor.load(members[0]).classes == CLASSES


def test_a_folder_that_is_no_model_is_named(members, tmp_path):
    with pytest.raises(ArtifactError, match=r"nothing: no such model folder"):
        save_ensemble(tmp_path / "both", [members[0], tmp_path / "nothing"])


def test_a_member_that_was_changed_is_found(members, tmp_path):
    save_ensemble(tmp_path / "both", members[:2])
    inner = tmp_path / "both" / "members" / "01"
    weights = inner / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0\0")
    with pytest.raises(ArtifactError, match="damaged weights"):
        Predictor.load(tmp_path / "both")
    (inner / "artifact.json").write_text((members[0] / "artifact.json").read_text())
    with pytest.raises(ArtifactError, match=r"01: not the model that was written"):
        Predictor.load(tmp_path / "both")


# -- weights --------------------------------------------------------------------------------------


def drawn(seed: int, members: int, n: int = 60, classes: int = 4):
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, classes, n)
    sharp = generator.uniform(0, 3, members)
    logits = generator.normal(size=(members, n, classes))
    logits[:, np.arange(n), targets] += sharp[:, None]
    powers = np.exp(logits)
    return powers / powers.sum(axis=2, keepdims=True), targets


def likelihood(weights, probabilities, targets):
    mixed = np.tensordot(weights, probabilities, 1)
    return np.log(mixed[np.arange(len(targets)), targets]).mean()


@given(seed=st.integers(0, 10_000), members=st.integers(2, 5))
@settings(max_examples=25, deadline=None)
def test_fitted_weights_are_as_likely_as_those_of_expectation_maximisation(seed, members):
    probabilities, targets = drawn(seed, members)
    got = fit_weights(probabilities, targets)
    assert got.min() >= 0
    assert got.sum() == pytest.approx(1)
    true = probabilities[:, np.arange(len(targets)), targets]
    weights = np.full(members, 1 / members)
    for _ in range(3000):  # mixture proportions with known components
        joint = weights[:, None] * true
        weights = (joint / joint.sum(axis=0)).mean(axis=1)
    best = likelihood(weights, probabilities, targets)
    assert likelihood(got, probabilities, targets) >= best - 1e-5


def test_two_fitted_weights_are_the_best_of_a_fine_grid():
    probabilities, targets = drawn(3, 2)
    grid = np.linspace(0, 1, 2001)
    scores = [likelihood(np.array([w, 1 - w]), probabilities, targets) for w in grid]
    assert fit_weights(probabilities, targets)[0] == pytest.approx(
        grid[np.argmax(scores)], abs=1e-3
    )


def test_a_member_that_says_nothing_gets_nothing():
    probabilities, targets = drawn(1, 2)
    probabilities[1] = 1 / probabilities.shape[2]
    probabilities[0, np.arange(len(targets)), targets] = 0.9
    assert fit_weights(probabilities, targets)[0] > 0.999


def test_a_member_that_excludes_the_truth_breaks_nothing():
    probabilities, targets = drawn(2, 2)
    probabilities[0, 0] = 0
    probabilities[0, 0, (targets[0] + 1) % 4] = 1
    assert np.isfinite(fit_weights(probabilities, targets)).all()


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    for i, image in enumerate(images(12)):
        write_image(tmp_path / "images" / CLASSES[i % 3] / f"{i}.png", image)
    return tmp_path / "images"


def test_the_command_takes_weights(members, tmp_path):
    ensemble([members[0], members[1]], out=tmp_path / "e", weights="3, 1")
    assert [m["share"] for m in describe(tmp_path / "e")["members"]] == [0.75, 0.25]


def test_the_command_finds_weights_on_labelled_images(members, tree, tmp_path, capsys):
    (tree / "A" / "broken.png").write_bytes(b"no image")
    ensemble([members[0], members[1]], out=tmp_path / "e", fit=tree)
    about = describe(tmp_path / "e")
    assert about["training"]["weights"] == "fitted"
    assert about["metrics"]["n"] == 12
    assert {"loss", "accuracy", "macro_f1"} <= set(about["metrics"])
    said = capsys.readouterr()
    assert "broken.png" in said.err
    assert "together" in said.out
    # what it says it reached is what the model folder reaches
    predictor = Predictor.load(tmp_path / "e")
    likely = []
    from naturalize.base.images import read_image

    for path in sorted(tree.rglob("[0-9]*.png")):
        row = predictor.probabilities([read_image(path)])[0]
        likely.append(row[CLASSES.index(path.parent.name)])
    assert about["metrics"]["loss"] == pytest.approx(-np.log(likely).mean(), abs=1e-4)


def test_the_command_takes_a_catalog_and_a_split(members, tree, tmp_path):
    from naturalize.dataset.catalog import Catalog
    from naturalize.dataset.split import Split

    catalog = Catalog.build(tree)
    catalog.save(tmp_path / "catalog")
    split = Split.build(catalog, fractions=(0.4, 0.3, 0.3), seed=1)
    split.save(tmp_path / "split")
    ensemble(
        [members[0], members[1]],
        out=tmp_path / "e",
        fit=tmp_path / "catalog",
        split=tmp_path / "split",
    )
    about = describe(tmp_path / "e")
    assert about["metrics"]["n"] == len(split.ids("val"))
    assert about["training"]["part"] == "val"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "a,b"}, "expected numbers with commas"),
        ({"weights": "1,1", "fit": "tree"}, "choose one of them"),
        ({"split": "tree"}, "give --fit CATALOG too"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(members, tree, tmp_path, options, message):
    given_options = {k: tree if v == "tree" else v for k, v in options.items()}
    with pytest.raises(NaturalizeError, match=message):
        ensemble([members[0], members[1]], out=tmp_path / "e", **given_options)


def test_the_command_needs_images_of_the_models_classes(members, tmp_path):
    write_image(tmp_path / "t" / "Z" / "1.png", images(1)[0])
    with pytest.raises(InputError, match="classes that the model does not know"):
        ensemble([members[0], members[1]], out=tmp_path / "e", fit=tmp_path / "t")


def test_evaluate_and_predict_take_an_ensemble_as_it_is(members, tree, tmp_path):
    from naturalize.base.images import read_image
    from naturalize.evaluation.evaluate import evaluate, read_metrics
    from naturalize.inputs.labelled import labelled_data
    from naturalize.prediction.files import predict_files

    save_ensemble(tmp_path / "e", members)
    data = labelled_data(tree)
    predictor = Predictor.load(tmp_path / "e")
    evaluate(predictor, data.items, data.root, tmp_path / "v", resamples=100)
    found = read_metrics(tmp_path / "v")
    assert found["model"] == "average"
    assert found["n"] == 12
    paths = sorted(tree.rglob("*.png"))
    expected = predictor.probabilities([read_image(path) for path in paths])
    got = np.stack([row.probabilities for row in predict_files(predictor, paths)])
    np.testing.assert_allclose(got, expected, atol=1e-6)
