"""Fields read: exact counts, classes of white cells only, outcomes, and runs that go on."""

from __future__ import annotations

import csv
import json
import struct
import zlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from scipy.stats import beta

import naturalize as nz
from naturalize.base.errors import ImageReadError, SettingsError
from naturalize.base.images import read_image, write_image
from naturalize.cells.segmentation import Cell, Segmentation, in_order
from naturalize.cli.app import run_app
from naturalize.dataset.phantom import render_phantom
from naturalize.evaluation.intervals import exact
from naturalize.fields.differential import counted, differential, per_hundred
from naturalize.fields.outcome import outcome_of
from naturalize.fields.read import named, open_reader
from naturalize.fields.write import Output, read_fields
from naturalize.imaging.runlength import decode, rle_to_mask
from naturalize.models.predictor import NetworkPredictor
from naturalize.prediction.files import predict_files

LABELS = ("LY", "SNE", "EO", "MO")


@pytest.fixture(scope="module")
def reader():
    """The shipped model, and what brings cells to its standard."""
    return open_reader("pbc11")


@pytest.fixture(scope="module")
def field() -> tuple[np.ndarray, Segmentation]:
    """Four phantom images side by side and all their cells, exactly."""
    made = [render_phantom(label, 3, i) for i, label in enumerate(LABELS)]
    image = np.hstack([one.image for one in made])
    cells = [
        Cell.from_mask(cell.kind, cell.mask, nucleus=cell.nucleus, offset=cell.box[:2]).moved(
            360 * i, 0
        )
        for i, one in enumerate(made)
        for cell in one.cells
        if cell.mask.any()
    ]
    return image, Segmentation(image.shape[:2], in_order(cells), (238.0, 228.0, 220.0))


def run(*words: object) -> None:
    with pytest.raises(SystemExit, match="0"):
        run_app([str(word) for word in words])


def test_counts_masks_and_table_are_those_of_the_cells(field, reader):
    image, truth = field
    read = named("f.png", image, truth, *reader)
    kinds = Counter(cell.kind for cell in truth.cells)
    assert read.counts == {kind: kinds[kind] for kind in ("wbc", "rbc", "platelet")}
    assert read.counts["wbc"] == len(LABELS)
    for one, cell in zip(read.cells, truth.cells, strict=True):
        assert one.box == cell.box
        assert (one.label is None) == (cell.kind != "wbc")
    numbers = read.label_image()
    assert numbers.dtype == np.int32
    assert set(np.unique(numbers)) <= {0, *range(1, len(truth.cells) + 1)}
    assert np.array_equal(numbers > 0, truth.label_image() > 0)
    table = read.table()
    assert table.num_rows == len(truth.cells)
    row = table.to_pylist()[0]
    shape = (row["y1"] - row["y0"], row["x1"] - row["x0"])
    assert np.array_equal(decode(np.array(row["mask"]), shape), truth.cells[0].mask)
    shares = [row[f"prob_{name}"] for name in read.classes]
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    assert row["label"] == read.classes[int(np.argmax(shares))]
    drawing = read.draw()
    assert drawing.shape == image.shape
    assert (drawing != image).any()
    assert sum(share.n for share in read.differential()) <= len(LABELS)


def test_cut_and_overlapping_cells_are_flagged(field, reader):
    image, truth = field
    read = named("f.png", image, truth, *reader)
    height, width = image.shape[:2]
    for one in read.cells:
        x0, y0, x1, y1 = one.box
        cut = x0 == 0 or y0 == 0 or x1 == width or y1 == height
        assert ("cut by the edge" in one.flags) == cut
    square = np.ones((20, 20), bool)
    two = [Cell.from_mask("rbc", square, offset=(x, 40)) for x in (100, 110, 300)]
    again = named(
        "f.png", image, Segmentation((height, width), tuple(two), (238, 228, 220)), *reader
    )
    assert [("overlapping" in one.flags) for one in again.cells] == [True, True, False]
    assert again.differential() == []


def blurred(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), 6)


def grey(image: np.ndarray) -> np.ndarray:
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def upside_down(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[::-1, ::-1])


