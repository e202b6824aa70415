"""Files that are put in: names, images and ZIPs that may do no harm."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.base.errors import UnusableError
from naturalize.base.images import encode_image
from naturalize.review.api.limits import Limits
from naturalize.review.api.unpack import Accepted, safe_name

LONG = "ä" * 120  # of 240 bytes
PICTURE = encode_image(np.full((8, 8, 3), 200, np.uint8))


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def put_in(place: Path, name: str, data: bytes, limits: Limits | None = None) -> Accepted:
    """Put one file in, as an upload does."""
    (place / "raw").mkdir(exist_ok=True)
    file = place / "raw" / "000000"
    file.write_bytes(data)
    accepted = Accepted(place / "files", limits or Limits())
    accepted.add(name, file)
    return accepted


def stored(place: Path) -> list[str]:
    files = place / "files"
    return sorted(p.relative_to(files).as_posix() for p in files.rglob("*") if p.is_file())


def png_of(width: int, height: int) -> bytes:
    """A PNG of one colour, packed row by row: no machine has to hold it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packer, row = zlib.compressobj(9), bytes(1 + 3 * width)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def test_an_image_is_kept_under_its_name(tmp_path: Path) -> None:
    accepted = put_in(tmp_path, "cell 1 (µ).png", PICTURE)
    assert stored(tmp_path) == ["cell 1 (µ).png"]
    assert accepted.paths[0].read_bytes() == PICTURE


def test_a_zip_keeps_its_folders_and_leaves_out_what_is_no_image(tmp_path: Path) -> None:
    data = zipped(
        {
            "slide/a.png": PICTURE,
            "slide/notes.txt": b"x",
            "__MACOSX/slide/._a.png": b"x",
            "slide/.DS_Store": b"x",
            "b.png": PICTURE,
        }
    )
    accepted = put_in(tmp_path, "cells.zip", data)
    assert stored(tmp_path) == ["b.png", "slide/a.png"]
    assert [error.where for error in accepted.refused] == ["cells.zip/slide/notes.txt"]


def test_two_files_of_one_name_are_both_kept(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    accepted = Accepted(tmp_path / "files", Limits())
    for number in range(3):
        file = tmp_path / "raw" / str(number)
        file.write_bytes(PICTURE)
        accepted.add("a.png", file)
    assert stored(tmp_path) == ["a-2.png", "a-3.png", "a.png"]


@pytest.mark.parametrize(
    "name",
    [
        "../a.png",
        "a/../../b.png",
        "/etc/a.png",
        "a//b.png",
        "./a.png",
        "..\\a.png",
        "C:a.png",
        "a\0.png",
        "a\n.png",
        "<img src=x onerror=alert(1)>.png",
        "\u202egnp.a",
        ".hidden.png",
        "x" * 250 + ".png",
        "/".join("a" * 20) + ".png",
        "",
    ],
)
def test_a_name_that_could_do_harm_is_refused(tmp_path: Path, name: str) -> None:
    accepted = put_in(tmp_path, name, PICTURE)
    assert stored(tmp_path) == []
    assert len(accepted.refused) == 1


@settings(deadline=None)
@given(st.text(max_size=40))
def test_a_permitted_name_never_leaves_its_folder(name: str) -> None:
    folder = Path("/root/of/uploads")
    try:
        safe = safe_name(name, Limits())
    except UnusableError:
        return
    assert os.path.normpath(folder / safe).startswith(f"{folder}/")
    assert not set(name) & set('<>"\\\0\n\r')


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.png", b"no picture", "not an image"),
        ("a.png", b"", "empty"),
        ("a.exe", PICTURE, "not an image"),
        ("a.html", b"<script>", "not an image"),
        ("a.svg", b"<svg/>", "not an image"),
        ("a.zip", b"no zip", "damaged ZIP"),
        ("a.zip", b"PK\x03\x04" + b"x" * 100, "damaged ZIP"),
        ("a.zip", zipped({"a.png": PICTURE})[:-10], "damaged ZIP"),
        ("a.zip", zipped({"../a.png": PICTURE}), "leads out of its folder"),
        ("a.zip", zipped({"/a.png": PICTURE}), "leads out of its folder"),
        ("a.zip", zipped({"b.png": PICTURE, "in.zip": zipped({"a.png": PICTURE})}), "a ZIP in it"),
        ("a.zip", zipped({"b.png": PICTURE, "in.png": zipped({"a.png": PICTURE})}), "a ZIP in it"),
        ("a.zip", zipped({"b.png": PICTURE, "a.png": bytes(5_000_000)}), "times its size"),
        ("a.zip", zipped({"a.png": PICTURE}, zipfile.ZIP_LZMA), "unusual way"),
    ],
)
def test_what_is_no_image_is_refused_with_its_reason(
    tmp_path: Path, name: str, data: bytes, why: str
) -> None:
    accepted = put_in(tmp_path, name, data)
    assert stored(tmp_path) == []
    assert [why in error.reason for error in accepted.refused] == [True]


