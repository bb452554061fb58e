"""The regions of BCSS: which part of which slide they are, how their files are called, how large they must be."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unet_exp.data._download._girder import Item, Slide
from unet_exp.errors import DataError

_COLUMNS = ("xmin", "ymin", "xmax", "ymax", "mask_link")
_SLIDE_NAME = re.compile(r"(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}).*?-(DX\d+)")
_PATIENT_LENGTH = 12
# The server rounds the scale's logarithm and cuts off fractions of a pixel; a wrong scale is 20 % off.
_RELATIVE_TOLERANCE = 0.005
_LEAST_TOLERANCE = 3


@dataclass(frozen=True, kw_only=True)
class Region:
    """One row of roiBounds.csv.

    Args:
        patient: First 12 characters of the slide's name, `TCGA-XX-YYYY`.
        slide: Number of the diagnostic slide, `DX1`.
        xmin: Left edge in pixels at base magnification, inclusive.
        ymin: Top edge.
        xmax: Right edge, exclusive.
        ymax: Bottom edge, exclusive.
        mask_link: Address of its mask.
    """

    patient: str
    slide: str
    xmin: int
    ymin: int
    xmax: int
    ymax: int
    mask_link: str

    def file_name(self, mpp: float) -> str:
        """The official name of its image and of its mask."""
        return f"{self.patient}-{self.slide}_xmin{self.xmin}_ymin{self.ymin}_MPP-{mpp:.4f}.png"

    def query(self, mpp: float) -> dict[str, str]:
        """What asks the server for its image."""
        # The authors' script writes 0.00025 mm with %.4f and so asks for 0.0003: the masks of their release measure
        # 0.827 and 0.840 of these bounds on slides of 0.248 and 0.252 µm per pixel, which is 0.30, not 0.25.
        pixel = repr(mpp / 1000)
        bounds = {"left": self.xmin, "right": self.xmax, "top": self.ymin, "bottom": self.ymax}
        return {**{k: str(v) for k, v in bounds.items()}, "mm_x": pixel, "mm_y": pixel, "encoding": "PNG"}

    def size_at(self, mpp: float, slide: Slide) -> tuple[tuple[int, int], int]:
        """Width and height that its image must have, and the pixels by which either may differ.

        Raises:
            DataError: If it does not lie on the slide, or the slide's resolution is unknown.
        """
        if self.xmax > slide.sizeX or self.ymax > slide.sizeY:
            raise DataError(
                f"the region ends at {self.xmax}, {self.ymax} but the slide has {slide.sizeX}x{slide.sizeY} px; "
                "is this another slide?"
            )
        scale = slide.mpp() / mpp
        size = round((self.xmax - self.xmin) * scale), round((self.ymax - self.ymin) * scale)
        return size, max(_LEAST_TOLERANCE, round(max(size) * _RELATIVE_TOLERANCE))


def read_regions(path: Path) -> list[Region]:
    """Read roiBounds.csv.

    Raises:
        DataError: If a column or value is missing or not understood; names the line.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{path}: the table has no column {', '.join(missing)}. Get the file anew.")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a table ({error}). Remove it to get it anew.") from None
    regions = [_parse(path, line, row) for line, row in enumerate(rows, start=2)]
    if not regions:
        raise DataError(f"{path}: the table has no rows. Get the file anew.")
    return regions


def _parse(path: Path, line: int, row: dict[str, str]) -> Region:
    name = row.get("") or ""  # the column of names has no name
    match = _SLIDE_NAME.match(name)
    try:
        bounds = {column: int(float(row[column])) for column in _COLUMNS[:4]}
    except (TypeError, ValueError, OverflowError):
        bounds = {}
    positive = bounds and 0 <= bounds["xmin"] < bounds["xmax"] and 0 <= bounds["ymin"] < bounds["ymax"]
    if match is None or not positive or not row["mask_link"]:
        raise DataError(
            f"{path}, line {line}: expected TCGA-XX-YYYY-DX1,xmin,ymin,xmax,ymax,mask_link with xmin < xmax and "
            f"ymin < ymax, but found {','.join(str(value) for value in row.values())}. Correct or remove the line."
        )
    return Region(patient=match[1], slide=match[2], mask_link=row["mask_link"], **bounds)


def find_item(region: Region, items: Sequence[Item]) -> Item:
    """The slide that a region lies on.

    Raises:
        DataError: If the server has no such slide.
    """
    of_patient = [item for item in items if item.name[:_PATIENT_LENGTH] == region.patient]
    for item in of_patient:
        match = _SLIDE_NAME.match(item.name)
        if match and match[2] == region.slide:
            return item
    # Another slide of the same patient would give an image that does not belong to the mask.
    others = f", only {', '.join(item.name for item in of_patient)}" if of_patient else ""
    raise DataError(f"the server's folder has no slide {region.patient}-...-{region.slide}{others}")
