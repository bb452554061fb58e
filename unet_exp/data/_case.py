"""What a dataset consists of: cases, and the classes their masks may hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval, Len
from numpy.typing import NDArray

from unet_exp.errors import ConfigError, DataError

Part = Literal["train", "val", "test"]
Image = NDArray[np.uint8]
"""RGB image (H, W, 3)."""
Labels = NDArray[np.uint8]
"""Class ids (H, W); the dataset's ignore index marks pixels without a label."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One image with its mask.

    Args:
        id: Unique name within the dataset.
        image: File of the image.
        mask: File of the mask.
        patient: Images of one patient must stay in one part of a split.
        institution: Where the image was made, empty if unknown.
        part: Part of the official split it belongs to.
        mpp: Micrometres per pixel of the files, None if unknown.
        content: Hash of the image's pixels, empty before the files were examined.
        alike: Id of the first case whose image looks like this one, or like one that does; empty where images were
            not compared.
        mask_content: Hash of the mask's pixels, empty before the files were examined.
        class_pixels: Pixels of each class in the mask, empty before the files were examined.
    """

    id: str
    image: Path
    mask: Path
    patient: str
    institution: str
    part: Part
    mpp: float | None = None
    content: str = ""
    alike: str = ""
    mask_content: str = ""
    class_pixels: tuple[int, ...] = ()


Code = Annotated[int, Interval(ge=0, le=2**16 - 1)]
"""A value in a mask file."""


@dataclass(frozen=True, kw_only=True)
class ClassSpec:
    """One class of a dataset.

    Args:
        color: RGB, 0 to 255, used in every picture.
        codes: The values in the mask files that mean this class.
        scored: Whether it counts in mean Dice and IoU; false for a background, which is not drawn either.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - read by the configuration check

    color: Annotated[Sequence[Annotated[int, Interval(ge=0, le=255)]], Len(3, 3)]
    codes: Sequence[Code]
    scored: bool = True


class LabelMap:
    """Total map from the codes in mask files to class ids.

    Args:
        classes: The classes in the order of their ids.
        ignore_codes: Codes of pixels that carry no label.
        ignore_index: Id given to those pixels.

    Raises:
        ConfigError: If a code is claimed twice.
    """

    _SIZE = 2**16

    def __init__(self, classes: Mapping[str, ClassSpec], ignore_codes: Sequence[int], ignore_index: int) -> None:
        self._table = np.full(self._SIZE, -1, np.int16)
        self._num_classes = len(classes)
        claims = [(name, index, spec.codes) for index, (name, spec) in enumerate(classes.items())]
        claims.append(("ignore_codes", ignore_index, ignore_codes))
        owners: dict[int, str] = {}
        for name, index, codes in claims:
            for code in codes:
                if code in owners:
                    raise ConfigError(
                        [f"data.classes: code {code} belongs to both {owners[code]!r} and {name!r}; remove one."]
                    )
                owners[code] = name
                self._table[code] = index

    def class_of(self, code: int) -> int | None:
        """Class id of a code, possibly the ignore index; None if the code is unknown."""
        index = int(self._table[code]) if 0 <= code < self._SIZE else -1
        return None if index < 0 else index

    def class_pixels(self, code_pixels: Mapping[int, int]) -> tuple[int, ...]:
        """Pixels of each class, from pixels of each code; ignored and unknown codes count for none."""
        counts = [0] * self._num_classes
        for code, pixels in code_pixels.items():
            index = self.class_of(code)
            if index is not None and index < self._num_classes:
                counts[index] += pixels
        return tuple(counts)

    def apply(self, codes: NDArray[np.integer], path: Path) -> Labels:
        """Translate raw codes (H, W) into class ids (H, W).

        Raises:
            DataError: If a code is not in the map; names the file, the codes and how many pixels they have.
        """
        labels = self._table[codes]
        if labels.min(initial=0) < 0:
            unknown, counts = np.unique(codes[labels < 0], return_counts=True)
            listed = ", ".join(f"{code} ({count} px)" for code, count in zip(unknown, counts, strict=True))
            raise DataError(
                f"{path}: unknown label code {listed}. Assign it to a class (data.classes.<name>.codes) "
                "or ignore it (data.ignore_codes)."
            )
        return np.asarray(labels, np.uint8)
