"""The split: groups whole, classes in proportion, deterministic, honest about what it cannot do."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from dataset_makers import jpeg, picture, put, tree
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.base.errors import ArtifactError, InputError, SettingsError
from naturalize.dataset.assign import assign_groups, quotas
from naturalize.dataset.catalog import SCHEMA, Catalog
from naturalize.dataset.readers.levels import PARTS
from naturalize.dataset.split import Split

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}


def catalog_of(rows, *, order=None):
    """A catalog from (id, label, group, pixels, near) tuples, without any file."""
    full = []
    first_path: dict[str, str] = {}
    for image_id, label, group, pixels, near in rows:
        path = f"{label}/{image_id}.jpg"
        duplicate_of = first_path.get(pixels)
        first_path.setdefault(pixels, path)
        full.append(
            {
                "image_id": image_id, "path": path, "label": label, "group": group,
                "pixel_hash": pixels, "duplicate_of": duplicate_of,
                "near_duplicate_of": near, "flags": [], "n_bytes": 1,
            }
        )  # fmt: skip
    full = [full[i] for i in order] if order else full
    table = pa.Table.from_pylist(full, schema=SCHEMA)
    labels = tuple(sorted({row["label"] for row in full}))
    return Catalog(Path("nowhere"), "folders", "folders", labels, table)


@st.composite
def catalogs(draw):
    """Catalogs with patients, exact and near duplicates (chains included), and a fair order."""
    rows = []
    for label, n in zip("abc", draw(st.tuples(*[st.integers(9, 40)] * 3)), strict=True):
        for i in range(n):
            image_id = f"{label}{i:04d}"
            group = draw(st.sampled_from([None] * 9 + [f"p{label}", f"q{label}"]))
            copy = i > 0 and draw(st.integers(0, 9)) == 0
            pixels = rows[-1][3] if copy else image_id
            near = f"{label}/{label}0000.jpg" if i and draw(st.integers(0, 14)) == 0 else None
            rows.append((image_id, label, group, pixels, near))
    return rows, draw(st.permutations(range(len(rows)))), draw(st.integers(0, 99))


@given(catalogs())
@settings(max_examples=60, deadline=None)
def test_no_group_straddles_and_every_usable_image_is_in_one_part(drawn):
    rows, order, seed = drawn
    catalog = catalog_of(rows)
    try:
        split = Split.build(catalog, seed=seed)
    except InputError as error:
        assert "too few" in str(error)  # noqa: PT017 - all images of a class tied together
        return
    part_of = split.part_of()
    usable = catalog.usable()["image_id"].to_pylist()
    assert split.table.num_rows == len(part_of)
    assert set(part_of) == set(usable)
    assert sorted(i for part in PARTS for i in split.ids(part)) == sorted(usable)
    by_id = {row[0]: row for row in rows}
    ties: dict[tuple[str, str], set[str]] = {}
    for image_id, part in part_of.items():
        _, label, group, pixels, near = by_id[image_id]
        keys = [("group", group), ("pixels", pixels), ("near", near)]
        if image_id.endswith("0000"):
            keys.append(("near", f"{label}/{image_id}.jpg"))
        for key in keys:
            if key[1] is not None:
                ties.setdefault(key, set()).add(part)
    assert all(len(parts) == 1 for parts in ties.values())
    groups: dict[str, set[str]] = {}
    for row in split.table.to_pylist():
        groups.setdefault(row["group"], set()).add(row["part"])
    assert all(len(parts) == 1 for parts in groups.values())
    counts = split.counts()
    assert all(counts[part][label] > 0 for part in PARTS for label in "abc")
    assert Split.build(catalog_of(rows, order=order), seed=seed).hash == split.hash


@given(st.integers(0, 99), st.randoms())
@settings(max_examples=25, deadline=None)
def test_row_order_and_paths_do_not_matter(seed, random):
    rows = [(f"{k}{i:03d}", k, None, f"{k}{i:03d}", None) for k in "ab" for i in range(30)]
    catalog = catalog_of(rows)
    order = list(range(len(rows)))
    random.shuffle(order)
    moved = catalog_of(rows, order=order)
    names = pa.array([f"elsewhere/{i}.png" for i in range(len(rows))])
    column = moved.table.schema.get_field_index("path")
    moved.table = moved.table.set_column(column, "path", names)
    assert Split.build(catalog, seed=seed).part_of() == Split.build(moved, seed=seed).part_of()


def test_another_seed_is_another_split():
    rows = [(f"{k}{i:03d}", k, None, f"{k}{i:03d}", None) for k in "ab" for i in range(30)]
    hashes = {Split.build(catalog_of(rows), seed=seed).hash for seed in range(5)}
    assert len(hashes) == 5


def test_hash_and_parts_are_pinned():
    rows = [(f"{k}{i:03d}", k, None, f"{k}{i:03d}", None) for k in "ab" for i in range(10)]
    split = Split.build(catalog_of(rows), seed=3)
    assert split.counts() == {
        "train": {"a": 7, "b": 7}, "val": {"a": 1, "b": 1}, "test": {"a": 2, "b": 2},
    }  # fmt: skip
    assert split.hash == "386d1a2f849fb44e"


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(3, 400), min_size=1),
    st.sampled_from([(0.7, 0.1, 0.2), (0.6, 0.2, 0.2), (0.8, 0.1, 0.1), (1 / 3, 1 / 3, 1 / 3)]),
    st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_single_images_meet_the_fractions_of_each_class(sizes, fractions, seed):
    shares = dict(zip(PARTS, fractions, strict=True))
    groups = {f"{label}{i}": {label: 1} for label, n in sizes.items() for i in range(n)}
    part_of = assign_groups(groups, shares, seed=seed)
    found = Counter((part, name[0]) for name, part in part_of.items())
    for label, n in sizes.items():
        for part, share in shares.items():
            assert abs(found[part, label] - n * share) < 1 or found[part, label] == 1 or n < 12


@given(st.integers(1, 12), st.integers(0, 12), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_few_images_in_train_are_a_part_of_more_and_of_the_whole(few, more, seed):
    rows = [(f"{c}{i:02d}", c, None, f"{c}{i}", None) for c in "AB" for i in range(30)]
    catalog = catalog_of(rows)
    whole = Split.build(catalog)
    one, other = (
        Split.build(catalog, train_per_class=n, train_seed=seed) for n in (few, few + more)
    )
    assert set(one.ids("train")) <= set(other.ids("train")) <= set(whole.ids("train"))
    for part in ("val", "test"):
        assert one.ids(part) == whole.ids(part)
    assert one.counts()["train"] == dict.fromkeys("AB", min(few, 21))
    assert len(one.dropped) == len(whole) - len(one)
    named = Split.build(catalog, train_per_class={"A": few}, train_seed=seed)
    assert named.counts()["train"] == {"A": min(few, 21), "B": 21}


def test_few_images_are_saved_and_named_in_errors(tmp_path):
    rows = [(f"{c}{i:02d}", c, None, f"{c}{i}", None) for c in "AB" for i in range(30)]
    catalog = catalog_of(rows)
    one = Split.build(catalog, train_per_class={"B": 3}, train_seed=4)
    one.save(tmp_path / "split")
    again = Split.load(tmp_path / "split")
    assert (again.fingerprint, again.hash) == (one.fingerprint, one.hash)
    assert one.fingerprint != Split.build(catalog).fingerprint
    with pytest.raises(SettingsError, match="unknown class in train_per_class 'C'"):
        Split.build(catalog, train_per_class={"C": 3})
    with pytest.raises(SettingsError, match="expected 1 or more of A, got 0"):
        Split.build(catalog, train_per_class=0)


@given(st.lists(st.integers(1, 12), min_size=30, max_size=120), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_patients_come_close_to_the_fractions(sizes, seed):
    groups = {f"g{i:03d}": {"a": n} for i, n in enumerate(sizes)}
    part_of = assign_groups(groups, SHARES, seed=seed)
    total = sum(sizes)
    for part, share in SHARES.items():
        have = sum(groups[group]["a"] for group, its in part_of.items() if its == part)
        assert abs(have - total * share) <= max(sizes)


@given(st.integers(3, 5000), st.sampled_from([(0.7, 0.1, 0.2), (0.98, 0.01, 0.01)]))
def test_quotas_add_up_and_leave_no_part_empty(n, fractions):
    found = quotas(n, dict(zip(PARTS, fractions, strict=True)))
    assert sum(found.values()) == n
    assert min(found.values()) >= 1


def test_a_part_without_share_stays_empty():
    rows = [(f"{k}{i:03d}", k, None, f"{k}{i:03d}", None) for k in "ab" for i in range(10)]
    split = Split.build(catalog_of(rows), fractions=(0.8, 0, 0.2))
    assert split.ids("val") == []
    assert len(split.ids("train")) == 16


def test_a_class_with_fewer_images_than_parts_is_named():
    rows = [(f"a{i}", "a", None, f"a{i}", None) for i in range(9)]
    rows += [(f"b{i}", "b", None, f"b{i}", None) for i in range(2)]
    with pytest.raises(InputError, match=r"class 'b' has 2 images, too few for 3 parts"):
        Split.build(catalog_of(rows))
    rows += [("b2", "b", "p", "b2", None), ("b3", "b", "p", "b3", None)]
    rows = [row if row[1] == "a" else (row[0], "b", "p", row[3], None) for row in rows]
    with pytest.raises(InputError, match=r"class 'b' has 4 images in 1 group, too few"):
        Split.build(catalog_of(rows))


def test_one_class_only_is_refused():
    rows = [(f"a{i}", "a", None, f"a{i}", None) for i in range(9)]
    with pytest.raises(InputError, match=r"one class only \(a\)"):
        Split.build(catalog_of(rows))


@pytest.fixture
def conflicting(tmp_path):
    root = tree(tmp_path / "images", {"a": 5, "b": 5})
    put(root / "a/x.jpg", jpeg(picture(90)))
    put(root / "b/y.jpg", jpeg(picture(90)))
    return Catalog.build(root)


def test_a_label_conflict_is_refused_with_both_files_named(conflicting):
    with pytest.raises(InputError, match=r"a/x.jpg \(a\) and b/y.jpg \(b\).*conflicts: drop"):
        Split.build(conflicting)


def test_a_label_conflict_can_be_dropped(conflicting):
    split = Split.build(conflicting, conflicts="drop")
    assert [entry["path"] for entry in split.dropped] == ["a/x.jpg", "b/y.jpg"]
    assert split.dropped[0]["reason"] == "same pixels as b/y.jpg (labelled b)"
    assert split.table.num_rows == 10
    conflicted = conflicting.table["image_id"][
        conflicting.table["path"].to_pylist().index("a/x.jpg")
    ]
    assert conflicted.as_py() not in split.part_of()


def given_catalog(tmp_path, parts):
    lines = ["path,label,group,part"]
    for i, (group, part) in enumerate(parts):
        label = "ab"[i % 2]
        put(tmp_path / f"{i}.jpg", jpeg(picture(i)))
        lines.append(f"{i}.jpg,{label},{group},{part}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    return Catalog.build(tmp_path / "t.csv")


def test_given_parts_are_kept(tmp_path):
    parts = [("", part) for part in ("train", "train", "val", "val", "test", "test")]
    catalog = given_catalog(tmp_path, parts)
    split = Split.build(catalog, use="given")
    ids = dict(zip(catalog.table["path"].to_pylist(), split_parts(catalog, split), strict=True))
    assert ids == {f"{i}.jpg": part for i, (_, part) in enumerate(parts)}


def split_parts(catalog, split):
    return [split.part_of().get(image_id) for image_id in catalog.table["image_id"].to_pylist()]


def test_a_group_that_the_source_divided_leaves_the_training_part(tmp_path):
    parts = [("p", "train"), ("", "train"), ("p", "test"), ("", "val"), ("", "test"), ("", "train")]
    catalog = given_catalog(tmp_path, parts)
    split = Split.build(catalog, use="given")
    assert split.dropped == [
        {"path": "0.jpg", "reason": "in train, but its group has images in test"}
    ]
    assert split_parts(catalog, split) == [None, "train", "test", "val", "test", "train"]


def test_given_parts_must_be_there(tmp_path):
    catalog = given_catalog(tmp_path, [("", "train"), ("", ""), ("", "test"), ("", "val")])
    with pytest.raises(InputError, match=r"no part for 1 of 4 images, the first is 1\.jpg"):
        Split.build(catalog, use="given")


@pytest.mark.parametrize(
    "fractions",
    [(0.7, 0.2), (0.5, 0.1, 0.1), (0, 0.5, 0.5), (1.2, -0.1, -0.1), (float("nan"), 0, 1)],
)
def test_fractions_that_do_not_add_up(conflicting, fractions):
    with pytest.raises(SettingsError, match="fractions"):
        Split.build(conflicting, fractions=fractions)


def test_misspelt_choices_are_named(conflicting):
    with pytest.raises(SettingsError, match="did you mean 'drop'"):
        Split.build(conflicting, conflicts="dropp")
    with pytest.raises(SettingsError, match="choose from: auto, random, given"):
        Split.build(conflicting, use="official")
    with pytest.raises(SettingsError, match="did you mean 'train'"):
        Split.build(conflicting, conflicts="drop").ids("trian")


def test_saved_and_loaded_is_the_same(conflicting, tmp_path):
    split = Split.build(conflicting, conflicts="drop", seed=4)
    split.save(tmp_path / "split")
    loaded = Split.load(tmp_path / "split")
    assert loaded == split
    assert loaded.hash == split.hash
    assert loaded.fingerprint == split.fingerprint
    about = json.loads((tmp_path / "split/split.json").read_text())
    assert about["counts"] == split.counts()
    assert about["hash"] == split.hash


def test_a_split_changed_by_hand_is_refused(conflicting, tmp_path):
    Split.build(conflicting, conflicts="drop").save(tmp_path / "split")
    Split.build(conflicting, conflicts="drop", seed=1).save(tmp_path / "other")
    changed = (tmp_path / "other/split.parquet").read_bytes()
    (tmp_path / "split/split.parquet").write_bytes(changed)
    with pytest.raises(ArtifactError, match="does not fit the hash"):
        Split.load(tmp_path / "split")


def test_rare_classes_tied_to_others_still_reach_every_part():
    groups = {f"m{i}": {"a": 5, "b": 1} for i in range(3)} | {f"s{i}": {"a": 1} for i in range(30)}
    part_of = assign_groups(groups, SHARES, seed=0)
    assert {part_of[f"m{i}"] for i in range(3)} == set(PARTS)


def test_classes_that_cannot_all_reach_every_part_are_refused():
    # four groups, every three of them a class: each three must differ, so four parts are needed
    groups = {f"g{i}": {label: 1 for k, label in enumerate("abcd") if k != i} for i in range(4)}
    with pytest.raises(InputError, match="cannot be in every part: its 3 groups are tied up"):
        assign_groups(groups, SHARES, seed=0)
