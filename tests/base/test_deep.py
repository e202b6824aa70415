"""Pixels of more than 8 bits, and TIFF files of all kinds: against tifffile, Pillow and NumPy."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from naturalize.base.errors import ImageReadError
from naturalize.base.images import decode_image, file_facts

RNG = np.random.default_rng(4)
EIGHT = RNG.integers(0, 256, (20, 31, 3), dtype=np.uint8)
EIGHT[0, 0], EIGHT[0, 1] = 255, 0


def tiff(array, **options):
    buffer = io.BytesIO()
    if array.ndim == 3 and array.shape[2] == 3:
        options.setdefault("photometric", "rgb")
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def png16(array):
    channels = array[..., ::-1] if array.ndim == 3 else array
    return cv2.imencode(".png", channels)[1].tobytes()


def of_bits(bits, dtype=np.uint16):
    """The picture with 255 at the largest number of so many bits, as a camera would give it."""
    return np.round(EIGHT.astype(np.float64) / 255 * (2**bits - 1)).astype(dtype)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("write", [tiff, png16])
def test_camera_data_in_16_bits_is_as_bright_as_in_8(bits, grey, write):
    array = of_bits(bits)[..., 0] if grey else of_bits(bits)
    image, facts = decode_image(write(array))
    expected = np.repeat(EIGHT[..., :1], 3, axis=2) if grey else EIGHT
    np.testing.assert_array_equal(image, expected)
    assert (facts.bits, facts.depth, facts.stated) == (16, bits, False)
    assert ("deep" in facts.flags, "rescaled" in facts.flags) == (True, bits != 16)


def test_a_largest_value_that_the_file_states_is_white_though_the_image_is_darker():
    dark = of_bits(12) // 8  # largest number 511: it would pass for 10 bits
    data = tiff(dark, extratags=[(281, "H", 3, (4095,) * 3, False)])
    image, facts = decode_image(data)
    np.testing.assert_array_equal(image, np.rint(dark / 4095 * 255))
    assert (facts.depth, facts.stated, "rescaled" in facts.flags) == (12, True, False)
    wrong = tiff(of_bits(12), extratags=[(281, "H", 3, (100,) * 3, False)])
    np.testing.assert_array_equal(decode_image(wrong)[0], EIGHT)  # it holds more than it states


def test_significant_bits_of_a_png_are_taken_from_the_file():
    data = png16(of_bits(12) // 8)
    chunk = b"sBIT" + bytes([12, 12, 12])
    chunk = struct.pack(">I", 3) + chunk + struct.pack(">I", zlib.crc32(chunk))
    image, facts = decode_image(data[:33] + chunk + data[33:])
    np.testing.assert_array_equal(image, np.rint((of_bits(12) // 8) / 4095 * 255))
    assert (facts.depth, facts.stated) == (12, True)


@pytest.mark.parametrize(
    ("array", "depth"),
    [
        ((EIGHT / 255).astype(np.float32), 0),
        ((EIGHT / 255).astype(np.float64), 0),
        (EIGHT.astype(np.float32), 8),
        (of_bits(12, np.float32), 12),
        (of_bits(16, np.uint32), 16),
        (of_bits(14, np.int16), 14),
        (EIGHT.astype(np.uint16), 8),
    ],
)
def test_other_number_types(array, depth):
    image, facts = decode_image(tiff(array))
    np.testing.assert_array_equal(image, EIGHT)
    assert facts.depth == depth
    assert facts.flags[:1] == ["deep"]


def test_numbers_that_are_none_and_negative_ones_are_black_and_infinite_ones_white():
    array = np.array([[-1, 0, 0.5, np.nan, np.inf, 1]], np.float32)
    assert decode_image(tiff(array))[0][0, :, 0].tolist() == [0, 0, 128, 0, 255, 255]
    assert decode_image(tiff(np.array([[-7, 0, 1023]], np.int16)))[0][0, :, 0].tolist() == [
        0,
        0,
        255,
    ]


@pytest.mark.parametrize("scale", [1, 257])
@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "rgb", "planarconfig": "separate"},
        {"photometric": "rgb", "compression": "zlib", "predictor": True},
        {"photometric": "rgb", "tile": (16, 16)},
        {"photometric": "rgb", "bigtiff": True, "byteorder": ">"},
    ],
)
def test_ways_to_lay_out_a_tiff_change_nothing(options, scale):
    array = EIGHT.astype(np.uint16) * scale if scale > 1 else EIGHT
    planar = np.moveaxis(array, 2, 0) if "planarconfig" in options else array
    np.testing.assert_array_equal(decode_image(tiff(planar, **options))[0], EIGHT)


def packed(values, bits):
    """A TIFF file of packed samples, (H, W) or (H, W, 3), as the format's specification says."""
    height, width = values.shape[:2]
    samples = 1 if values.ndim == 2 else 3
    rows = ["".join(f"{value:0{bits}b}" for value in row.ravel()) for row in values]
    rows = [row + "0" * (-len(row) % 8) for row in rows]
    data = b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in rows)
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, samples, bits), (259, 3, 1, 1)]
    tags += [(262, 3, 1, 1 if samples == 1 else 2), (273, 4, 1, 0), (277, 3, 1, samples)]
    tags += [(278, 3, 1, height), (279, 4, 1, len(data))]
    after = 8 + 2 + 12 * len(tags) + 4
    bits_of_all = struct.pack("<4H", *[bits] * 3, 0) if samples == 3 else b""
    out = b"II*\0" + struct.pack("<IH", 8, len(tags))
    for tag, kind, n, value in tags:
        far = {258: after if samples == 3 else value, 273: after + len(bits_of_all)}.get(tag, value)
        out += struct.pack("<HHII", tag, kind, n, far)
    return out + b"\0\0\0\0" + bits_of_all + data


