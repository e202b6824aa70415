"""One reader for every kind of file, and one line for every kind of damage."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from naturalize.base.errors import ImageReadError, SettingsError
from naturalize.base.images import (
    content_hash,
    decode_image,
    encode_image,
    pixel_hash,
    read_image,
    write_image,
)

GRADIENT = np.dstack([np.tile(np.arange(40, dtype=np.uint8) * 6, (30, 1))] * 3)
GRADIENT[:, :, 1] = 255 - GRADIENT[:, :, 1]


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


@settings(max_examples=30, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3))))
def test_png_round_trip_keeps_every_pixel(image: np.ndarray) -> None:
    back, facts = decode_image(encode_image(image, "png"))
    assert np.array_equal(back, image)
    assert (facts.height, facts.width) == image.shape[:2]


def test_grey_palette_cmyk_and_transparent_become_rgb(tmp_path: Path) -> None:
    rgb = Image.fromarray(GRADIENT)
    for mode in ("L", "P", "CMYK", "1", "RGBA", "LA"):
        suffix = "jpg" if mode in ("L", "CMYK") else "png"
        array = read_image(save(tmp_path / f"{mode}.{suffix}", rgb.convert(mode)))
        assert array.shape == (30, 40, 3)
        assert array.dtype == np.uint8
        assert array.flags.writeable


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    assert (read_image(save(tmp_path / "clear.png", clear)) == 255).all()


def test_sixteen_bits_are_scaled_not_cut(tmp_path: Path) -> None:
    deep = (np.arange(1200, dtype=np.uint16).reshape(30, 40)) * 54
    array = read_image(save(tmp_path / "deep.png", Image.fromarray(deep)))
    assert np.abs(array[:, :, 0].astype(float) - deep / 257).max() <= 0.5


def test_exif_rotation_is_applied_and_told(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "turned.jpg", Image.fromarray(GRADIENT), exif=exif, quality=95)
    array, facts = decode_image(path.read_bytes())
    assert array.shape == (40, 30, 3)
    assert (facts.width, facts.height, facts.exif_rotated) == (30, 40, True)
    upright = np.rot90(GRADIENT, -1).astype(int)
    assert np.abs(array.astype(int) - upright).mean() < 6


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"not an image at all", "not an image"),
        (encode_image(GRADIENT, "jpeg")[:300], "not an image|truncated|damaged"),
        (encode_image(GRADIENT, "png")[:90], "truncated|damaged"),
    ],
)
def test_damage_is_named(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageReadError, match=reason) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match="no such file"):
        read_image(tmp_path / "none.png")


def test_too_many_pixels_are_refused_before_decoding() -> None:
    buffer = io.BytesIO()
    Image.new("1", (6000, 6000)).save(buffer, format="png")
    with pytest.raises(ImageReadError, match="too large: 6000 × 6000"):
        decode_image(buffer.getvalue(), max_pixels=10**6)


def test_encoder_tells_jpegs_of_other_settings_apart() -> None:
    def encoder(**options: object) -> str:
        buffer = io.BytesIO()
        Image.fromarray(GRADIENT).save(buffer, format="jpeg", **options)
        return decode_image(buffer.getvalue())[1].encoder

    assert encoder(quality=90) == encoder(quality=90)
    assert len({encoder(quality=90), encoder(quality=80), encoder(quality=90, subsampling=0)}) == 3


def test_hashes_name_bytes_and_pixels(tmp_path: Path) -> None:
    png, webp = encode_image(GRADIENT, "png"), encode_image(GRADIENT, "webp")
    assert content_hash(png) != content_hash(webp)
    assert pixel_hash(GRADIENT) == pixel_hash(decode_image(png)[0])
    assert pixel_hash(GRADIENT) != pixel_hash(GRADIENT.transpose(1, 0, 2))


def test_unknown_format_lists_the_choices() -> None:
    with pytest.raises(SettingsError, match="png, jpeg or webp"):
        encode_image(GRADIENT, "gif")


def test_writing_leaves_no_partial_file(tmp_path: Path) -> None:
    write_image(tmp_path / "new" / "a.png", GRADIENT)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]