def of(image: np.ndarray, truth: Segmentation) -> Segmentation:
    """The same cells on an image of other colours."""
    slide = np.median(image[truth.label_image() == 0], axis=0)
    return Segmentation(truth.shape, truth.cells, tuple(map(float, slide)))


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        (np.copy, "ok"),
        (blurred, "out of focus"),
        (grey, "not the colours of a stained smear"),
        (lambda image: image // 3, "dark picture"),
    ],
)
def test_what_a_field_is_worth(field, change, outcome):
    image = change(field[0])
    assert outcome_of(image, of(image, field[1])) == outcome


def test_upside_down_is_no_matter(field):
    height, width = field[1].shape
    turned = [
        Cell(
            cell.kind,
            (width - cell.box[2], height - cell.box[3], width - cell.box[0], height - cell.box[1]),
            cell.mask[::-1, ::-1],
            nucleus=None if cell.nucleus is None else cell.nucleus[::-1, ::-1],
        )
        for cell in field[1].cells
    ]
    found = Segmentation(field[1].shape, tuple(turned), field[1].background)
    assert outcome_of(upside_down(field[0]), found) == outcome_of(*field) == "ok"


def test_ragged_things_and_things_without_red_cells_are_no_smear(field):
    image, truth = field
    comb = np.zeros((60, 60), bool)
    comb[::6], comb[:, :4] = True, True
    ragged = [Cell.from_mask("rbc", comb, offset=(80 * k + 10, 100)) for k in range(6)]
    whites = [cell for cell in truth.cells if cell.kind == "wbc"]
    for cells, outcome in (
        ([*whites, *ragged], "not a blood smear"),
        (whites, "no red cell gives the scale"),
        ([], "no cell found"),
        ([cell for cell in truth.cells if cell.kind == "rbc"], "no white cell"),
    ):
        found = Segmentation(truth.shape, in_order(cells), truth.background)
        assert outcome_of(image, found) == outcome


def test_white_cells_of_a_blurred_field_are_named_but_not_counted(field, reader):
    image = blurred(field[0])
    read = named("f.png", image, of(image, field[1]), *reader)
    assert read.outcome == "out of focus"
    assert all("unsure: out of focus" in one.flags for one in read.of("wbc"))
    assert read.differential() == []
    rows = [(one.label, one.flag) for one in read.of("wbc")]
    assert not counted(rows)[0]


def test_the_differential_has_exact_intervals_and_leaves_out_cut_cells():
    rows = [("LY", ""), ("LY", "unsure: two classes"), ("EO", ""), ("ERB", "")]
    n, unsure = counted([*rows, ("EO", "cut by the edge; standardised"), (None, "")])
    assert dict(n) == {"LY": 2, "EO": 1, "ERB": 1}
    assert dict(unsure) == {"LY": 1}
    found = {share.label: share for share in differential(["EO", "LY", "ERB"], n, unsure)}
    assert found["LY"].share == pytest.approx(2 / 3)
    assert found["LY"].low == pytest.approx(beta.ppf(0.025, 2, 2))
    assert found["LY"].high == pytest.approx(beta.ppf(0.975, 3, 1))
    assert found["ERB"].share is None
    red = per_hundred(["EO", "LY", "ERB"], n)
    assert red is not None
    assert red["value"] == pytest.approx(100 / 3)
    low = beta.ppf(0.025, 1, 4)
    assert red["low"] == pytest.approx(100 * low / (1 - low))


@pytest.mark.parametrize(("n", "of"), [(0, 7), (7, 7), (1, 1), (3, 200)])
def test_exact_intervals_are_those_of_the_beta_distribution(n, of):
    low, high = exact(n, of)
    assert low == pytest.approx(beta.ppf(0.025, n, of - n + 1) if n else 0)
    assert high == pytest.approx(beta.ppf(0.975, n + 1, of - n) if n < of else 1)


