"""The walk: which files of a folder are images to read, and why the others are not."""

from __future__ import annotations

import os

import numpy as np
import pytest

from naturalize.base.artifacts import writing
from naturalize.base.errors import InputError
from naturalize.base.images import write_image
from naturalize.base.walk import find_images, skips_in_words, walk_images

GREY = np.full((4, 4, 3), 128, np.uint8)


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path.with_suffix(".png"), GREY)
    return path.with_suffix(".png").rename(path)


def reasons(walk):
    return {entry["path"]: entry["reason"] for entry in walk.skipped}


@pytest.mark.parametrize(
    "junk",
    [
        ".ipynb_checkpoints/1-checkpoint.png", ".Trash-1000/files/1.png", "__MACOSX/._1.png",
        ".1.png", "@eaDir/1.png", "$RECYCLE.BIN/1.png", "System Volume Information/1.png",
    ],
)  # fmt: skip
def test_what_systems_leave_beside_images_is_no_image(tmp_path, junk):
    put(tmp_path / "1.png")
    put(tmp_path / junk)
    assert walk_images(tmp_path).images == ["1.png"]
    assert find_images([tmp_path]) == [tmp_path / "1.png"]
    assert list(reasons(walk_images(tmp_path))) == [junk.split("/")[0]]


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".Tif", ".TIFF", ".JPG", ".jpeg", ".WebP"])
def test_suffixes_in_any_case(tmp_path, suffix):
    put(tmp_path / f"a{suffix}")
    assert walk_images(tmp_path).images == [f"a{suffix}"]


def test_a_link_to_a_folder_elsewhere_is_followed_and_one_inside_is_not_read_twice(tmp_path):
    put(tmp_path / "elsewhere/3.png")
    put(tmp_path / "in/EO/1.png")
    (tmp_path / "in/LY").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/EO/gone.png").symlink_to(tmp_path / "nowhere.png")
    found = walk_images(tmp_path / "in")
    assert found.images == ["EO/1.png", "LY/3.png"]
    assert reasons(found) == {
        "EO/gone.png": "link to nothing",
        "loop": "link to a folder that is read already",
    }
    assert len(find_images([tmp_path / "in"])) == 2


@pytest.mark.parametrize("kind", ["cells", "bank", "explanation", "catalog", "evaluation"])
def test_results_of_naturalize_beside_images_are_no_images(tmp_path, kind):
    put(tmp_path / "LY/1.png")
    with writing(tmp_path / "LY/out", kind) as folder:
        put(folder / "masks/1.png")
        put(folder / "overlays/1.png")
    assert walk_images(tmp_path).images == ["LY/1.png"]
    assert reasons(walk_images(tmp_path)) == {"LY/out": f"result of naturalize ({kind})"}
    with pytest.raises(InputError, match=kind):
        find_images([tmp_path / "LY/out"])


@pytest.mark.parametrize("kind", ["images", "phantom"])
def test_of_composed_images_the_images_are_read_and_not_their_masks(tmp_path, kind):
    with writing(tmp_path / "more/out", kind) as folder:
        put(folder / "images/LY/1.png")
        put(folder / "masks/LY/1.png")
        put(folder / "sheet.png")
    assert walk_images(tmp_path).images == ["more/out/images/LY/1.png"]
    inside = tmp_path / "more/out/images/LY/1.png"
    assert find_images([tmp_path]) == find_images([tmp_path / "more/out"]) == [inside]


def test_a_damaged_manifest_still_marks_a_result(tmp_path):
    put(tmp_path / "a/1.png")
    put(tmp_path / "b/1.png")
    (tmp_path / "b/artifact.json").write_bytes(b"\xff{")
    assert walk_images(tmp_path).images == ["a/1.png"]


def test_a_file_named_twice_is_taken_once_in_the_order_given(tmp_path):
    one, two = put(tmp_path / "a/1.png"), put(tmp_path / "a/2.png")
    again = tmp_path / "a" / ".." / "a" / "1.png"
    assert find_images([two, tmp_path / "a", again]) == [two, one]


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_names_that_no_table_can_hold_are_skipped_in_a_folder_and_refused_alone(tmp_path, capsys):
    put(tmp_path / "a/1.png")
    latin = tmp_path / "a" / os.fsdecode(b"Zelle-\xe4.png")
    try:
        latin.write_bytes((tmp_path / "a/1.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert find_images([tmp_path]) == [tmp_path / "a/1.png"]
    assert r"a/Zelle-\xe4.png" in capsys.readouterr().err
    with pytest.raises(InputError, match="not valid UTF-8; rename it"):
        find_images([latin])
    latin.unlink()
    (tmp_path / "a").rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xe4"))
    with pytest.raises(InputError, match="not valid UTF-8; rename it"):
        find_images([os.fsdecode(os.fsencode(tmp_path) + b"/\xe4")])


def test_what_is_skipped_is_said_once_counted_by_reason(tmp_path, capsys):
    put(tmp_path / "1.png")
    for name in (".a.png", ".b.png", "notes.txt"):
        put(tmp_path / name)
    find_images([tmp_path])
    said = capsys.readouterr().err
    assert said.count("skipped:") == 1
    assert "hidden file (2, the first: " in said
    assert "not an image (suffix '.txt')" in said
    assert skips_in_words(walk_images(tmp_path).skipped) in said.replace(f"{tmp_path}/", "")


def test_an_image_whose_name_has_255_bytes_is_found_and_written(tmp_path):
    name = "ä" * 125 + "x" + ".png"
    assert len(os.fsencode(name)) == 255
    write_image(tmp_path / name, GREY)
    assert [path.name for path in find_images([tmp_path])] == [name]
    with writing(tmp_path / ("n" * 255), "cells") as folder:
        (folder / "x").write_text("")
    assert (tmp_path / ("n" * 255) / "artifact.json").is_file()
    assert len(list(tmp_path.iterdir())) == 2
