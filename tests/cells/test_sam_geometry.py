"""Where SAM's maps lie, what is a duplicate, and the decoder's opened graph."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sam_fakes import logits_of, need_mobilesam, to_map

from naturalize.base.errors import MissingExtraError
from naturalize.cells.seams import common, without_repeats
from naturalize.cells.segmentation import Cell
from naturalize.cells.segmenters.sam.model import MAP, SIDE, Frame, fitted
from naturalize.cells.segmenters.sam.onnx import MAPS, SCORES, opened_up, prepared
from naturalize.cells.segmenters.sam.weights import WeightsError, find

SHAPES = st.tuples(st.integers(20, 1400), st.integers(20, 1400))
FRAMES = st.one_of(st.builds(Frame.padded, SHAPES), st.builds(Frame.stretched, SHAPES))


@settings(max_examples=60, deadline=None)
@given(FRAMES, st.data())
def test_a_slope_of_the_map_is_a_slope_of_the_image(frame: Frame, data: st.DataObject) -> None:
    height, width = frame.shape
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    rows, columns = np.mgrid[:MAP, :MAP]
    # the middle of map pixel c lies at (c + 0.5) / per_x of the image
    slope = 2 * (columns + 0.5) / frame.per_x - (rows + 0.5) / frame.per_y
    found = frame.logits(slope, (x0, y0, x1, y1))
    y, x = np.mgrid[y0:y1, x0:x1] + 0.5
    expected = 2 * x - y
    column, row = x * frame.per_x - 0.5, y * frame.per_y - 0.5
    inner = (column > 0) & (row > 0) & (column < MAP - 1) & (row < MAP - 1)
    # OpenCV interpolates in 1/32 of a map pixel
    slack = 3 * (1 / frame.per_x + 1 / frame.per_y) / 32 + 1e-3
    assert np.abs(found - expected)[inner].max(initial=0) <= slack


@settings(max_examples=60, deadline=None)
@given(SHAPES)
def test_the_longest_side_becomes_1024(shape: tuple[int, int]) -> None:
    height, width = fitted(shape)
    assert max(height, width) == SIDE
    corner = Frame.padded(shape).inputs(np.array([shape[1], shape[0]]))
    assert corner == pytest.approx((width, height), rel=1e-5)
    assert Frame.stretched(shape).inputs(np.array([shape[1], shape[0]])) == pytest.approx(SIDE)


def test_the_input_is_normalised_and_padded_below() -> None:
    image = np.full((30, 60, 3), 128, np.uint8)
    out = prepared(image)
    assert out.shape == (1, 3, 1024, 1024)
    assert out.dtype == np.float32
    expected = (128 - np.array([123.675, 116.28, 103.53])) / np.array([58.395, 57.12, 57.375])
    assert np.allclose(out[0, :, :512].reshape(3, -1).T, expected, atol=1e-5)
    assert not out[0, :, 512:].any()


@settings(max_examples=40, deadline=None)
@given(FRAMES, st.floats(0.2, 0.8), st.floats(0.2, 0.8), st.floats(0.08, 0.18))
def test_a_disc_comes_back_where_it_was(frame: Frame, fx: float, fy: float, size: float) -> None:
    height, width = frame.shape
    if min(frame.per_x * width, frame.per_y * height) < 60:
        return  # a strip: the map shows its short side too coarsely
    y, x = np.mgrid[:height, :width] + 0.5
    disc = np.hypot(x - fx * width, y - fy * height) < size * min(height, width)
    low = to_map(logits_of(disc), frame)
    window = frame.window(low)
    if disc.sum() < 150:
        return
    assert window is not None
    whole = frame.logits(low, (0, 0, width, height)) > 0
    assert 2 * (whole & disc).sum() / (whole.sum() + disc.sum()) > 0.9
    x0, y0, x1, y1 = window
    outside = whole.copy()
    outside[y0:y1, x0:x1] = False
    assert not outside.any()


def test_a_map_without_a_mask_has_no_window() -> None:
    frame = Frame.padded((100, 300))
    low = np.full((MAP, MAP), -1, np.float32)
    assert frame.window(low) is None
    low[200:, :] = 1  # in the padding below the image
    assert frame.window(low) is None


def disc(kind: str, x: int, y: int, radius: int, score: float = 0.9) -> Cell:
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    mask = np.hypot(rows, columns) <= radius
    return Cell.from_mask(kind, mask, score=score, offset=(x - radius, y - radius))


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (("rbc", 50, 50, 20, 0.9), ("rbc", 53, 50, 20, 0.8), [0.9]),
        (("rbc", 50, 50, 20, 0.7), ("rbc", 53, 50, 20, 0.8), [0.8]),
        (("rbc", 50, 50, 20, 0.9), ("rbc", 85, 50, 20, 0.8), [0.9, 0.8]),
        (("rbc", 50, 50, 20, 0.9), ("rbc", 55, 50, 6, 0.8), [0.9]),
        (("wbc", 50, 50, 30, 0.5), ("rbc", 60, 50, 10, 0.9), [0.5]),
        (("wbc", 50, 50, 30, 0.5), ("rbc", 85, 50, 15, 0.9), [0.5, 0.9]),
        (("rbc", 50, 50, 20, 0.5), ("platelet", 55, 50, 5, 0.9), [0.5, 0.9]),
    ],
    ids=["twice", "the better", "neighbours", "inside", "part", "beside", "platelet on a red"],
)
def test_duplicates_are_merged(first, second, kept) -> None:
    found = [cell.score for cell in without_repeats([disc(*second), disc(*first)])]
    assert sorted(found) == sorted(kept)


def test_shared_pixels_are_those_of_the_masks() -> None:
    a, b = disc("rbc", 50, 50, 20), disc("rbc", 70, 60, 15)
    canvas = np.zeros((2, 120, 120), bool)
    for layer, cell in zip(canvas, (a, b), strict=True):
        x0, y0, x1, y1 = cell.box
        layer[y0:y1, x0:x1] = cell.mask
    assert common(a, b) == common(b, a) == (canvas[0] & canvas[1]).sum()


def tiny_decoder(maps: str = MAPS) -> bytes:
    """An ONNX model with a decoder's inputs: its 'maps' are the points doubled, its scores labels.

    It declares one prompt and gives another output, as published decoders do.
    """
    onnx = pytest.importorskip("onnx")
    value, node = onnx.helper.make_tensor_value_info, onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            node("Add", ["point_coords", "point_coords"], [maps]),
            node("Neg", ["point_labels"], [SCORES]),
            node("Abs", ["point_coords"], ["masks"]),
        ],
        "tiny",
        [value("point_coords", 1, [1, "n", 2]), value("point_labels", 1, [1, "n"])],
        [value("masks", 1, None)],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def test_an_opened_decoder_gives_what_was_hidden_for_many_prompts() -> None:
    from onnxruntime import InferenceSession

    session = InferenceSession(opened_up(tiny_decoder()), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == [MAPS, SCORES]
    points = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)
    labels = np.ones((5, 3), np.float32)
    found = session.run(None, {"point_coords": points, "point_labels": labels})
    assert np.array_equal(found[0], 2 * points)
    assert np.array_equal(found[1], -labels)


@pytest.mark.parametrize("which", ["text", "cut", "other"])
def test_what_is_no_decoder_is_refused(which: str) -> None:
    model = {"text": b"hello", "cut": tiny_decoder()[:-40], "other": tiny_decoder("other")}[which]
    with pytest.raises(WeightsError, match="decoder"):
        opened_up(model)


def test_without_the_library_onnx_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'naturalize\[onnx\]'"):
        opened_up(b"")


def test_the_opened_decoder_agrees_with_the_shipped_one() -> None:
    need_mobilesam()
    from onnxruntime import InferenceSession

    from naturalize.cells.segmenters.sam.onnx import encoded

    data = (find("mobilesam") / "sam.onnx").read_bytes()
    shipped, opened = (
        InferenceSession(model, providers=["CPUExecutionProvider"])
        for model in (data, opened_up(data))
    )
    draw = np.random.default_rng(2)
    features = draw.normal(0, 0.3, (1, 256, 64, 64)).astype(np.float32)
    frame = Frame.padded((363, 360))
    corners = np.sort(draw.uniform(0, 360, (6, 2, 2)), axis=1)
    maps, scores = encoded(frame.shape, features, opened).masks(boxes=corners.reshape(6, 4))
    assert maps.shape == (6, 4, 256, 256)
    for number, box in enumerate(corners):
        feed = {
            "image_embeddings": features,
            "point_coords": np.concatenate([frame.inputs(box), [[0, 0]]])[None].astype(np.float32),
            "point_labels": np.array([[2, 3, -1]], np.float32),
            "mask_input": np.zeros((1, 1, 256, 256), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.array([363, 360], np.float32),
        }
        low, score = shipped.run(["low_res_masks", "iou_predictions"], feed)
        away = np.abs(maps[number] - low[0, 0]).max(axis=(1, 2))
        assert away.min() < 1e-3
        assert scores[number][away.argmin()] == pytest.approx(float(score[0, 0]), abs=1e-4)
