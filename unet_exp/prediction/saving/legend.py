"""What the colours of a picture mean: swatches, names and fractions of the area."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from unet_exp.prediction.description import Color
from unet_exp.prediction.image import RGB

_INK = (34, 34, 34)
_RULE = (107, 114, 128)
_LONGEST_NAME = 40
_SMALLEST_FONT, _LARGEST_FONT = 12, 56


class Entry(NamedTuple):
    """A class: its name, its fraction of the image, its colour (None: not tinted)."""

    name: str
    fraction: float
    color: Color | None

    @property
    def text(self) -> str:
        """Name and fraction."""
        name = " ".join(self.name.split())
        short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
        return f"{short}  {percentage(self.fraction)}"


def percentage(fraction: float) -> str:
    """A fraction for people; little is not called nothing, nor nearly everything all."""
    if 0 < fraction < 0.0005:
        return "<0.1 %"
    if 0.9995 <= fraction < 1:
        return ">99.9 %"
    return f"{100 * fraction:.1f} %" if 0 < fraction < 1 else f"{100 * fraction:.0f} %"


def font_size(longest_side: int) -> int:
    """Height of the letters that can be read when a picture of this size is seen whole."""
    return int(np.clip(longest_side // 70, _SMALLEST_FONT, _LARGEST_FONT))


def draw_legend(entries: Sequence[Entry], width: int, size: int) -> RGB:
    """Draw a white strip (H, W, 3) of entries in columns.

    Args:
        entries: In this order, row by row.
        width: Of the picture above; the strip is wider if its longest entry is.
        size: Of the font in pixels.
    """
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    font = ImageFont.truetype(str(file), size)
    row, swatch, gap = round(1.7 * size), size, size // 2
    column = max(int(np.ceil(font.getlength(entry.text))) for entry in entries) + swatch + 2 * gap
    columns = max(1, min(len(entries), (width - gap) // (column + gap)))
    rows = -(-len(entries) // columns)
    strip = Image.new("RGB", (max(width, column + gap), rows * row + 2 * gap), "white")
    draw = ImageDraw.Draw(strip)
    for number, entry in enumerate(entries):
        left, top = gap + number % columns * (column + gap), gap + number // columns * row
        box = (left, top + (row - swatch) // 2, left + swatch, top + (row - swatch) // 2 + swatch)
        draw.rectangle(box, fill=entry.color, outline=_RULE, width=max(1, size // 16))
        draw.text((left + swatch + gap, top + row // 2), entry.text, fill=_INK, font=font, anchor="lm")
    return np.asarray(strip)
