"""``Naturalize`` puts composites in the place of samples: the right class, whoever works on it."""

from __future__ import annotations

import gc
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compose_makers import make_bank
from PIL import Image

from naturalize.base.errors import InputError, NaturalizeWarning, SettingsError
from naturalize.base.images import read_image
from naturalize.cells.bank import CellBank
from naturalize.compose import Naturalize
from naturalize.compose.deliver.dataset import resized
from naturalize.compose.paint.render import finished, render
from naturalize.compose.recipe.recipe import Finish

N = 20


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> CellBank:
    return make_bank(tmp_path_factory.mktemp("bank"), per_class=2)


@pytest.fixture(scope="module")
def always(bank: CellBank, tmp_path_factory) -> Naturalize:
    folder = tmp_path_factory.mktemp("crops")
    return Naturalize(
        bank, probability=1.0, mode="paper", per_class=N, size=72, folder=folder, seed=4
    )


class Pictures:
    """A plain data set: picture ``i`` is noise of its own."""

    def __init__(self, n: int, classes: int, kind: str = "array") -> None:
        self.n, self.classes, self.kind = n, classes, kind

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> tuple[Any, int]:
        image = np.random.default_rng(i).integers(0, 256, (72, 72, 3)).astype(np.uint8)
        if self.kind == "tensor":
            import torch

            return torch.from_numpy(image.transpose(2, 0, 1).copy()), i % self.classes
        return image, i % self.classes


def composed(transform: Naturalize, label: str) -> set[bytes]:
    rows = transform.plan.rows_of(label)
    return {
        render(transform.plan.recipe(int(row)), transform.store, size=72).tobytes() for row in rows
    }


def test_a_sample_becomes_a_composite_of_its_class(bank: CellBank, always: Naturalize) -> None:
    samples = Pictures(12, len(bank.labels))
    by_class = {label: composed(always, label) for label in bank.labels}
    for i in range(len(samples)):
        image, number = samples[i]
        found, same = always(image, number)
        assert same == number
        assert found.tobytes() in by_class[bank.labels[number]]
        named, same = always(image, bank.labels[number])
        assert same == bank.labels[number]
        np.testing.assert_array_equal(named, found)
        np.testing.assert_array_equal(always((image, number))[0], found)


def test_what_probability_says_is_replaced(bank: CellBank, tmp_path: Path) -> None:
    samples = Pictures(300, 4)
    for probability in (0.0, 0.3):
        transform = Naturalize(bank, probability=probability, mode="paper", per_class=2, size=16)
        stay = sum(
            np.array_equal(transform(*samples[i], key=i)[0], resized(samples[i][0], (16, 16)))
            for i in range(len(samples))
        )
        assert abs((300 - stay) / 300 - probability) < 0.1 * (probability > 0) + 1e-9


def test_epochs_differ_and_come_back(always: Naturalize) -> None:
    image, label = Pictures(1, 4)[0]
    seen = []
    for epoch in range(8):
        always.set_epoch(epoch)
        assert always.epoch == epoch
        seen.append(always(image, label)[0].tobytes())
    assert len(set(seen)) > 4
    always.set_epoch(0)
    assert always(image, label)[0].tobytes() == seen[0]
    other = pickle.loads(pickle.dumps(always))
    always.set_epoch(3)  # copies in workers take note
    assert other.epoch == 3
    assert other(image, label)[0].tobytes() == seen[3]
    always.set_epoch(0)


def test_any_kind_of_picture_comes_back_as_it_was(always: Naturalize) -> None:
    torch = pytest.importorskip("torch")
    from naturalize.models import torchvision_compat

    torchvision_compat.ensure()
    tv_tensors = pytest.importorskip("torchvision.tv_tensors")
    image, label = Pictures(3, 4)[1]
    wanted, _ = always(image, label)
    pil, _ = always(Image.fromarray(image), label)
    assert isinstance(pil, Image.Image)
    np.testing.assert_array_equal(np.asarray(pil), wanted)
    tensor = torch.from_numpy(image.transpose(2, 0, 1).copy())
    found, same = always(tensor, torch.tensor(label))
    assert type(found) is torch.Tensor
    assert found.is_contiguous()
    assert found.dtype == torch.uint8
    assert same.item() == label
    np.testing.assert_array_equal(found.numpy().transpose(1, 2, 0), wanted)
    wrapped, _ = always(tv_tensors.Image(tensor), label)
    assert type(wrapped) is tv_tensors.Image
    np.testing.assert_array_equal(wrapped.numpy().transpose(1, 2, 0), wanted)


def test_it_stands_among_torchvisions_transforms(always: Naturalize) -> None:
    torch = pytest.importorskip("torch")
    from naturalize.models import torchvision_compat

    torchvision_compat.ensure()
    v2 = pytest.importorskip("torchvision.transforms.v2")
    image, label = Pictures(3, 4)[2]
    tensor = torch.from_numpy(image.transpose(2, 0, 1).copy())
    steps = v2.Compose([always, v2.ToDtype(torch.float32, scale=True)])
    found, same = steps(tensor, label)
    assert same == label
    np.testing.assert_allclose(
        found.numpy(), always(tensor, label)[0].numpy() / 255, rtol=0, atol=1e-6
    )