def test_a_folder_is_read_and_what_cannot_be_is_named(field, tmp_path, capsys):
    folder = tmp_path / "fields" / "slide-1"
    write_image(folder / "a.png", field[0][:, 300:800])
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:4000])
    write_image(folder / "c.png", np.full((400, 500, 3), 230, np.uint8))
    out = tmp_path / "reading"
    run("read", tmp_path / "fields", "-o", out, "--engine", "serial", "--coco", "--sheet")
    said = capsys.readouterr().out
    assert f"reading: {out}" in said
    counts = {row["field"]: row for row in csv.DictReader((out / "counts.csv").open())}
    assert list(counts) == ["slide-1/a.png", "slide-1/b.png", "slide-1/c.png"]
    assert counts["slide-1/b.png"]["outcome"].startswith(("truncated", "damaged"))
    assert counts["slide-1/c.png"]["outcome"] == "no cell found"
    cells = pq.read_table(out / "cells.parquet").to_pylist()
    assert {row["field"] for row in cells} == {"slide-1/a.png"}
    numbers = read_image_16(out / "masks" / "a.png")
    assert sorted(set(np.unique(numbers)) - {0}) == [row["cell"] for row in cells]
    assert read_image(out / "overlays" / "a.jpg").shape == (363, 500, 3)
    coco = json.loads((out / "annotations.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == list(counts)
    for one, row in zip(coco["annotations"], cells, strict=True):
        whole = rle_to_mask(one["segmentation"])
        assert whole.shape == (363, 500)
        x0, y0, x1, y1 = (row[name] for name in ("x0", "y0", "x1", "y1"))
        assert one["bbox"] == [x0, y0, x1 - x0, y1 - y0]
        inside = decode(np.array(row["mask"]), (y1 - y0, x1 - x0))
        assert np.array_equal(whole[y0:y1, x0:x1], inside)
        assert whole.sum() == inside.sum() == one["area"]
    assert read_image(out / "sheet.jpg").size
    page = nz.write_report(out, tmp_path / "page.html").read_text()
    assert "What became of the fields" in page
    told = json.loads((out / "differential.json").read_text())
    assert told[0]["left_out"]["no cell found"] == 1
    whites = [row for row in cells if row["kind"] == "wbc"]
    cut = ["cut by the edge" in row["flag"].split("; ") for row in whites]
    assert (told[0]["cells"], told[0]["cut"]) == (cut.count(False), cut.count(True))
    assert len(list(csv.reader((out / "cells.csv").open()))) == len(cells) + 1


def read_image_16(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path))


def huge_png(path: Path, side: int) -> None:
    """Write the head of a PNG file that says so many pixels."""
    size = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", size), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )


def test_where_nothing_can_be_read_the_command_fails_and_says_where_to_look(tmp_path, capsys):
    huge_png(tmp_path / "huge.png", 20_000)
    (tmp_path / "broken.svs").write_bytes(b"II*\0")
    with pytest.raises(SystemExit, match="2"):
        run_app(["read", str(tmp_path), "-o", str(tmp_path / "out"), "--engine", "serial"])
    assert "none of 2 files can be read" in capsys.readouterr().err
    rows = {row["field"]: row for row in csv.DictReader((tmp_path / "out/counts.csv").open())}
    assert rows["huge.png"]["outcome"].startswith("too large: ")
    assert rows["huge.png"]["outcome"].endswith(
        "save it as a TIFF file in tiles, which is read by windows"
    )
    assert rows["broken.svs"]["outcome"].startswith("damaged")
    assert json.loads((tmp_path / "out/differential.json").read_text())[0]["cells"] == 0


def test_one_image_that_is_a_large_scan_is_sent_to_the_command(reader, tmp_path):
    tags = ((256, 20_000), (257, 20_000), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1),
            (278, 20_000), (279, 1))  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    (tmp_path / "scan.tif").write_bytes(head + entries + bytes(4))
    with pytest.raises(ImageReadError, match=r"too large: .*naturalize read takes it"):
        nz.read(tmp_path / "scan.tif", reader[0])


class StoppedError(BaseException):
    """As a kill would."""


