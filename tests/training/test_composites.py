"""Composites in training: rendered when drawn, finished like the real ones, of train cells only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from naturalize.base.errors import InputError
from naturalize.base.images import read_image
from naturalize.compose.draw.planner import plan
from naturalize.compose.paint.render import finished, render
from naturalize.compose.recipe.plan import Plan
from naturalize.models.folder import describe
from naturalize.models.preprocess import View, resize
from naturalize.training.settings import TrainSettings

pytest.importorskip("torch")

SETTINGS = TrainSettings(
    model="custom_cnn",
    input_size=32,
    epochs=1,
    batch_size=8,
    samples_per_epoch=48,
    composites=True,
    device="cpu",
)


@pytest.fixture(scope="module")
def composed(phantom_root, tmp_path_factory):
    """Catalog, split, bank and a plan over three classes of the phantom."""
    from naturalize.cells.bank import CellBank
    from naturalize.cells.segment import segment_images
    from naturalize.cells.segmenters import segmenter
    from naturalize.dataset.catalog import Catalog
    from naturalize.dataset.split import Split

    folder = tmp_path_factory.mktemp("composed")
    (folder / "images").mkdir()
    for source in sorted((phantom_root / "images").rglob("*.jpg")):
        if source.name.startswith(("BA_", "LY_", "SNE_")):
            target = folder / "images" / source.parent.name / source.name
            target.parent.mkdir(exist_ok=True)
            target.symlink_to(source)
    catalog = Catalog.build(folder / "images", scheme="folders")
    split = Split.build(catalog, fractions=(0.5, 0.25, 0.25), seed=0)
    rows = catalog.usable().to_pylist()
    items = [(row["image_id"], row["path"]) for row in rows]
    segment_images(items, catalog.root, segmenter("classical"), folder / "cells")
    bank = CellBank.build(folder / "cells", catalog, split, part="train")
    return catalog, split, bank, plan(bank, mode="paper", add=4, seed=3)


def module(composed, work, settings=SETTINGS, made=None):
    from naturalize.training.data import CellImages, classes_of

    catalog, split, bank, plan_ = composed
    return CellImages(
        settings,
        catalog,
        split,
        classes=classes_of(catalog, split),
        view=View(32),
        work=work,
        plan=made or plan_,
        bank=bank,
    )


def test_rows_are_the_real_images_and_then_the_rendered_recipes(composed, tmp_path):
    _, split, bank, plan_ = composed
    data = module(composed, tmp_path)
    ids = split.ids("train")
    assert data.train.names == (*ids, *plan_.ids)
    assert (data.n_real, data.n_composites) == (len(ids), len(plan_))
    labels = [data.classes[target] for target in data.train.targets]
    assert labels[len(ids) :] == plan_.table["label"].to_pylist()
    for row in (0, len(plan_) - 1):
        expected = resize(render(plan_.recipe(row), bank), 32)
        for _ in range(2):  # rendered, then from the store
            np.testing.assert_array_equal(data.train.pixels(len(ids) + row), expected)
    assert data.val.names == tuple(split.ids("val"))


def test_real_images_get_the_composites_finish(composed, tmp_path):
    catalog, split, bank, plan_ = composed
    from naturalize.compose.recipe.recipe import Finish

    for codec, quality in (("none", None), ("jpeg", 40)):
        finish = Finish(codec, quality)
        recipes = [replace(plan_.recipe(i), finish=finish) for i in range(len(plan_))]
        data = module(composed, tmp_path, made=Plan.of(recipes, bank=bank.fingerprint))
        for row, image_id in enumerate(split.ids("train")[:3]):
            image = read_image(catalog.path_of(image_id))
            np.testing.assert_array_equal(
                data.train.pixels(row), resize(finished(image, finish), 32)
            )
        image = read_image(catalog.path_of(split.ids("val")[0]))
        np.testing.assert_array_equal(data.val.pixels(0), resize(image, 32))


def test_training_with_composites_counts_them_and_names_the_plan(composed, tmp_path):
    from naturalize.training.fit import train

    catalog, split, bank, plan_ = composed
    path = train(SETTINGS, catalog, split, plan=plan_, bank=bank, out=tmp_path / "model")
    about = describe(path)["training"]
    assert about["n_composites"] == len(plan_)
    assert about["n_real"] == len(split.ids("train"))
    assert sum(about["counts"].values()) == about["n_composites"] + about["n_real"]
    assert about["samples_per_epoch"] == 48
    assert about["data"]["plan"] == plan_.fingerprint
    assert about["lineage"] == f"0 of {len(plan_)} training composites have a parent outside train"

    alone = SETTINGS.model_copy(update={"composites": False})
    without = describe(train(alone, catalog, split, out=tmp_path / "alone"))["training"]
    assert without["n_composites"] == 0
    assert without["samples_per_epoch"] == 48
    assert "lineage" not in without


def test_two_processes_render_the_same_batches(composed, tmp_path):
    here, there = (
        module(composed, tmp_path / str(n), SETTINGS.model_copy(update={"workers": n}))
        for n in (0, 2)
    )
    batches = zip(here.train_dataloader(), there.train_dataloader(), strict=True)
    for one, other in batches:
        assert (one["row"] == other["row"]).all()
        np.testing.assert_array_equal(one["pixels"].numpy(), other["pixels"].numpy())


def test_a_plan_with_parents_outside_train_is_refused(composed, tmp_path):
    from naturalize.dataset.split import Split
    from naturalize.training.fit import train

    catalog, _, bank, plan_ = composed
    other = Split.build(catalog, fractions=(0.5, 0.25, 0.25), seed=9)
    with pytest.raises(InputError, match=r"not honest for this split.*parent outside train"):
        train(SETTINGS, catalog, other, plan=plan_, bank=bank, out=tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_plan_of_unknown_classes_is_refused(composed, tmp_path):
    _, _, bank, plan_ = composed
    strange = Plan.of([replace(plan_.recipe(0), label="XYZ")], bank=bank.fingerprint)
    with pytest.raises(InputError, match="composites of XYZ, which the train part does not have"):
        module(composed, tmp_path, made=strange)


def test_a_plan_that_is_not_used_is_told(composed, tmp_path, capsys):
    from naturalize.training.data import check_composites

    check_composites(SETTINGS.model_copy(update={"composites": False}), composed[3], None)
    assert "only real images are trained on" in capsys.readouterr().err


def test_batch_statistics_are_of_augmented_real_images_a_third_of_an_epoch(composed, tmp_path):
    data = module(composed, tmp_path)
    batches = [list(data.real_batches(epoch)) for epoch in (0, 0, 1)]
    rows, same, others = ([row for b in x for row in b["row"].tolist()] for x in batches)
    assert len(rows) == 16  # of 48 a third
    assert max(rows) < data.n_real
    assert rows == same != others
    assert (batches[0][0]["pixels"] == batches[1][0]["pixels"]).all()
    assert (batches[0][0]["pixels"][0].numpy() != data.train.pixels(rows[0])).any()