def test_workers_decide_nothing(bank: CellBank, tmp_path: Path) -> None:
    data_room = pytest.importorskip("torch.utils.data")
    transform = Naturalize(bank, mode="paper", per_class=N, size=72, folder=tmp_path, seed=2)
    data = transform.over(Pictures(16, 4, "tensor"))
    alone = data_room.DataLoader(data, batch_size=4)
    together = data_room.DataLoader(
        data, batch_size=4, num_workers=2, multiprocessing_context="forkserver",
        persistent_workers=True,
    )  # fmt: skip
    epochs = []
    for epoch in range(2):
        transform.set_epoch(epoch)
        pairs = list(zip(alone, together, strict=True))
        for (a, labels), (b, others) in pairs:
            assert a.equal(b)
            assert labels.equal(others)
        epochs.append(np.concatenate([a.numpy() for (a, _), _ in pairs]))
    assert (epochs[0] != epochs[1]).any(axis=(1, 2, 3)).mean() > 0.3


def test_a_plan_says_where_the_pixels_come_from(bank: CellBank, always: Naturalize) -> None:
    from naturalize.compose.recipe.plan import check_parts

    parts = dict.fromkeys(bank.backgrounds["image_id"].to_pylist(), "train")
    assert check_parts(always.plan, parts)["outside"] == 0
    assert always.plan.targets == dict.fromkeys(bank.labels, N)


def test_real_scenes_at_the_samples_own_size(bank: CellBank) -> None:
    transform = Naturalize(bank, probability=1.0, mode="scene", per_class=2)
    image = read_image(bank.root / bank.table["path"][0].as_py())
    found, _ = transform(image, "BNE")
    assert found.shape == image.shape
    assert found.tobytes() in {
        render(transform.plan.recipe(int(i)), bank).tobytes() for i in transform.plan.rows_of("BNE")
    }
    assert transform(image[:100, :90], "BNE")[0].shape == (100, 90, 3)


def test_what_stays_has_the_history_of_composites(bank: CellBank) -> None:
    transform = Naturalize(
        bank, probability=0.0, mode="paper", per_class=2, finish="jpeg", quality=60
    )
    image = np.random.default_rng(0).integers(0, 256, (363, 360, 3)).astype(np.uint8)
    np.testing.assert_array_equal(transform(image, "SNE")[0], finished(image, Finish("jpeg", 60)))
    np.testing.assert_array_equal(transform(image[:90, :90], "SNE")[0], image[:90, :90])


def test_classes_without_cells_stay_and_are_named(bank: CellBank) -> None:
    with pytest.warns(NaturalizeWarning, match="no cell of XY can be composed"):
        transform = Naturalize(
            bank, probability=1.0, mode="paper", per_class=2, classes=("XY", *bank.labels)
        )
    image = np.zeros((20, 20, 3), np.uint8)
    np.testing.assert_array_equal(transform(image, 0)[0], image)
    assert transform(image, 1)[0].any()
    some = Naturalize(bank, probability=1.0, mode="paper", per_class=2, only=("SNE",))
    assert not some(image, "LY")[0].any()
    assert some(image, "SNE")[0].any()


def test_its_files_go_with_it(bank: CellBank) -> None:
    transform = Naturalize(bank, mode="paper", per_class=1)
    crops, epoch = transform.store.folder, Path(transform._epoch_file)
    copy = pickle.loads(pickle.dumps(transform))
    del copy
    gc.collect()
    assert crops.is_dir()
    assert epoch.is_file()
    del transform
    gc.collect()
    assert not crops.parent.exists()
    assert not epoch.exists()


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"probability": 1.5}, "0 to 1"),
        ({"per_class": 0}, "per_class"),
        ({"size": 0}, "size"),
        ({"only": ("XY",)}, "unknown class 'XY'"),
        ({"mode": "scenes"}, "unknown mode"),
        ({"tyres": 3}, "unknown key"),
    ],
)
def test_bad_settings_are_refused(bank: CellBank, wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        Naturalize(bank, **{"mode": "paper", "per_class": 1, **wrong})


def test_a_class_that_was_asked_for_needs_cells(bank: CellBank) -> None:
    classes = (*bank.labels, "XY")
    with pytest.raises(SettingsError, match="XY"):
        Naturalize(bank, mode="paper", per_class=1, classes=classes, only=("XY",))
    with pytest.raises(InputError, match="no cell that mode paper can use"):
        Naturalize(bank, mode="paper", per_class=1, classes=("XY",))


@pytest.mark.parametrize(
    ("sample", "match"),
    [
        ((np.zeros((9, 9, 3), np.float32), 0), "float32 array"),
        ((np.zeros((2, 9, 9, 3), np.uint8), 0), r"array \(2, 9, 9, 3\)"),
        ((np.zeros((9, 9), np.uint8), 0), "uint8 array"),
        (("picture.jpg", 0), "got str"),
        ((np.zeros((9, 9, 3), np.uint8), 4), "there are 4 classes"),
        ((np.zeros((9, 9, 3), np.uint8), -1), "there are 4 classes"),
        ((np.zeros((9, 9, 3), np.uint8), 0.5), "number or the name"),
        ((np.zeros((9, 9, 3), np.uint8), "XY"), "unknown class"),
        ((np.zeros((9, 9, 3), np.uint8),), "1 value"),
        ((np.zeros((9, 9, 3), np.uint8), 0, "mask"), "masks and boxes"),
    ],
)
def test_what_is_no_sample_is_refused(always: Naturalize, sample: tuple, match: str) -> None:
    with pytest.raises((InputError, SettingsError), match=match):
        always(*sample)
