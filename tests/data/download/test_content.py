"""Files that are complete by their length, but not what they claim to be."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.data.download.conftest import png, zipped
from tests.data.download.server import WEB_PAGE
from unet_exp.data._download._content import check_image, check_zip, looks_like_web_page
from unet_exp.errors import DataError


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_without_lower_half() -> bytes:
    """Every chunk and its checksum is right, but the pixels end early: the server broke off."""
    pixels = zlib.compress(np.random.default_rng(0).bytes(50 * 181))
    header = struct.pack(">IIBBBBB", 60, 50, 8, 2, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", pixels[: len(pixels) // 2]), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(buffer, format="JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize("content", [png(), jpeg()], ids=["png", "jpeg"])
def test_good_images_pass(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    check_image(tmp_path / "a")


@pytest.mark.parametrize(
    "content",
    [
        png()[:-12],
        png()[:3000],
        flipped(png(), 3000),
        png_without_lower_half(),
        jpeg()[:1500],
        png()[:12],
        b"",
        WEB_PAGE,
    ],
    ids=["no end mark", "half", "one bit", "half the rows", "half jpeg", "head only", "empty", "web page"],
)
def test_damaged_images_do_not(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError):
        check_image(tmp_path / "a")


def test_the_size_of_an_image_counts(tmp_path):
    (tmp_path / "a").write_bytes(png(60, 50))
    check_image(tmp_path / "a", size=(62, 49), tolerance=2)
    with pytest.raises(DataError, match="60x50 px where 63x50 px are expected"):
        check_image(tmp_path / "a", size=(63, 50), tolerance=2)


def stored_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"0123456789" * 100)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [flipped(stored_zip(), 200), stored_zip()[:-10], stored_zip()[:500], b"", WEB_PAGE, png()],
    ids=["one bit", "no end", "half", "empty", "web page", "image"],
)
def test_damaged_zip_files_do_not_pass(tmp_path, content):
    (tmp_path / "good").write_bytes(zipped({"a": b"x"}))
    check_zip(tmp_path / "good")
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError):
        check_zip(tmp_path / "a")


@pytest.mark.parametrize("head", [b"<html>", b"\r\n<!doctype HTML>", b"\xef\xbb\xbf<HTML lang=en>", b"<script>x"])
def test_web_pages_are_recognised_by_their_first_bytes(head):
    assert looks_like_web_page(head)


@pytest.mark.parametrize(
    "head",
    [png()[:50], zipped({"a": b"x"})[:50], b"[]", b",xmin,ymin", b""],
    ids=["png", "zip", "json", "csv", "empty"],  # a zip holds the time, so its bytes are no name of a test
)
def test_other_files_are_not_taken_for_web_pages(head):
    assert not looks_like_web_page(head)