def test_a_byte_changed_in_a_zip_refuses_all_of_it(tmp_path: Path) -> None:
    data = bytearray(zipped({"a.png": PICTURE, "b.png": PICTURE}, zipfile.ZIP_STORED))
    at = data.rindex(PICTURE)  # of b.png: a.png was unpacked already
    data[at + 40] ^= 0xFF
    accepted = put_in(tmp_path, "a.zip", bytes(data))
    assert stored(tmp_path) == []
    assert "damaged ZIP" in accepted.refused[0].reason


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped({"a.png": PICTURE}))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    accepted = put_in(tmp_path, "a.zip", bytes(data))
    assert "encrypted" in accepted.refused[0].reason


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("a.png")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    accepted = put_in(tmp_path, "a.zip", buffer.getvalue())
    assert "link" in accepted.refused[0].reason
    assert stored(tmp_path) == []


def test_too_many_entries_are_refused_before_one_is_unpacked(tmp_path: Path) -> None:
    data = zipped({f"{i}.png": PICTURE for i in range(6)})
    accepted = put_in(tmp_path, "a.zip", data, Limits(files=5))
    assert "more than 5 entries" in accepted.refused[0].reason
    assert stored(tmp_path) == []


def test_a_zip_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    data = zipped({f"{i}.png": encode_image(noise) for i in range(4)})
    accepted = put_in(tmp_path, "a.zip", data, Limits(unpacked=30_000))
    assert "more than is permitted" in accepted.refused[0].reason
    assert stored(tmp_path) == []


def test_the_size_that_a_zip_states_is_not_believed(tmp_path: Path) -> None:
    data = bytearray(zipped({"a.png": bytes(3_000_000)}))
    for signature, size in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(signature) + size
        data[at : at + 4] = struct.pack("<I", 10)
    accepted = put_in(tmp_path, "a.zip", bytes(data))
    assert len(accepted.refused) == 1
    assert stored(tmp_path) == []


def test_a_picture_of_too_many_pixels_is_refused_from_its_header(tmp_path: Path) -> None:
    data = png_of(30_000, 3)  # the header of the next one, without its rows
    tall = data[:20] + struct.pack(">I", 30_000) + data[24:29]
    tall += struct.pack(">I", zlib.crc32(tall[12:29])) + data[33:]
    accepted = put_in(tmp_path, "bomb.png", tall)
    assert "too large" in accepted.refused[0].reason
    assert stored(tmp_path) == []


def test_limits_on_pixels_count_both_sides(tmp_path: Path) -> None:
    accepted = put_in(tmp_path, "a.png", PICTURE, Limits(pixels=63))
    assert "8 × 8 pixels" in accepted.refused[0].reason
    assert put_in(tmp_path, "a.png", PICTURE, Limits(pixels=64)).paths


@pytest.mark.parametrize(
    "names", [("a.png", "a.png/b.png"), ("a.png/b.png", "c.png", "c.png/d/e.png")]
)
def test_a_file_and_a_folder_of_one_name_are_no_two_places(
    tmp_path: Path, names: list[str]
) -> None:
    found = put_in(tmp_path, "a.zip", zipped(dict.fromkeys(names, PICTURE)))
    assert [error.where for error in found.refused] == [f"a.zip/{names[-1]}"]
    assert "name of its folder" in found.refused[0].reason
    assert stored(tmp_path) == sorted(names[:-1])


@pytest.mark.parametrize(
    "name", [f"{LONG}.png", f"{LONG}/a.png", "\ud800.png", "a\0.png", "\u202egnp.exe.png"]
)
def test_a_name_that_no_file_system_takes_is_refused(tmp_path: Path, name: str) -> None:
    found = put_in(tmp_path, name, PICTURE)
    assert len(found.refused) == 1
    assert stored(tmp_path) == []