@pytest.mark.parametrize("colours", [1, 3])
def test_packed_bits_of_a_tiff_are_what_the_file_states(colours):
    dark = (of_bits(12) // 8)[..., 0] if colours == 1 else of_bits(12) // 8
    image, facts = decode_image(packed(dark, 12))
    expected = np.rint(dark / 4095 * 255)
    np.testing.assert_array_equal(image if colours == 3 else image[..., 0], expected)
    assert (facts.bits, facts.depth, facts.stated) == (12, 12, True)


def test_lzw_of_16_bits_is_read():
    buffer = io.BytesIO()
    Image.fromarray(of_bits(12)[..., 0]).save(buffer, "TIFF", compression="tiff_lzw")
    np.testing.assert_array_equal(decode_image(buffer.getvalue())[0][..., 0], EIGHT[..., 0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("more", [1, 2])
def test_of_more_channels_the_first_three_are_colours(dtype, more):
    array = np.concatenate([EIGHT, EIGHT[..., :more]], axis=2).astype(dtype)
    data = tiff(array, photometric="rgb", extrasamples=["unspecified"] * more)
    np.testing.assert_array_equal(decode_image(data)[0], EIGHT)
    five = np.concatenate([EIGHT, EIGHT[..., :2]], axis=2).astype(dtype)
    data = tiff(five, photometric="minisblack", planarconfig="contig")
    image, facts = decode_image(data)
    np.testing.assert_array_equal(image, EIGHT)
    assert (facts.mode, facts.width, facts.height) == ("RGB", 31, 20)
    assert file_facts(data).width == 31


@pytest.mark.parametrize("how", ["imagej", "ome"])
def test_channels_that_are_pages_make_one_colour_image(how):
    image, facts = decode_image(
        tiff(
            np.moveaxis(EIGHT, 2, 0),
            metadata={"axes": "CYX"},
            photometric="minisblack",
            **{how: True},
        )
    )
    np.testing.assert_array_equal(image, EIGHT)
    assert (facts.pages, facts.mode) == (1, "RGB")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_of_several_pages_the_first_is_read_and_this_is_said(dtype):
    other = 255 - EIGHT
    image, facts = decode_image(tiff(np.stack([EIGHT, other]).astype(dtype), photometric="rgb"))
    np.testing.assert_array_equal(image, EIGHT)
    assert facts.pages == 2
    assert "pages" in facts.flags


def test_alpha_of_16_bits_lies_over_white():
    alpha = RNG.integers(0, 65536, (20, 31, 1)).astype(np.uint16)
    array = np.concatenate([of_bits(16), alpha], axis=2)
    share = alpha / 65535
    expected = np.rint((of_bits(16) / 65535 * share + 1 - share) * 255)
    for data in (tiff(array, photometric="rgb", extrasamples=["unassalpha"]),):
        assert np.abs(decode_image(data)[0] - expected).max() <= 1
    bgra = array[..., [2, 1, 0, 3]]
    assert np.abs(decode_image(cv2.imencode(".png", bgra)[1].tobytes())[0] - expected).max() <= 1


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16])
def test_where_0_is_white_the_image_is_as_it_is_displayed(dtype):
    array = EIGHT[..., 0] > 99 if dtype is bool else EIGHT[..., 0].astype(dtype)
    image, _ = decode_image(tiff(array, photometric="miniswhite"))
    grey = np.where(array, 255, 0) if dtype is bool else EIGHT[..., 0]
    np.testing.assert_array_equal(image[..., 0], 255 - grey)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("kind", ["tiff", "png"])
def test_images_are_upright_whatever_their_depth(orientation, bits, kind):
    array = EIGHT if bits == 8 else of_bits(bits)
    exif = Image.Exif()
    exif[274] = orientation
    plain = Image.fromarray(EIGHT)
    plain.getexif()[274] = orientation
    expected = np.array(ImageOps.exif_transpose(plain))
    if kind == "tiff":
        data = tiff(array, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    else:
        buffer = io.BytesIO()
        plain.save(buffer, "PNG", exif=exif)
        data, at = buffer.getvalue(), buffer.getvalue().index(b"eXIf") - 4
        length = 12 + struct.unpack(">I", data[at : at + 4])[0]
        own = cv2.imencode(".png", array[..., ::-1])[1].tobytes()
        data = own[:33] + data[at : at + length] + own[33:]
    image, facts = decode_image(data)
    np.testing.assert_array_equal(image, expected)
    assert (facts.width, facts.height) == (expected.shape[1], expected.shape[0])
    assert ("exif_rotated" in facts.flags) == (orientation > 1)


def test_damage_and_size_are_named():
    data = tiff(of_bits(16), photometric="rgb", compression="zlib")
    with pytest.raises(ImageReadError):
        decode_image(data[: len(data) // 2])
    with pytest.raises(ImageReadError, match="too large"):
        decode_image(tiff(EIGHT.astype(np.float32)), max_pixels=100)


def lab_file(lab, bits, icc):
    """CIELAB numbers (L to 100, a and b about 0) as a TIFF of photometric 8 or 9 stores them."""
    top, one = 2.0**bits - 1, 2.0 ** (bits - 8)
    if icc:
        stored = np.stack(
            [lab[..., 0] / 100 * 255 * one, *((lab[..., i] + 128) * one for i in (1, 2))]
        )
    else:
        stored = np.stack(
            [lab[..., 0] / 100 * top, *(lab[..., i] * one % (256 * one) for i in (1, 2))]
        )
    dtype = np.uint8 if bits == 8 else np.uint16
    array = np.moveaxis(np.rint(stored), 0, 2).astype(dtype)
    return tiff(array, photometric="icclab" if icc else "cielab")


def lab_of(rgb):
    """CIELAB of sRGB by its definition: adapted to the white D50 as Bradford does."""
    from skimage.color import rgb2xyz

    bradford = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    d50, d65 = np.array([0.96422, 1, 0.82521]), np.array([0.95047, 1, 1.08883])
    to_d50 = np.linalg.inv(bradford) @ np.diag((bradford @ d50) / (bradford @ d65)) @ bradford
    share = rgb2xyz(rgb) @ to_d50.T / d50
    root = np.where(share > (6 / 29) ** 3, np.cbrt(share), share / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(root, 2, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 2)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("icc", [False, True])
def test_lab_files_have_the_colours_that_were_written(bits, icc):
    smooth = cv2.resize(EIGHT[:6, :6], (40, 30), interpolation=cv2.INTER_LINEAR)
    image, facts = decode_image(lab_file(lab_of(smooth), bits, icc))
    difference = np.abs(image - smooth.astype(float))
    assert difference.mean() < 2  # Lab in bytes is coarse where colours are saturated
    assert np.percentile(difference, 99) < 10
    assert facts.bits == bits


def test_cmyk_of_16_bits_is_read_as_that_of_8():
    four = RNG.integers(0, 256, (9, 11, 4), dtype=np.uint8)
    eight, _ = decode_image(tiff(four, photometric="separated"))
    deep, facts = decode_image(tiff(four.astype(np.uint16) * 257, photometric="separated"))
    np.testing.assert_array_equal(deep, eight)
    np.testing.assert_array_equal(eight, np.asarray(Image.fromarray(four, "CMYK").convert("RGB")))
    assert facts.bits == 16


def test_a_palette_of_16_bit_indices_gives_its_colours():
    palette = RNG.integers(0, 256, (3, 65536)).astype(np.uint16)
    indices = RNG.integers(0, 65536, (12, 10)).astype(np.uint16)
    data = tiff(indices, photometric="palette", colormap=palette * 257)
    np.testing.assert_array_equal(decode_image(data)[0], np.moveaxis(palette[:, indices], 0, 2))


@pytest.mark.parametrize("model", ["itulab", "cfa", "linear_raw", "logluv"])
def test_colour_models_that_are_not_converted_are_refused(model):
    array = EIGHT.astype(np.uint16) * 257
    array = array[..., 0] if model == "cfa" else array
    with pytest.raises(ImageReadError, match="not converted"):
        decode_image(tiff(array, photometric=model))
