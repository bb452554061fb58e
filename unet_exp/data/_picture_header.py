"""What the header of a picture file says that its decoded pixels no longer show, and whether the file is whole."""

import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as PillowImage
from PIL.ExifTags import Base as ExifTag

_JPEG_FORMATS = ("JPEG", "MPO")
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""Inside coded data, FF stands before 00 or a restart marker; anything else begins a segment."""
_JPEG_END = 0xD9
_PNG_END = b"IEND\xaeB`\x82"


@dataclass(frozen=True, kw_only=True)
class PictureHeader:
    """Facts about a picture file.

    Args:
        format: Pillow's name of the file type.
        mode: Pillow's name of the pixel type.
        stored_bits: Layout of the samples in the file, e.g. ``RGB;16B``, ``L;4``; often the same as `mode`.
        orientation: EXIF orientation, 1 (upright) to 8.
        pages: Number of pictures in the file.
    """

    format: str
    mode: str
    stored_bits: str
    orientation: int
    pages: int

    @property
    def is_cut_to_8_bits(self) -> bool:
        """Whether Pillow keeps only the upper 8 of 16 bits."""
        return ";16" in self.stored_bits and not self.mode.startswith("I")


def read_header(path: Path) -> PictureHeader:
    """Open a file without decoding its pixels.

    Raises:
        Exception: Whatever Pillow raises for a file that it does not understand.
    """
    with PillowImage.open(path) as file:
        return PictureHeader(
            format=file.format or "",
            mode=file.mode,
            stored_bits=_stored_bits(file),
            orientation=int(file.getexif().get(ExifTag.Orientation, 1)),
            pages=int(getattr(file, "n_frames", 1)),
        )


def _stored_bits(file: PillowImage.Image) -> str:
    tiles = getattr(file, "tile", [])
    if not tiles:
        return file.mode
    arguments = tiles[0][3]  # (decoder, extents, offset, arguments); the first argument is the layout
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else file.mode


def image_peculiarities(header: PictureHeader) -> list[tuple[str, str]]:
    """How an image is changed when it is read as 8-bit RGB: kinds of findings, each with what was seen."""
    seen = {
        "palette_image": header.mode in ("P", "PA"),
        "grey_image": header.mode in ("1", "L", "LA"),
        "alpha_dropped": header.mode in ("RGBA", "LA", "PA", "RGBa", "La"),
        "cmyk_image": header.mode == "CMYK",
        "depth_cut": header.is_cut_to_8_bits,
        "several_pages": header.pages > 1,
    }
    return [(kind, _description(header)) for kind, is_so in seen.items() if is_so]


def mask_peculiarities(header: PictureHeader) -> list[tuple[str, str]]:
    """What is unusual about the way a mask stores its codes: kinds of findings, each with what was seen."""
    seen = {
        "no_codes": header.is_cut_to_8_bits,
        "lossy_mask": header.format in _JPEG_FORMATS,
        "palette_mask": header.mode == "P",
        "few_bits_mask": header.mode == "1" or header.stored_bits.startswith(("L;2", "L;4")),
        "sixteen_bit_mask": header.mode.startswith("I"),
        "three_channel_mask": header.mode in ("RGB", "RGBA"),
        "several_pages": header.pages > 1,
    }
    return [(kind, _description(header)) for kind, is_so in seen.items() if is_so]


def _description(header: PictureHeader) -> str:
    pages = f", {header.pages} pages" if header.pages > 1 else ""
    return f"{header.format} file, {header.stored_bits} pixels{pages}."


def damage(path: Path, header: PictureHeader) -> str:
    """What is wrong with a file that nevertheless can be decoded; empty if nothing is.

    Pillow decodes a JPEG whose tail is all zeros, as a broken download leaves it, and a PNG whose last chunk is
    missing or whose check sums are wrong; the picture then is grey or shifted at its end, or a pixel is another.
    """
    if header.format in _JPEG_FORMATS:
        return "" if has_jpeg_end(path.read_bytes()) else "The end of the JPEG data is missing."
    if header.format != "PNG":
        return ""  # the decoders of the other types need all of the data
    try:
        with PillowImage.open(path) as file:
            file.verify()
    except (OSError, SyntaxError, ValueError) as error:
        return f"The PNG file is not whole: {error}."
    return "" if _PNG_END in path.read_bytes() else "The end of the PNG data is missing."


def has_jpeg_end(data: bytes) -> bool:
    """Whether the marker that ends a JPEG stands where its segments end.

    Searching the bytes for the marker is not enough: an embedded thumbnail has one of its own.
    """
    position = 2
    while marker := _JPEG_MARKER.search(data, position):
        if marker.group()[1] == _JPEG_END:
            return True
        length = int.from_bytes(data[marker.end() : marker.end() + 2])
        position = marker.end() + length
    return False
