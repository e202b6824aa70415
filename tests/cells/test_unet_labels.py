"""What the network is taught: agreement of the teachers, and nothing where they doubt."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))
labels = pytest.importorskip("tools.unet.labels", reason="tools/ is not beside the tests")
data = pytest.importorskip("tools.unet.data")

SHAPE = (120, 120)


def disc(x, y, radius):
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def candidate(kind, own, answer, *, nucleus=None, score=0.95, leak=0.0):
    return labels.Candidate(kind, own, nucleus, ((answer, score, leak),))


def test_where_teachers_differ_nothing_is_said():
    one = candidate("wbc", disc(60, 60, 20), disc(60, 60, 22))
    classes, instances = labels.targets(SHAPE, [one])
    assert set(np.unique(classes[disc(60, 60, 20)])) == {labels.CYTOPLASM}
    rim = disc(60, 60, 22) & ~disc(60, 60, 20)
    assert set(np.unique(classes[rim])) == {labels.IGNORE}
    assert (instances > 0).sum() == disc(60, 60, 20).sum()


def test_a_refused_mask_is_left_out_as_a_whole():
    one = candidate("wbc", disc(60, 60, 20), disc(20, 20, 10))
    classes, instances = labels.targets(SHAPE, [one])
    assert labels.accepted(one) is None
    assert set(np.unique(classes[disc(60, 60, 20)])) == {labels.IGNORE}
    assert not instances.any()


def test_a_leaking_mask_is_refused():
    assert labels.accepted(candidate("rbc", disc(60, 60, 20), disc(60, 60, 20), leak=0.1)) is None


def test_a_disc_that_covers_what_was_seen_of_a_red_cell_is_accepted():
    own = disc(60, 60, 20) & (np.arange(SHAPE[1]) < 62)
    whole = disc(60, 60, 20)
    assert labels.accepted(candidate("rbc", own, whole)) is not None
    assert labels.accepted(candidate("wbc", own, whole)) is None


def test_two_cells_in_one_outline_are_no_instance():
    own = disc(42, 60, 20) | disc(78, 60, 20)
    classes, instances = labels.targets(SHAPE, [candidate("wbc", own, own)])
    assert set(np.unique(classes[own])) == {labels.CYTOPLASM}
    assert set(np.unique(instances[own])) == {labels.SOME_CELL}


def test_an_image_labelled_as_platelet_shows_no_small_white_cell():
    red, small = disc(30, 30, 20), disc(90, 90, 10)
    found = [candidate("rbc", red, red), candidate("wbc", small, small, nucleus=small)]
    kinds = [c.kind for c in labels.corrected(found, True)]
    assert kinds == ["rbc", "platelet"]
    assert [c.kind for c in labels.corrected(found, False)] == ["rbc", "wbc"]
    assert labels.corrected(found[:1], False) is None


def test_arrows_of_a_cell_meet_in_its_middle():
    instances = np.zeros((192, 192), np.uint8)
    classes = np.zeros((192, 192), np.uint8)
    rows, columns = np.ogrid[:192, :192]
    cell = (columns - 100) ** 2 / 400 + (rows - 80) ** 2 / 900 <= 1
    instances[cell], classes[cell] = 7, labels.RED
    centre, offset, thing = data.centres(classes, instances)
    y, x = np.nonzero(cell)
    goal = y + data.UNIT * offset[0, y, x], x + data.UNIT * offset[1, y, x]
    assert np.abs(goal[0] - 80).max() < 0.01
    assert np.abs(goal[1] - 100).max() < 0.01
    assert np.unravel_index(centre.argmax(), centre.shape) == (80, 100)
    assert (thing > 0).sum() == cell.sum()


def test_a_sample_is_decided_by_its_generator_and_shows_what_its_maps_say():
    image = np.full((160, 160, 3), (250, 230, 205), np.uint8)
    classes, instances = np.zeros((2, 160, 160), np.uint8)
    rows, columns = np.ogrid[:160, :160]
    for number, (x, y) in enumerate([(50, 50), (110, 60), (70, 115)], 1):
        cell = (columns - x) ** 2 + (rows - y) ** 2 <= 22**2
        image[cell] = (180, 130, 150)
        classes[cell], instances[cell] = labels.RED, number
    example = data.Example(image, classes, instances, (250.0, 230.0, 205.0))
    for seed in range(12):
        one, two = (data.sample(example, [example], np.random.default_rng(seed)) for _ in range(2))
        assert all(np.array_equal(one[name], two[name]) for name in one)
        assert one["image"].shape == (3, data.SIDE, data.SIDE)
        assert 0 <= one["image"].min() <= one["image"].max() <= 1
        slide, red = one["classes"] == labels.SLIDE, one["classes"] == labels.RED
        if slide.sum() > 500 and red.sum() > 500:
            green = one["image"][1]
            assert green[slide].mean() > green[red].mean() + 0.02


def test_the_shipped_weights_come_back_into_the_network_and_can_be_trained():
    torch = pytest.importorskip("torch")
    network = pytest.importorskip("tools.unet.network")
    ort = pytest.importorskip("onnxruntime")
    from naturalize.cells.segmenters.unet.network import OWN

    draw = np.random.default_rng(0)
    x = draw.random((2, 3, 64, 80), dtype=np.float32)
    wanted = ort.InferenceSession(OWN).run(None, {"image": x})[0]
    net = network.small_unet("none")
    network.load_onnx(net, OWN)
    with torch.no_grad():
        assert np.abs(net.eval()(torch.from_numpy(x)).numpy() - wanted).max() < 1e-4
        network.normalise(net, [torch.from_numpy(x)])
        assert np.abs(net.eval()(torch.from_numpy(x)).numpy() - wanted).max() < 1e-4
        # in training, the batch's own statistics are those that were taken of it
        assert np.abs(net.train()(torch.from_numpy(x)).numpy() - wanted).mean() < 0.05


def test_of_white_cells_without_a_known_nucleus_only_the_kind_is_asked():
    torch = pytest.importorskip("torch")
    train = pytest.importorskip("tools.unet.train")
    logits = torch.tensor(np.random.default_rng(1).normal(0, 2, (1, 8, 4, 4)), dtype=torch.float32)
    zero = torch.zeros(1, 4, 4)
    batch = {"centre": zero, "taught": zero, "thing": zero, "offset": torch.zeros(1, 2, 4, 4)}
    batch["classes"] = torch.full((1, 4, 4), labels.WHITE)
    found = train.loss(logits, batch, torch.tensor(data.weights()))["pixel"]
    shares = np.exp(logits[:, :5].numpy())
    white = shares[:, 1:3].sum(1) / shares.sum(1)
    assert float(found) == pytest.approx(-np.log(white).mean(), rel=1e-4)


def test_the_rate_rises_and_then_falls_to_nothing():
    train = pytest.importorskip("tools.unet.train")
    rates = [train.rate(share) for share in np.linspace(0, 1, 101)]
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(1, abs=0.01)
    assert np.all(np.diff(rates[: top + 1]) > 0)
    assert np.all(np.diff(rates[top + 1 :]) < 0)
    assert rates[-1] == pytest.approx(0)


def test_labels_are_kept_as_they_are(tmp_path):
    middles = np.full((255, 2), np.nan, np.float32)
    middles[3] = 4.5, 6
    draw = np.random.default_rng(0)
    small, large = (
        data.Example(
            draw.integers(0, 256, (*size, 3), np.uint8), *draw.integers(0, 5, (2, *size), np.uint8),
            (250.0, 230.0, 210.0), middles if size == (20, 30) else None,
        )
        for size in ((12, 9), (20, 30))
    )  # fmt: skip
    data.save_labels(tmp_path / "l.npz", [small, large], ["a", "b"])
    for given, back in zip((small, large), data.load_labels(tmp_path / "l.npz"), strict=True):
        for name in ("image", "classes", "instances", "background"):
            assert np.array_equal(getattr(back, name), getattr(given, name))
    assert np.array_equal(back.middles, middles, equal_nan=True)


def test_a_known_middle_is_where_the_arrows_meet():
    instances = np.zeros((192, 192), np.uint8)
    instances[60:90, 60:80] = 9
    classes = np.where(instances > 0, labels.RED, labels.SLIDE).astype(np.uint8)
    middles = np.full((255, 2), np.nan)
    middles[9] = 100, 70
    centre, offset, _ = data.centres(classes, instances, middles)
    assert np.unravel_index(centre.argmax(), centre.shape) == (70, 100)
    assert 60 + data.UNIT * offset[1, 70, 60] == pytest.approx(100, abs=0.01)


def test_another_microscope_leaves_cells_in_their_places_and_the_slide_grey():
    image = np.full((192, 192, 3), (250, 230, 205), np.uint8)
    image[60:130, 60:130] = (120, 60, 140)
    for seed in range(10):
        seen = data.elsewhere(image, (250.0, 230.0, 205.0), np.random.default_rng(seed))
        assert seen.dtype == np.uint8
        assert np.abs(np.median(seen[:40], axis=(0, 1)) - data.SLIDE_GREY).max() < 25
        inside, outside = seen[75:115, 75:115].mean(), seen[:40].mean()
        assert inside < outside - 15


def test_of_cells_with_a_bad_outline_nothing_is_taught():
    own = pytest.importorskip("tools.unet.own")
    from naturalize.cells import choose
    from naturalize.imaging.runlength import encode

    def row(kind, x, reason, nucleus=None):
        return {
            "kind": kind, "x0": x, "y0": 0, "x1": x + 10, "y1": 10, "reason": reason,
            "mask": encode(np.ones((10, 10), bool)).tolist(),
            "nucleus": None if nucleus is None else encode(nucleus).tolist(),
        }  # fmt: skip

    core = np.zeros((10, 10), bool)
    core[3:6, 3:6] = True
    rows = [
        row("wbc", 0, None, core), row("rbc", 20, choose.RAGGED), row("rbc", 40, choose.BORDER),
        row("rbc", 60, choose.JOINED),
    ]  # fmt: skip
    example = own.taught(np.full((20, 80, 3), 240, np.uint8), rows)
    found = [set(np.unique(example.classes[:10, x : x + 10])) for x in (0, 20, 40, 60)]
    assert found == [
        {labels.CYTOPLASM, labels.NUCLEUS},
        {labels.IGNORE},
        {labels.RED},
        {labels.RED},
    ]
    assert (example.classes[:10, :10] == labels.NUCLEUS).sum() == 9
    numbers = [set(np.unique(example.instances[:10, x : x + 10])) for x in (0, 20, 40, 60)]
    assert numbers[1] == {0}
    assert numbers[3] == {labels.SOME_CELL}
    assert len(numbers[0] | numbers[2]) == 2


def test_a_composed_field_teaches_whole_centres_and_no_owner_where_red_cells_overlap():
    composed = pytest.importorskip("tools.unet.composed")
    from types import SimpleNamespace

    masks = [disc(40, 40, 20), disc(60, 40, 20), disc(90, 90, 15), disc(90, 90, 14)]
    kinds = ("rbc", "rbc", "platelet", "wbc")  # the white cell hides the platelet but for a rim
    instances, wholes = np.zeros(SHAPE, np.uint16), []
    for k, mask in enumerate(masks, 1):
        instances[mask] = k
        rows, columns = np.nonzero(mask)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        wholes.append((box, mask[box[1] : box[3], box[0] : box[2]]))
    instances[masks[3] & (np.arange(SHAPE[1]) > 92)] = 3
    truth = SimpleNamespace(wholes=tuple(wholes))
    image = np.full((*SHAPE, 3), 230, np.uint8)
    field = SimpleNamespace(image=image, instances=instances, kinds=kinds, truth=truth)
    example = composed.known(field)
    both = masks[0] & masks[1]
    assert set(np.unique(example.instances[both])) == {0}
    assert set(np.unique(example.classes[both])) == {labels.RED}
    assert example.middles[1] == pytest.approx((40, 40))
    assert example.middles[2] == pytest.approx((60, 40))
    assert set(np.unique(example.classes[instances == 4])) == {labels.WHITE}
    instances[masks[2]] = np.where(disc(90, 90, 14.6)[masks[2]], 4, 3)
    hidden = composed.known(field)
    assert set(np.unique(hidden.classes[instances == 3])) == {labels.IGNORE}
    assert not hidden.instances[instances == 3].any()
