"""What is noticed about picture files; every fault is put into a real file."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unet_exp.data import _examination
from unet_exp.data._case import Case
from unet_exp.data._examination import Examination, count_codes, examine_picture, pixel_content
from unet_exp.data._finding import KINDS
from unet_exp.data._image import read_codes, read_image
from unet_exp.errors import DataError

HEIGHT, WIDTH = 40, 60


def picture(seed: int = 0) -> Image.Image:
    """A smooth colour picture with some noise, (40, 60)."""
    noise = np.random.default_rng(seed).integers(0, 40, (HEIGHT, WIDTH, 3))
    slope = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH))[..., None] * 2
    return Image.fromarray((noise + slope).astype(np.uint8))


def codes(values: tuple[int, ...] = (0, 255), dtype: type = np.uint8) -> np.ndarray:
    """Vertical stripes of codes, (40, 60)."""
    return np.tile(np.repeat(np.array(values, dtype), WIDTH // len(values)), (HEIGHT, 1))


def as_bytes(image: Image.Image, file_type: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_type, **options)
    return buffer.getvalue()


def exif(orientation: int, thumbnail: bytes = b"") -> Image.Exif | bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes() + thumbnail if thumbnail else tags


def examined(folder: Path, image: bytes | None = None, mask: bytes | None = None) -> tuple[Case, Examination]:
    case = Case(id="a", image=folder / "a.image", mask=folder / "a.mask", patient="a", institution="", part="train")
    case.image.write_bytes(as_bytes(picture(), "PNG") if image is None else image)
    case.mask.write_bytes(as_bytes(Image.fromarray(codes()), "PNG") if mask is None else mask)
    return case, examine_picture(case)


def kinds(examination: Examination, subject: str | None = None) -> set[str]:
    return {note.kind for note in examination.notes if subject in (None, note.subject)}


def test_facts_of_a_good_case(tmp_path):
    _, seen = examined(tmp_path)
    assert seen.image_shape == (HEIGHT, WIDTH, 3)
    assert seen.mask_shape == (HEIGHT, WIDTH)
    assert seen.code_pixels == {0: HEIGHT * WIDTH // 2, 255: HEIGHT * WIDTH // 2}
    assert seen.notes == ()


def test_content_is_that_of_the_pixels_not_of_the_file(tmp_path):
    files = [as_bytes(picture(), "PNG"), as_bytes(picture(), "PNG", compress_level=0), as_bytes(picture(), "BMP")]
    files += [as_bytes(picture(), "TIFF"), as_bytes(picture(), "TIFF", compression="tiff_lzw")]
    contents = {examined(tmp_path, image=file)[1].image_content for file in files}
    assert len(contents) == 1
    changed = np.asarray(picture()).copy()
    changed[-1, -1, -1] ^= 1
    for other in (Image.fromarray(changed), picture().transpose(Image.Transpose.FLIP_TOP_BOTTOM)):
        assert examined(tmp_path, image=as_bytes(other, "PNG"))[1].image_content not in contents


def test_codes_have_one_content_however_they_are_stored(tmp_path):
    values = codes((0, 3, 9))
    palette = Image.fromarray(values, mode="P")
    palette.putpalette(list(range(256)) * 3)
    forms = [
        Image.fromarray(values),
        palette,
        Image.fromarray(values.astype(np.uint16)),
        Image.merge("RGB", [Image.fromarray(values)] * 3),
    ]
    seen = [examined(tmp_path, mask=as_bytes(form, "PNG"))[1] for form in forms]
    assert len({one.mask_content for one in seen}) == 1
    assert all(one.code_pixels == {0: 800, 3: 800, 9: 800} for one in seen)


def test_the_shape_is_part_of_the_content():
    flat = np.zeros((4, 6), np.uint8)
    assert pixel_content(flat) != pixel_content(flat.reshape(6, 4))


def test_large_arrays_are_taken_in_bands(monkeypatch):
    array = np.random.default_rng(0).integers(0, 300, (57, 41)).astype(np.uint16)
    whole = pixel_content(array)
    monkeypatch.setattr(_examination, "_BAND", 100)
    assert pixel_content(array) == whole
    values, counts = np.unique(array, return_counts=True)
    assert count_codes(array) == dict(zip(values.tolist(), counts.tolist(), strict=True))


GREY = picture().convert("L")
DEEP_GREY = Image.fromarray(np.asarray(GREY).astype(np.uint16) * 256)
TWO_PAGES = {"save_all": True, "append_images": [picture(1)]}
CLEAR = picture().copy()
CLEAR.putalpha(128)


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (as_bytes(picture().quantize(16), "PNG"), "palette_image"),
        (as_bytes(GREY, "PNG"), "grey_image"),
        (as_bytes(GREY.convert("1"), "PNG"), "grey_image"),
        (as_bytes(CLEAR, "PNG"), "alpha_dropped"),
        (as_bytes(picture().convert("CMYK"), "JPEG"), "cmyk_image"),
        (as_bytes(picture(), "TIFF", **TWO_PAGES), "several_pages"),
        (as_bytes(DEEP_GREY, "PNG"), "too_many_bits"),
        (as_bytes(GREY.convert("F"), "TIFF"), "too_many_bits"),
        (b"", "unreadable"),
        (b"\n<!DOCTYPE html><html><body>Please log in</body></html>", "unreadable"),
        (b"just text", "unreadable"),
    ],
)
def test_images(tmp_path, image, kind):
    case, seen = examined(tmp_path, image=image)
    assert kinds(seen) == {kind}
    assert [finding.file for finding in seen.findings(case)] == [case.image]
    if KINDS[kind].severity == "warning":
        assert seen.image_shape == read_image(case.image).shape == (HEIGHT, WIDTH, 3)
        return
    assert seen.image_shape == ()
    assert seen.image_content == ""
    with pytest.raises(DataError):
        read_image(case.image)


def sixteen_bit_rgb() -> bytes:
    """A colour PNG of 16 bits per channel, which Pillow can read but not write."""
    import cv2

    return cv2.imencode(".png", np.asarray(picture()).astype(np.uint16) * 257)[1].tobytes()


def test_colours_of_16_bits_are_cut_and_told(tmp_path):
    case, seen = examined(tmp_path, image=sixteen_bit_rgb(), mask=sixteen_bit_rgb())
    assert kinds(seen, "image") == {"depth_cut"}
    assert np.array_equal(read_image(case.image)[..., ::-1], np.asarray(picture()))
    assert "colour_mask" in kinds(seen, "mask")


def test_codes_of_a_mask_that_were_cut_to_8_bits_are_a_fault(tmp_path):
    import cv2

    values = np.repeat(codes((0, 255), np.uint16)[..., None], 3, axis=2)  # 255 of 65535 is 0 of 255
    _, seen = examined(tmp_path, mask=cv2.imencode(".png", values)[1].tobytes())
    assert kinds(seen) == {"no_codes", "three_channel_mask"}


@pytest.mark.parametrize(
    ("mask", "kind", "expected"),
    [
        (as_bytes(Image.fromarray(codes((0, 255))).convert("1"), "PNG"), "few_bits_mask", {0, 255}),
        (as_bytes(Image.fromarray(codes((0, 1))).convert("P"), "PNG"), "palette_mask", {0, 1}),
        (as_bytes(Image.fromarray(codes((0, 700), np.uint16)), "PNG"), "sixteen_bit_mask", {0, 700}),
        (as_bytes(Image.fromarray(codes()).convert("RGB"), "PNG"), "three_channel_mask", {0, 255}),
        (as_bytes(Image.fromarray(codes()).convert("RGBA"), "PNG"), "three_channel_mask", {0, 255}),
        (
            as_bytes(Image.fromarray(codes()), "TIFF", save_all=True, append_images=[GREY.copy()]),
            "several_pages",
            {0, 255},
        ),
        (as_bytes(picture(), "PNG"), "colour_mask", set()),
        (as_bytes(Image.fromarray(codes()).convert("LA"), "PNG"), "colour_mask", set()),
        (as_bytes(Image.fromarray(codes()).convert("F"), "TIFF"), "no_codes", set()),
        (as_bytes(Image.fromarray(codes((0, 70_000), np.int32)), "TIFF"), "no_codes", set()),
        (as_bytes(Image.fromarray(codes((-1, 5), np.int32)), "TIFF"), "no_codes", set()),
    ],
)
def test_masks(tmp_path, mask, kind, expected):
    case, seen = examined(tmp_path, mask=mask)
    assert kinds(seen) == {kind}
    assert [finding.file for finding in seen.findings(case)] == [case.mask]
    assert set(seen.code_pixels) == expected
    if expected:
        assert set(np.unique(read_codes(case.mask))) == expected
    else:
        assert seen.mask_shape == ()
        with pytest.raises(DataError):
            read_codes(case.mask)


def test_grey_masks_of_few_bits_are_stretched_and_told(tmp_path):
    """A 4-bit grey PNG, which Pillow can read but not write: 8-bit header and data patched by hand."""
    import struct
    import zlib

    rows = b"".join(b"\x00" + bytes([0x02] * (WIDTH // 2)) for _ in range(HEIGHT))  # codes 0, 2, 0, 2, ...
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 4, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    body = b"".join(struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks)
    _, seen = examined(tmp_path, mask=b"\x89PNG\r\n\x1a\n" + body)
    assert kinds(seen) == {"few_bits_mask"}
    assert set(seen.code_pixels) == {0, 34}


def test_a_jpeg_mask_is_told(tmp_path):
    _, seen = examined(tmp_path, mask=as_bytes(Image.fromarray(codes((0, 255))), "JPEG", quality=30))
    assert kinds(seen) == {"lossy_mask"}


def test_sizes_are_those_of_the_upright_picture(tmp_path):
    on_its_side = picture().transpose(Image.Transpose.ROTATE_90)
    _, seen = examined(tmp_path, image=as_bytes(on_its_side, "JPEG", exif=exif(6)))
    assert seen.image_shape == (HEIGHT, WIDTH, 3)
    assert kinds(seen) == {"orientation_differs"}


def test_a_mask_with_the_orientation_of_its_image(tmp_path):
    image = picture().transpose(Image.Transpose.ROTATE_90)
    mask = Image.fromarray(codes()).transpose(Image.Transpose.ROTATE_90)
    _, seen = examined(tmp_path, as_bytes(image, "PNG", exif=exif(6)), as_bytes(mask, "PNG", exif=exif(6)))
    assert kinds(seen) == {"rotated_picture"}
    assert seen.image_shape[:2] == seen.mask_shape == (HEIGHT, WIDTH)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("file_type", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"restart_marker_blocks": 2}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_truncation_anywhere_is_noticed(tmp_path, file_type, options):
    data = as_bytes(picture(), file_type, **options)
    assert kinds(examined(tmp_path, image=data)[1]) == set()
    for length in {*range(0, len(data), 1 + len(data) // 40), *range(len(data) - 20, len(data))}:
        seen = kinds(examined(tmp_path, image=data[:length])[1])
        assert seen in ({"unreadable"}, {"damaged"}), f"{file_type} cut to {length} of {len(data)} bytes: {seen}"


def test_a_jpeg_whose_tail_was_never_filled_is_noticed(tmp_path):
    """Pillow decodes it; the end marker of its thumbnail must not pass for its own."""
    thumbnail = as_bytes(picture().resize((8, 8)), "JPEG")
    data = as_bytes(picture(), "JPEG", quality=95, subsampling=0, exif=exif(1, thumbnail))
    assert thumbnail in data
    assert kinds(examined(tmp_path, image=data)[1]) == set()
    case, seen = examined(tmp_path, image=data[:-300] + bytes(300))
    assert read_image(case.image).shape == (HEIGHT, WIDTH, 3)
    assert kinds(seen) == {"damaged"}


def test_a_png_with_a_wrong_check_sum_is_noticed(tmp_path):
    data = bytearray(as_bytes(picture(), "PNG"))
    data[data.rindex(b"IEND") - 5] ^= 1  # the last byte of the check sum of the pixels
    case, seen = examined(tmp_path, image=bytes(data))
    assert read_image(case.image).shape == (HEIGHT, WIDTH, 3)
    assert kinds(seen) == {"damaged"}


@pytest.mark.filterwarnings("ignore")
def test_no_damage_raises(tmp_path):
    dice = random.Random(0)
    for data in (as_bytes(picture(), kind) for kind in ("PNG", "JPEG", "TIFF", "BMP")):
        for _ in range(40):
            damaged = bytearray(data)
            for _ in range(5):
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
            examined(tmp_path, image=bytes(damaged), mask=bytes(damaged))


def test_files_that_are_gone_are_noted(tmp_path):
    case = Case(id="a", image=tmp_path / "a", mask=tmp_path / "b", patient="a", institution="", part="train")
    assert [(note.kind, note.subject) for note in examine_picture(case).notes] == [
        ("unreadable", "image"),
        ("unreadable", "mask"),
    ]


def test_notes_do_not_say_where_the_dataset_lies(tmp_path):
    _, seen = examined(tmp_path, image=b"just text", mask=b"just text")
    assert all("a." in note.detail for note in seen.notes)
    assert not any(str(tmp_path) in note.detail for note in seen.notes)
