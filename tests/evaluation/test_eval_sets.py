"""Coverage of sets, against SciPy and by hand; a model that gets them, and one that cannot."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import beta

from naturalize.base.artifacts import file_hash, read_manifest
from naturalize.base.errors import InputError
from naturalize.base.images import write_image
from naturalize.evaluation.doubt import write_doubt
from naturalize.evaluation.intervals import exact
from naturalize.evaluation.predictions import Item
from naturalize.evaluation.sets import score_sets
from naturalize.models.doubt import Doubt
from naturalize.models.ensemble import save_ensemble
from naturalize.models.folder import WEIGHTS, read_config
from naturalize.models.predictor import Predictor

DOUBT = Doubt(
    share=0.9, least={"EO": 0.6, "LY": 0.3}, counts={"EO": 50, "LY": 4}, pooled=("LY",),
    means={}, inverse=(), centre=(), spread=(), limit=0.0,
)  # fmt: skip


def test_coverage_by_hand() -> None:
    # sets: {EO, LY}, {LY}, {EO}, {EO} (the first class of an even answer), {LY}
    eo = np.array([0.65, 0.2, 0.9, 0.5, 0.1], np.float32)
    first = np.array([0.35, 0.8, 0.1, 0.25, 0.9], np.float32)
    table = pa.table({"label": ["LY", "EO", "EO", "EO", "LY"], "prob_EO": eo, "prob_LY": first})
    found = score_sets(DOUBT, table)
    assert (found["n"], found["covered"], found["size"]) == (5, 4, 1.2)
    assert found["single"] == 0.8
    assert found["wrong_single"] == 0.25
    assert found["per_class"]["EO"]["covered"] == 2
    assert found["per_class"]["LY"]["coverage"] == 1
    assert found["per_class"]["LY"]["validation"] == 4
    assert found["pooled"] == ["LY"]
    low, high = found["per_class"]["EO"]["interval"]
    assert (low, high) == pytest.approx((beta.ppf(0.025, 2, 2), beta.ppf(0.975, 3, 1)))


@pytest.mark.parametrize(("right", "n"), [(0, 3), (3, 3), (7, 9)])
def test_the_exact_interval_is_that_of_the_beta_distribution(right: int, n: int) -> None:
    low = 0.0 if right == 0 else beta.ppf(0.025, right, n - right + 1)
    high = 1.0 if right == n else beta.ppf(0.975, right + 1, n - right)
    assert exact(right, n) == pytest.approx((low, high))
    with pytest.raises(InputError, match="n ≥ 1"):
        exact(0, 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch = pytest.importorskip("torch")
    from naturalize.models.folder import save_model
    from naturalize.models.zoo import build

    torch.manual_seed(0)
    made = build("custom_cnn", ("EO", "LY"), weights="none", input_size=32)
    config = replace(made.config, temperature=2.0)
    return save_model(tmp_path_factory.mktemp("m") / "model", made.module, config)


def items_of(root, n: int) -> list[Item]:
    draw = np.random.default_rng(0)
    for i in range(n):
        write_image(root / f"{i}.png", draw.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    return [Item(str(i), f"{i}.png", ("EO", "LY")[i % 2]) for i in range(n)]


def test_a_copy_of_a_model_knows_sets_and_the_rest_stays(model, tmp_path) -> None:
    items = [*items_of(tmp_path, 104), Item("gone", "gone.png", "EO"), Item("x", "0.png", "MO")]
    found = write_doubt(model, items, tmp_path, tmp_path / "out")
    assert found.counts == {"EO": 52, "LY": 52}  # unreadable and unknown ones are left out
    config = read_config(tmp_path / "out")
    assert config.doubt == found
    assert replace(config, doubt=None) == read_config(model)
    assert file_hash(tmp_path / "out" / WEIGHTS) == file_hash(model / WEIGHTS)
    assert read_manifest(tmp_path / "out", "model").settings["doubt"]["limit"] == found.limit
    assert Doubt.parse(asdict(found)) == found
    # thresholds of a member say nothing of a mean; how strange an image is, is its members' mean
    both = save_ensemble(tmp_path / "both", [tmp_path / "out", tmp_path / "out"])
    assert read_config(both).doubt is None
    one, mean = (Predictor.load(path, engine="torch") for path in (tmp_path / "out", both))
    shown = [np.full((32, 32, 3), 90, np.uint8)]
    np.testing.assert_allclose(mean.judged(shown, [None])[1], one.judged(shown, [None])[1])


def test_too_few_images_are_refused_and_nothing_is_written(model, tmp_path) -> None:
    with pytest.raises(InputError, match="6 images like the model's"):
        write_doubt(model, items_of(tmp_path, 6), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
