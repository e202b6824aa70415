"""The audit: what it must find, what it must not invent, and its pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from dataset_makers import jpeg, picture, put, tree
from PIL import Image

from naturalize.base.artifacts import read_manifest
from naturalize.dataset.audit import audit, write_audit
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.confounders import confounders


def by_property(found):
    return {entry["property"]: entry for entry in found}


def test_a_clean_source_has_no_alerts(tmp_path):
    found = audit(Catalog.build(tree(tmp_path, {"a": 40, "b": 40})))
    assert [entry for entry in found["findings"] if entry["level"] == "alert"] == []
    assert found["n_images"] == found["n_usable"] == 80
    assert found["counts"] == {"a": 40, "b": 40}
    assert found["tiny_classes"] == found["odd_sizes"] == found["exact_duplicates"] == []
    assert found["usual_size"] == {"width": 64, "height": 60, "n": 80}


def test_everything_that_was_planted_is_found(tmp_path):
    root = tree(tmp_path / "in", {"a": 12, "b": 12, "c": 3})
    put(root / "a/same1.jpg", jpeg(picture(900)))
    put(root / "a/same2.jpg", jpeg(picture(900)))
    put(root / "a/two.jpg", jpeg(picture(901)))
    put(root / "b/two.jpg", jpeg(picture(901)))
    put(root / "b/near.jpg", jpeg(picture(0), 60))
    put(root / "b/zero.jpg", b"")
    put(root / "b/cmyk.jpg", _cmyk())
    put(root / "b/odd.jpg", jpeg(picture(902, size=(70, 60))))
    put(root / "b/Thumbs.db", b"x")
    found = audit(Catalog.build(root))
    assert found["exact_duplicates"] == [["a/same1.jpg", "a/same2.jpg"], ["a/two.jpg", "b/two.jpg"]]
    assert found["label_conflicts"] == [{"paths": ["a/two.jpg", "b/two.jpg"], "labels": ["a", "b"]}]
    assert found["near_duplicates"] == [["a/000.jpg", "b/near.jpg"]]
    assert found["near_label_conflicts"][0]["labels"] == ["a", "b"]
    assert found["unreadable"] == [{"path": "b/zero.jpg", "reason": "empty file (0 bytes)"}]
    assert found["flagged"] == {"cmyk": ["b/cmyk.jpg"]}
    assert found["odd_sizes"] == [{"width": 70, "height": 60, "n": 1, "labels": {"b": 1}}]
    assert {"label": "c", "n": 3} in found["tiny_classes"]
    assert found["skipped"][0]["path"] == "b/Thumbs.db"
    text = "\n".join(entry["text"] for entry in found["findings"])
    for said in (
        "two labels: a/two.jpg (a), b/two.jpg (b)", "1 image cannot be read (b/zero.jpg",
        "1 image in CMYK", "1 image not of the usual 64 × 60", "c (3)", "1 entry skipped",
    ):  # fmt: skip
        assert said in text
    json.dumps(found, allow_nan=False)


def _cmyk() -> bytes:
    import io

    buffer = io.BytesIO()
    Image.fromarray(picture(903)).convert("CMYK").save(buffer, "JPEG")
    return buffer.getvalue()


def confounded_tree(root, *, by):
    """Two classes of random pictures that differ in one property of the file only."""
    for k, label in enumerate("ab"):
        for i in range(40):
            size = (64 + 8 * k, 60) if by == "size" else (64, 60)
            image = picture(1000 * k + i, size=size) // 2
            if by == "tint":
                image = np.clip(image + np.array([40 * k, 0, 40 - 40 * k]), 0, 255).astype(np.uint8)
            put(root / label / f"{i}.jpg", jpeg(image, 90 - 15 * k if by == "encoder" else 90))
    return Catalog.build(root)


@pytest.mark.parametrize(
    ("by", "guilty", "innocent"),
    [
        ("size", "size", ["encoder"]),
        ("encoder", "encoder", ["size", "background tint"]),
        ("tint", "background tint", ["size", "encoder"]),
    ],
)
def test_a_planted_confounder_is_named_and_no_other(tmp_path, by, guilty, innocent):
    found = by_property(confounders(confounded_tree(tmp_path, by=by)))
    assert found[guilty]["balanced_accuracy"] > 0.85
    assert found[guilty]["verdict"].startswith("predicts the class")
    assert found["look (size, encoder and tint)"]["balanced_accuracy"] > 0.85
    assert found[guilty]["chance"] == 0.5
    low, high = found[guilty]["interval"]
    assert 0.5 < low <= found[guilty]["balanced_accuracy"] <= high <= 1
    for name in innocent:
        assert not found[name]["verdict"].startswith("predicts")


def test_a_property_that_never_varies_says_so(tmp_path):
    found = by_property(confounders(Catalog.build(tree(tmp_path, {"a": 12, "b": 12}))))
    assert found["size"]["verdict"].startswith("the same for all images")
    assert found["size"]["balanced_accuracy"] == found["size"]["chance"] == 0.5


def test_imbalance_alone_is_no_confounder(tmp_path):
    found = by_property(confounders(Catalog.build(tree(tmp_path, {"a": 120, "b": 12}))))
    assert found["background tint"]["balanced_accuracy"] < 0.7
    assert not found["background tint"]["verdict"].startswith("predicts")


def test_tiny_data_are_not_tested_and_the_reason_is_given(tmp_path):
    catalog = Catalog.build(tree(tmp_path / "in", {"a": 30, "b": 3}))
    found = audit(catalog)
    for entry in found["confounders"]:
        assert entry["balanced_accuracy"] is None
        assert entry["verdict"] == "not tested: fewer than two classes have 10 images"
    write_audit(catalog, found, tmp_path / "out")
    assert not (tmp_path / "out/audit/confounders.svg").exists()


def test_the_audit_is_the_same_every_time(tmp_path):
    catalog = confounded_tree(tmp_path / "in", by="tint")
    for out in ("one", "two"):
        write_audit(catalog, audit(catalog), tmp_path / out)
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*"))
    assert len(files) >= 7
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_pictures_are_named_and_there(tmp_path):
    root = tree(tmp_path / "in", {"a": 12, "b": 12})
    put(root / "b/dup.jpg", (root / "a/000.jpg").read_bytes())
    put(root / "b/bad.jpg", b"")
    catalog = Catalog.build(root)
    catalog.save(tmp_path / "out", also=lambda folder: write_audit(catalog, audit(catalog), folder))
    found = json.loads((tmp_path / "out/audit.json").read_text())
    assert set(found["pictures"]) == {
        "class counts", "sizes", "background tints", "confounders", "duplicates",
        "class a", "class b",
    }  # fmt: skip
    for file in found["pictures"].values():
        assert (tmp_path / "out" / file).stat().st_size > 500
        assert file in read_manifest(tmp_path / "out").files
    with Image.open(tmp_path / "out" / found["pictures"]["class a"]) as sheet:
        assert sheet.width > 8 * 128


def test_odd_class_names_make_safe_file_names(tmp_path):
    (tmp_path / "t.csv").write_text(
        "path,label\n" + "".join(f"{i}.jpg,{'a/../b' if i % 2 else 'é ü'}\n" for i in range(6))
    )
    for i in range(6):
        put(tmp_path / f"{i}.jpg", jpeg(picture(i, size=(50 + i, 50))))
    catalog = Catalog.build(tmp_path / "t.csv")
    write_audit(catalog, audit(catalog), tmp_path / "out")
    names = sorted(p.name for p in (tmp_path / "out/audit").iterdir())
    assert "class-00-a-b.jpg" in names
    assert "class-01--.jpg" in names


def test_many_sizes_become_a_histogram(tmp_path):
    for i in range(30):
        put(tmp_path / f"in/{'ab'[i % 2]}/{i}.jpg", jpeg(picture(i, size=(40 + i, 50))))
    catalog = Catalog.build(tmp_path / "in")
    found = audit(catalog)
    assert found["usual_size"] is None
    write_audit(catalog, found, tmp_path / "out")
    assert "square root" in (tmp_path / "out/audit/sizes.svg").read_text()
