"""Whole slides of every scanner that OpenSlide knows, read region by region."""

import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import openslide
import tifffile
from numpy.typing import NDArray
from PIL import Image as PillowImage

from unet_exp.errors import DataError, UserError
from unet_exp.prediction.description import ModelDescription
from unet_exp.prediction.image import RGB, OpenedImage
from unet_exp.prediction.resampling import Axis, resample
from unet_exp.prediction.resolution import fitted_size, grid_size, slide_mpp

_BLOCK = 512
"""Side of the squares in which a level is read; see `_Level.read`."""
_COARSER = 1.02
"""A level this much coarser than the grid is still used: many scanners make levels of 1.01 µm where 1 is meant."""
_STRIP = 2**22
"""Pixels of a level that are held at once."""
_OPAQUE = 0xFF000000
"""The least value of four bytes red, green, blue, alpha, read as one number, whose alpha is full."""
_CACHED_BYTES = 2**28
"""Of decoded tiles: windows one above the other share theirs, and there is a row of others in between."""


class SlideReader:
    """A slide at any resolution.

    A pixel has the same value whatever rectangle it is read with. It is made from the coarsest level that is as fine
    as the grid: by averaging areas, or, beyond the finest level, by cubic interpolation, as pictures are.

    Args:
        path: The file, for messages.
        file: The slide.
        shape: Height and width of the grid that the whole slide is resampled to.
    """

    def __init__(self, path: Path, file: openslide.OpenSlide, shape: tuple[int, int]) -> None:
        self.shape = shape
        coarseness = min(side / cells for side, cells in zip(file.dimensions[::-1], shape, strict=True))
        levels = [_Level(path, file, number) for number in range(file.level_count)]
        self._level = [level for level in levels if level.is_finest or max(level.factors) <= coarseness * _COARSER][-1]

    @cached_property
    def _axes(self) -> tuple[Axis, Axis] | None:
        """How rows and columns are resampled; None if the level is the grid, but for a pixel at its far ends."""
        if all(abs(side - cells) <= 1 for side, cells in zip(self._level.size, self.shape, strict=True)):
            return None
        steps = [
            whole / factor / cells
            for whole, factor, cells in zip(self._level.slide_size, self._level.factors, self.shape, strict=True)
        ]
        shrinks = math.prod(steps) > 1
        rows, columns = (Axis(side, step, shrinks) for side, step in zip(self._level.size, steps, strict=True))
        return rows, columns

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """Pixels (height, width, 3) of a rectangle that lies within the grid.

        Raises:
            DataError: If the file is damaged there.
        """
        if self._axes is None:
            return self._read_repeated(top, left, height, width)
        rows, columns = self._axes
        across = columns.taps(left, width)
        strip = max(1, int(_STRIP / across.span / rows.step))
        result = np.empty((height, width, 3), np.uint8)
        for first in range(0, height, strip):
            down = rows.taps(top + first, min(strip, height - first))
            region = self._level.read(down.first, across.first, down.span, across.span)
            result[first : first + strip] = resample(region, down, across)
        return result

    def _read_repeated(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """Pixels of the level, whose last row and column are repeated where the grid has one more."""
        bottom, right = min(top + height, self._level.size[0]), min(left + width, self._level.size[1])
        top, left = min(top, bottom - 1), min(left, right - 1)
        pixels = self._level.read(top, left, bottom - top, right - left)
        missing = height - pixels.shape[0], width - pixels.shape[1]
        return np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge") if any(missing) else pixels


class _Level:
    """One level of a slide's pyramid.

    Args:
        path: The file, for messages.
        file: The slide.
        number: Of the level; 0 is the finest.
    """

    def __init__(self, path: Path, file: openslide.OpenSlide, number: int) -> None:
        self._path = path
        self._file = file
        self._number = number
        self._downsample: float = file.level_downsamples[number]
        self._background = "#" + file.properties.get("openslide.background-color", "FFFFFF")
        self.is_finest = number == 0
        self.slide_size: tuple[int, int] = file.dimensions[::-1]
        self.size: tuple[int, int] = file.level_dimensions[number][::-1]
        self.factors = _factors(self.slide_size, self.size)

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """Pixels (height, width, 3) of a rectangle that lies within the level.

        OpenSlide is asked in whole pixels of the finest level. Where those are not a whole number of pixels of this
        one it interpolates, so that values would depend on where a rectangle begins. Hence the level is read in
        squares that always begin at the same places; where the numbers are whole, only the part that is needed.
        """
        result = np.empty((height, width, 3), np.uint8)
        is_whole = self._downsample == round(self._downsample)
        for rows, needed_rows in _blocks(top, height, self.size[0]):
            for columns, needed_columns in _blocks(left, width, self.size[1]):
                place = (
                    slice(needed_rows.start - top, needed_rows.stop - top),
                    slice(needed_columns.start - left, needed_columns.stop - left),
                )
                if is_whole:
                    result[place] = self._read_square(needed_rows, needed_columns)
                else:
                    square = self._read_square(rows, columns)
                    result[place] = square[_within(needed_rows, rows), _within(needed_columns, columns)]
        return result

    def _read_square(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        corner = round(columns.start * self._downsample), round(rows.start * self._downsample)
        size = columns.stop - columns.start, rows.stop - rows.start
        try:
            pixels = self._file.read_region(corner, self._number, size)
        except openslide.OpenSlideError as error:
            raise DataError(
                f"{self._path}: the slide is damaged near row {corner[1]}, column {corner[0]} ({error}). Get it again."
            ) from None
        opaque = np.asarray(pixels)
        if (opaque.view("<u4") < _OPAQUE).any():
            glass = PillowImage.new("RGBA", size, self._background)  # where nothing was scanned
            glass.alpha_composite(pixels)
            opaque = np.asarray(glass)
        return np.asarray(cv2.cvtColor(opaque, cv2.COLOR_RGBA2RGB), np.uint8)


def _factors(slide_size: tuple[int, int], size: tuple[int, int]) -> tuple[float, float]:
    """Pixels of the finest level per pixel of a level, down and across.

    Scanners halve sides and drop what is left over: 46001 pixels become 11500 at a quarter, which OpenSlide takes for
    4.0001. If both sides can be explained so, the factor is the whole number.
    """
    ratios = slide_size[0] / size[0], slide_size[1] / size[1]
    whole = round(math.sqrt(ratios[0] * ratios[1]))
    if all(whole * (small - 1) < large < whole * (small + 1) for large, small in zip(slide_size, size, strict=True)):
        return float(whole), float(whole)
    return ratios


def _blocks(start: int, length: int, side: int) -> Iterator[tuple[slice, slice]]:
    """The blocks of a level that a stretch of it needs, and which pixels of each."""
    for first in range(start // _BLOCK * _BLOCK, start + length, _BLOCK):
        end = min(first + _BLOCK, side)
        yield slice(first, end), slice(max(first, start), min(end, start + length))


def _within(inner: slice, outer: slice) -> slice:
    return slice(inner.start - outer.start, inner.stop - outer.start)


class Slide(OpenedImage):
    """A slide; what is predicted has the resolution of the network.

    Args:
        path: The file.
        file: The slide.
        mpp: Micrometres per pixel of the finest level; None if unknown.
        shape: Height and width at the resolution of the network.
    """

    def __init__(self, path: Path, file: openslide.OpenSlide, mpp: float | None, shape: tuple[int, int]) -> None:
        size: tuple[int, int] = file.dimensions[::-1]
        super().__init__(path, size=size, mpp=mpp, reader=SlideReader(path, file, shape), output_size=shape)
        self._file = file

    def picture(self, longest_side: int) -> RGB:
        """The slide as a person sees it, no longer than so many pixels; never enlarged."""
        shape = fitted_size(self.size, longest_side)
        return SlideReader(self.path, self._file, shape).read(0, 0, *shape)

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        self._file.close()


def open_slide(path: Path, description: ModelDescription, *, input_mpp: float | None) -> Slide:
    """Open a slide at the resolution of the network.

    Raises:
        DataError: If the file is damaged.
        UserError: If the network needs whole images, or to know the size of the pixels and nobody says it.
    """
    _check(path, description)
    file = read_slide(path)
    try:
        mpp = slide_mpp(file.properties, path) if input_mpp is None else input_mpp
        _refuse_deep_pixels(path, file)
        file.set_cache(openslide.OpenSlideCache(_CACHED_BYTES))
        return Slide(path, file, mpp, grid_size(file.dimensions[::-1], mpp, description, path))
    except BaseException:
        file.close()
        raise


def read_slide(path: Path) -> openslide.OpenSlide:
    """Open a slide.

    Raises:
        DataError: If the file is damaged.
    """
    try:
        return openslide.OpenSlide(path)
    except (openslide.OpenSlideError, OSError) as error:
        raise DataError(f"{path}: cannot be read as a slide ({error}). Get the file again, or remove it.") from None


def _refuse_deep_pixels(path: Path, file: openslide.OpenSlide) -> None:
    """OpenSlide would keep the upper 8 bits without a word, which may be all zero."""
    if file.properties["openslide.vendor"] == "generic-tiff":
        with tifffile.TiffFile(path) as tiff:
            bits = int(getattr(tiff.pages[0], "bitspersample", 8))
        if bits > 8:
            raise DataError(f"{path}: {bits} bits per channel; expected 8. Convert it to 8-bit RGB.")


def _check(path: Path, description: ModelDescription) -> None:
    if description.image_size is not None:
        height, width = description.image_size
        raise UserError(
            f"{path}: is a slide, but {description.name} sees whole images stretched to {height}x{width} pixels. "
            "Save the region that is meant as a picture (PNG, JPEG, TIFF) and predict that."
        )
    if description.stain != "none":
        raise UserError(
            f"{path}: is a slide, but {description.name} was trained on images whose stain was normalised one by one "
            f"(data.stain={description.stain}), which needs the whole image at once. Save regions of the slide as "
            "pictures and predict those, or use a network trained with data.stain=none."
        )