class Counted(NetworkPredictor):
    """Counts how often a model is asked, and stops after so many times."""

    def __init__(
        self, inner: NetworkPredictor, most: int = 99, error: BaseException | None = None
    ) -> None:
        self.inner, self.most, self.asked = inner, most, 0
        self.error = error or StoppedError()
        self.config, self.elsewhere = inner.config, inner.elsewhere

    @property
    def weights_hash(self) -> str:
        return self.inner.weights_hash

    def probabilities(self, images, **options):
        return self.inner.probabilities(images, **options)

    def judged(self, *args, **options):
        if self.asked == self.most:
            raise self.error
        self.asked += 1
        return self.inner.judged(*args, **options)


def test_a_run_that_was_stopped_goes_on_and_gives_the_same(field, reader, tmp_path):
    paths = []
    for i in range(3):
        paths.append(tmp_path / "f" / f"{i}.png")
        write_image(paths[-1], field[0][:, 360 * i : 360 * i + 400])
    predictor, standardiser = reader
    options = {"standardiser": standardiser, "output": Output(False, False), "backend": "serial"}
    first = Counted(predictor, most=1)
    with pytest.raises(StoppedError):
        read_fields(paths, first, tmp_path / "a", **options)
    assert not (tmp_path / "a").exists()
    assert (tmp_path / ".a.work" / "named" / "piece-00000000.parquet").is_file()
    then = Counted(predictor)
    read_fields(paths, then, tmp_path / "a", **options)
    assert then.asked == 2  # of three fields: the first was done
    assert not (tmp_path / ".a.work").exists()
    read_fields(paths, predictor, tmp_path / "b", **options)
    for name in ("cells.csv", "counts.csv", "differential.json", "artifact.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_field_that_cannot_be_named_does_not_cost_the_others(field, reader, tmp_path):
    paths = [tmp_path / "f" / f"{i}.png" for i in range(2)]
    for i, path in enumerate(paths):
        write_image(path, field[0][:, 360 * i : 360 * i + 360])
    predictor, standardiser = reader
    odd = Counted(predictor, most=0, error=ZeroDivisionError("odd"))
    read_fields(
        paths,
        odd,
        tmp_path / "out",
        standardiser=standardiser,
        output=Output(False, False),
        backend="serial",
    )
    rows = list(csv.DictReader((tmp_path / "out/counts.csv").open()))
    assert {row["outcome"] for row in rows} == {"naming failed (ZeroDivisionError: odd)"}


def test_a_white_cell_larger_than_its_picture_is_named_all_the_same(field, reader):
    def disc(kind: str, size: int, x: int) -> Cell:
        mask = cv2.circle(np.zeros((size, size), np.uint8), (size // 2,) * 2, size // 2, 1, -1)
        return Cell.from_mask(kind, mask.astype(bool), offset=(x, 20))

    cells = [disc("wbc", 300, 700), *(disc("rbc", 21, 40 * k) for k in range(1, 8))]
    found = Segmentation(field[1].shape, in_order(cells), field[1].background)
    assert named("f.png", field[0], found, *reader).cells[0].label is not None


def test_a_file_of_several_images_is_flagged(reader, tmp_path):
    image = render_phantom("LY", 4, 1).image
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(image, photometric="rgb")
        file.write(image[::-1], photometric="rgb")
    read = nz.read(tmp_path / "two.tif", reader[0])
    assert all("pages" in one.flags for one in read.of("wbc"))
    assert read.of("wbc")


@pytest.mark.parametrize("image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3), np.float32)])
def test_arrays_of_another_kind_are_refused(image):
    with pytest.raises(SettingsError, match="expected RGB uint8"):
        nz.read(image)


@pytest.mark.real
def test_an_image_of_one_cell_gets_the_answer_of_predict(real_data, reader):
    predictor, standardiser = reader
    paths = [
        sorted((real_data / "pbc" / name).glob("*.jpg"))[7] for name in ("eosinophil", "monocyte")
    ]
    for row in predict_files(predictor, paths, standardiser=standardiser):
        named_ = [one for one in nz.read(row.path, predictor).of("wbc") if one.label is not None]
        assert any(np.array_equal(one.probabilities, row.probabilities) for one in named_)
