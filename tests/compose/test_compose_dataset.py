"""Composites as a data set: the pixels of ``render``, beside real images with the same history."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from compose_makers import make_bank, varied

from naturalize.base import engine
from naturalize.base.errors import ImageReadError, InputError, SettingsError
from naturalize.base.images import read_image
from naturalize.cells.bank import CellBank
from naturalize.compose import CompositeDataset, CropStore
from naturalize.compose.deliver.dataset import real_images
from naturalize.compose.draw.planner import plan
from naturalize.compose.paint.render import finished, render
from naturalize.compose.recipe.plan import Plan
from naturalize.compose.recipe.recipe import Finish
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> CellBank:
    return make_bank(tmp_path_factory.mktemp("bank"), per_class=2)


@pytest.fixture(scope="module")
def drawn(bank: CellBank) -> Plan:
    return varied(bank)


@pytest.fixture(scope="module")
def store(bank: CellBank, drawn: Plan, tmp_path_factory) -> CropStore:
    return CropStore.build(drawn, bank, tmp_path_factory.mktemp("store") / "crops", what=None)


def real_of(bank: CellBank) -> list[tuple[Path, str]]:
    targets = bank.cells(target=True).to_pylist()
    return [(bank.root / row["path"], row["label"]) for row in targets]


def test_it_gives_what_render_gives(drawn: Plan, store: CropStore) -> None:
    data = CompositeDataset(drawn, store)
    assert len(data) == len(drawn)
    assert data.classes == ("BNE", "MMY", "SNE")
    for i, (image, number) in enumerate(data):  # ends by itself: IndexError is the end
        np.testing.assert_array_equal(image, render(drawn.recipe(i), store))
        assert data.classes[number] == drawn.recipe(i).label
        assert data.targets[i] == number
    assert i == len(drawn) - 1
    assert data.names == drawn.ids
    np.testing.assert_array_equal(data[-1][0], data[len(data) - 1][0])
    np.testing.assert_array_equal(data[np.int64(2)][0], data[2][0])
    for beyond in (len(data), -len(data) - 1):
        with pytest.raises(IndexError):
            data[beyond]


def test_real_images_come_first(bank: CellBank, drawn: Plan, store: CropStore) -> None:
    real = real_of(bank)
    plain = Plan.of([drawn.recipe(i) for i in (1, 2, 3)], bank=bank.fingerprint)
    data = CompositeDataset(plain, store, real=real, classes=bank.labels)
    assert len(data) == len(real) + 3
    assert data.classes == bank.labels
    assert data.is_composite.tolist() == [False] * len(real) + [True] * 3
    for i, (path, label) in enumerate(real):
        image, number = data[i]
        np.testing.assert_array_equal(image, read_image(path))
        assert bank.labels[number] == label
    np.testing.assert_array_equal(data[len(real)][0], render(plain.recipe(0), store))
    assert data.targets.dtype == np.int64
    assert data.names == [str(path) for path, _ in real] + plain.ids


def test_both_kinds_went_through_the_same_codec(bank: CellBank, tmp_path: Path) -> None:
    real = real_of(bank)
    made = plan(bank, mode="paper", add=3, finish="jpeg", quality=70)
    data = CompositeDataset(made, bank, real=real)
    for i, (path, _) in enumerate(real):
        np.testing.assert_array_equal(
            data[i][0], finished(read_image(path), Finish("jpeg", 70))
        )  # as composites end
    # composed at a size of its own a composite is not finished, so real images are not either
    small = CompositeDataset(made, bank, real=real, size=64)
    wanted = cv2.resize(read_image(real[0][0]), (64, 64), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(small[0][0], wanted)
    # at the size of the canvas it is
    same = CompositeDataset(made, bank, real=real, size=(360, 363))
    grown = cv2.resize(read_image(real[0][0]), (360, 363), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(same[0][0], finished(grown, Finish("jpeg", 70)))


def test_a_size_is_composed_and_one_size_for_all(
    bank: CellBank, drawn: Plan, tmp_path: Path
) -> None:
    small = CropStore.build(drawn, bank, tmp_path / "small", size=72, what=None)
    data = CompositeDataset(drawn, small, size=72, real=real_of(bank))
    assert {image.shape for image, _ in data} == {(72, 72, 3)}
    np.testing.assert_array_equal(data[-1][0], render(drawn.recipe(-1), bank, size=72))


def test_a_transform_sees_every_picture(bank: CellBank, drawn: Plan, store: CropStore) -> None:
    plain = CompositeDataset(drawn, store, real=real_of(bank))
    data = CompositeDataset(drawn, store, real=real_of(bank), transform=np.mean)
    assert data[0][0] == plain[0][0].mean()
    assert data[-1][0] == render(drawn.recipe(-1), store).mean()


def test_it_pickles_and_workers_give_the_same(drawn: Plan, store: CropStore) -> None:
    data = CompositeDataset(drawn, store, size=72)
    again = pickle.loads(pickle.dumps(data))
    assert isinstance(again.source, CropStore)
    alone, together = (
        list(engine.map(data.__getitem__, range(len(data)), backend=b, workers=2, chunk=2))
        for b in ("serial", "processes")
    )
    for (a, label), (b, other) in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)
        assert label == other


def test_what_does_not_fit_is_refused(
    bank: CellBank, drawn: Plan, store: CropStore, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="unknown class 'MMY'"):
        CompositeDataset(drawn, store, classes=("BNE", "SNE"))
    with pytest.raises(SettingsError, match="unknown class 'XY'"):
        CompositeDataset(drawn, store, classes=bank.labels, real=[("a.jpg", "XY")])
    with pytest.raises(SettingsError, match="size"):
        CompositeDataset(drawn, store, size=-3)
    data = CompositeDataset(drawn, store, real=[(tmp_path / "none.jpg", "SNE")])
    with pytest.raises(ImageReadError, match=r"none.jpg: no such file"):
        data[0]


def test_real_images_of_a_split(phantom_root: Path) -> None:
    catalog = Catalog.build(phantom_root, scheme="pbc11")
    split = Split.build(catalog, fractions=(0.5, 0.25, 0.25))
    found = real_images(catalog, split)
    assert len(found) == len(split.ids("train"))
    assert len(real_images(catalog)) == 66
    for path, label in found:
        assert path.name.startswith({"PLT": "PLATELET"}.get(label, label))
    with pytest.raises(SettingsError, match="'train'"):
        real_images(catalog, split, part="training")
    with pytest.raises(InputError, match="no image of part 'train'"):
        real_images(replace(catalog, table=catalog.table.slice(0, 0)), split)


def test_torchs_loader_takes_it(drawn: Plan, store: CropStore) -> None:
    data_room = pytest.importorskip("torch.utils.data")
    data = CompositeDataset(drawn, store, size=72)
    images, labels = next(iter(data_room.DataLoader(data, batch_size=4)))
    assert tuple(images.shape) == (4, 72, 72, 3)
    assert labels.tolist() == data.targets[:4].tolist()
