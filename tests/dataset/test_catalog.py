"""The catalog: every bad file is listed with its reason, every relation flagged, nothing lost."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from dataset_makers import jpeg, picture, put, tree
from PIL import Image

from naturalize.base import images
from naturalize.base.artifacts import read_manifest
from naturalize.base.errors import ArtifactError, InputError
from naturalize.dataset.catalog import SCHEMA, Catalog
from naturalize.imaging.slide import slide_colour


def png(array, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", **options)
    return buffer.getvalue()


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def zoo(tmp_path):
    """Every kind of bad and unusual file that the audit must name."""
    root = tree(tmp_path / "zoo", {"a": 3, "b": 3})
    whole = jpeg(picture(50, size=(200, 200)))
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "a/zero.jpg": b"",
        "a/text.jpg": b"this is no image at all",
        "a/truncated.jpg": whole[: len(whole) // 2],
        "a/huge.png": encoded(Image.new("1", (4000, 3000)), "PNG"),
        "b/cmyk.jpg": encoded(Image.fromarray(picture(51)).convert("CMYK"), "JPEG"),
        "b/deep.png": png(picture(52)[:, :, 0].astype(np.uint16) * 257),
        "b/palette.png": encoded(Image.fromarray(picture(53)).quantize(64), "PNG"),
        "b/rotated.jpg": jpeg(picture(54, size=(60, 40)), exif=exif),
        "b/grey.png": png(picture(55)[:, :, 0]),
        "b/alpha.png": encoded(Image.fromarray(picture(56)).convert("RGBA"), "PNG"),
    }
    for name, data in files.items():
        put(root / name, data)
    return root


def row_of(catalog, path):
    return next(row for row in catalog.table.to_pylist() if row["path"] == path)


def test_bad_files_are_listed_with_their_reason(zoo, monkeypatch):
    monkeypatch.setattr(images.decode_image, "__kwdefaults__", {"name": "x", "max_pixels": 10**6})
    catalog = Catalog.build(zoo)
    reasons = {entry["path"]: entry["reason"] for entry in catalog.unreadable()}
    assert set(reasons) == {"a/zero.jpg", "a/text.jpg", "a/truncated.jpg", "a/huge.png"}
    assert reasons["a/zero.jpg"] == "empty file (0 bytes)"
    assert reasons["a/text.jpg"] == "not an image that can be read"
    assert reasons["a/truncated.jpg"] == "truncated"
    assert reasons["a/huge.png"].startswith("too large: 4000 × 3000")
    assert not set(reasons) & set(catalog.usable()["path"].to_pylist())
    for path in reasons:
        assert row_of(catalog, path)["flags"] == ["unreadable"]
        assert row_of(catalog, path)["pixel_hash"] is None


@pytest.mark.parametrize(
    ("path", "flags", "mode"),
    [
        ("b/cmyk.jpg", {"cmyk", "not_rgb"}, "CMYK"),
        ("b/deep.png", {"deep", "grey", "not_rgb"}, "I;16"),
        ("b/palette.png", {"palette", "not_rgb"}, "P"),
        ("b/rotated.jpg", {"exif_rotated"}, "RGB"),
        ("b/grey.png", {"grey", "not_rgb"}, "L"),
        ("b/alpha.png", {"alpha", "not_rgb"}, "RGBA"),
    ],
)
def test_unusual_files_are_usable_and_flagged(zoo, path, flags, mode):
    catalog = Catalog.build(zoo)
    row = row_of(catalog, path)
    assert flags <= set(row["flags"])
    assert row["mode"] == mode
    assert path in catalog.usable()["path"].to_pylist()
    image = catalog.read(row["image_id"])
    assert image.dtype == np.uint8
    assert image.shape == (row["height"], row["width"], 3)


def test_size_is_that_of_the_displayed_image(zoo):
    row = row_of(Catalog.build(zoo), "b/rotated.jpg")
    assert (row["width"], row["height"]) == (40, 60)


def test_strict_stops_at_the_first_unreadable_image(zoo):
    with pytest.raises(InputError, match=r"a/text.jpg: not an image that can be read \(strict\)"):
        Catalog.build(zoo, strict=True)


def test_nothing_readable_is_an_error(tmp_path):
    put(tmp_path / "a/1.jpg", b"")
    put(tmp_path / "b/2.jpg", b"x")
    with pytest.raises(InputError, match=r"none of 2 images can be read.*a/1.jpg \(empty"):
        Catalog.build(tmp_path)


def test_one_class_only_warns(tmp_path, capsys):
    Catalog.build(tree(tmp_path, {"only": 3}))
    assert "one class only (only)" in capsys.readouterr().err


def test_duplicates_and_conflicts_are_tied_to_the_first_file(tmp_path):
    root = tree(tmp_path, {"a": 4, "b": 4})
    same = png(picture(90))
    put(root / "a/p.png", same)
    put(root / "a/q.png", same)  # byte-identical
    put(root / "a/r.png", png(picture(90), compress_level=0))  # same pixels, other bytes
    put(root / "b/s.png", png(picture(91)))
    put(root / "a/t.png", png(picture(91)))  # another label
    catalog = Catalog.build(root)
    rows = {row["path"]: row for row in catalog.table.to_pylist()}
    assert rows["a/p.png"]["image_id"] == rows["a/q.png"]["image_id"] != rows["a/r.png"]["image_id"]
    assert rows["a/p.png"]["duplicate_of"] is None
    assert rows["a/q.png"]["duplicate_of"] == rows["a/r.png"]["duplicate_of"] == "a/p.png"
    assert rows["b/s.png"]["duplicate_of"] == "a/t.png"
    for path in "pqr":
        assert rows[f"a/{path}.png"]["flags"] == ["exact_duplicate"]
    assert rows["a/t.png"]["flags"] == rows["b/s.png"]["flags"] == [
        "exact_duplicate", "label_conflict",
    ]  # fmt: skip
    assert rows["a/000.jpg"]["flags"] == []
    assert catalog.counts() == {"a": 4 + 1 + 1, "b": 4 + 1}


def test_near_duplicates_are_tied_also_through_exact_ones(tmp_path):
    root = tree(tmp_path, {"a": 4, "b": 4})
    for name in ("a/x1.jpg", "a/x2.jpg"):
        put(root / name, jpeg(picture(90, size=(300, 290)), 95))
    put(root / "b/y.jpg", jpeg(picture(90, size=(300, 290)), 45))
    rows = {row["path"]: row for row in Catalog.build(root).table.to_pylist()}
    assert rows["a/x1.jpg"]["near_duplicate_of"] is None
    assert (
        rows["a/x2.jpg"]["near_duplicate_of"] == rows["b/y.jpg"]["near_duplicate_of"] == "a/x1.jpg"
    )
    assert "near_label_conflict" in rows["b/y.jpg"]["flags"]
    assert "label_conflict" not in rows["b/y.jpg"]["flags"]
    odd = [path for path, row in rows.items() if "odd_size" in row["flags"]]
    assert odd == ["a/x1.jpg", "a/x2.jpg", "b/y.jpg"]


def test_no_size_is_odd_where_none_is_usual(tmp_path):
    for i in range(6):
        put(tmp_path / f"a/{i}.jpg", jpeg(picture(i, size=(60 + i, 60))))
    assert all(row["flags"] == [] for row in Catalog.build(tmp_path).table.to_pylist())


def test_saved_and_loaded_is_the_same(zoo, tmp_path):
    catalog = Catalog.build(zoo)
    catalog.save(tmp_path / "out")
    loaded = Catalog.load(tmp_path / "out")
    assert loaded.table.equals(catalog.table)
    assert loaded.table.schema == SCHEMA
    for name in ("root", "scheme", "reader", "labels", "skipped", "dropped", "fingerprint"):
        assert getattr(loaded, name) == getattr(catalog, name)
    assert read_manifest(tmp_path / "out", "catalog").fingerprint == catalog.fingerprint


def test_moved_images_are_found_by_another_root(tmp_path):
    catalog = Catalog.build(tree(tmp_path / "here", {"a": 2, "b": 2}))
    catalog.save(tmp_path / "out")
    (tmp_path / "here").rename(tmp_path / "there")
    loaded = Catalog.load(tmp_path / "out", root=tmp_path / "there")
    image_id = loaded.table["image_id"][0].as_py()
    assert loaded.read(image_id).shape == (60, 64, 3)
    assert loaded.path_of(image_id) == tmp_path / "there/a/000.jpg"
    with pytest.raises(InputError, match="no image 'nope'"):
        loaded.path_of("nope")


def test_fingerprint_follows_content_not_place(tmp_path):
    one = Catalog.build(tree(tmp_path / "1", {"a": 2, "b": 2}))
    two = Catalog.build(tree(tmp_path / "2", {"a": 2, "b": 2}))
    other = Catalog.build(tree(tmp_path / "3", {"a": 2, "b": 2}, seed=9))
    assert one.fingerprint == two.fingerprint != other.fingerprint


def test_same_catalog_from_two_workers(zoo):
    alone, together = Catalog.build(zoo), Catalog.build(zoo, backend="processes", workers=2)
    assert alone.table.equals(together.table)


def test_archive_images_move_into_the_catalog(tmp_path):
    g = np.random.default_rng(0)
    pixels = g.integers(0, 255, (8, 28, 28, 3)).astype(np.uint8)
    labels = (np.arange(8) % 2)[:, None]
    np.savez(
        tmp_path / "m.npz", train_images=pixels[:6], train_labels=labels[:6],
        test_images=pixels[6:], test_labels=labels[6:],
    )  # fmt: skip
    catalog = Catalog.build(tmp_path / "m.npz", scheme="pbc8")
    catalog.save(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "moved")
    loaded = Catalog.load(tmp_path / "moved")
    row = row_of(loaded, "test/000001.png")
    assert (row["label"], row["source_part"]) == ("eosinophil", "test")
    assert np.array_equal(loaded.read(row["image_id"]), pixels[7])
    again = Catalog.build(tmp_path / "m.npz", scheme="pbc8")
    assert again.table.equals(loaded.table)


def test_a_damaged_catalog_is_named(tmp_path):
    Catalog.build(tree(tmp_path / "x", {"a": 2, "b": 2})).save(tmp_path / "out")
    about = json.loads((tmp_path / "out/catalog.json").read_text())
    del about["labels"]
    (tmp_path / "out/catalog.json").write_text(json.dumps(about))
    with pytest.raises(ArtifactError, match=r"catalog\.json: key 'labels' is missing; build"):
        Catalog.load(tmp_path / "out")


def test_a_failed_save_leaves_nothing(tmp_path):
    catalog = Catalog.build(tree(tmp_path / "x", {"a": 2, "b": 2}))

    def fail(folder):
        raise InputError("no")

    with pytest.raises(InputError):
        catalog.save(tmp_path / "out", also=fail)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_background_is_the_bright_part():
    image = np.full((100, 120, 3), (253, 229, 203), np.uint8)
    image[20:80, 20:80] = (120, 60, 150)
    assert slide_colour(image) == (253, 229, 203)


@pytest.mark.real
def test_real_conflict_and_near_duplicate(real_data, tmp_path):
    for name in (
        "eosinophil/EO_225902.jpg", "neutrophil/BNE_191112.jpg", "eosinophil/EO_246684.jpg",
        "eosinophil/EO_409717.jpg", "monocyte/MO_231316.jpg", "monocyte/MO_415531.jpg",
        "eosinophil/EO_668693.jpg", "ig/MMY_39693.jpg", "ig/PMY_124143.jpg", "ig/PMY_36939.jpg",
    ):  # fmt: skip
        put(tmp_path / name, (real_data / "pbc" / name).read_bytes())
    rows = {row["path"]: row for row in Catalog.build(tmp_path, scheme="pbc11").table.to_pylist()}
    conflicts = [path for path, row in rows.items() if "label_conflict" in row["flags"]]
    near = [path for path, row in rows.items() if "near_duplicate" in row["flags"]]
    assert conflicts == ["eosinophil/EO_225902.jpg", "neutrophil/BNE_191112.jpg"]
    # the closest different cells of 10,135 images (EO_668693, PMY_124143, …) stay apart
    assert near == [
        "eosinophil/EO_246684.jpg", "eosinophil/EO_409717.jpg",
        "monocyte/MO_231316.jpg", "monocyte/MO_415531.jpg",
    ]  # fmt: skip


@pytest.mark.real
def test_tight_crops_of_another_laboratory(real_data):
    root = real_data / "external" / "bccd_crops"
    if not root.is_dir():
        pytest.skip(f"{root} is absent")
    catalog = Catalog.build(root)
    tied = [row for row in catalog.table.to_pylist() if row["near_duplicate_of"] is not None]
    # looked at one by one: the same cells, photographed twice; no two labels among them
    assert 10 <= len(tied) <= 14
    assert not any("near_label_conflict" in row["flags"] for row in tied)


def test_the_phantom_is_read_like_pbc(phantom_root):
    catalog = Catalog.build(phantom_root, scheme="pbc11")
    assert catalog.root == phantom_root / "images"
    assert catalog.counts() == dict.fromkeys(catalog.labels, 6)
    flags = {flag for row in catalog.table["flags"].to_pylist() for flag in row}
    assert not flags & {"exact_duplicate", "near_duplicate", "label_conflict"}
