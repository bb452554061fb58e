"""A few images, as the network of a run sees them, to try an exported network on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unet_exp.data._case import Case, Image
from unet_exp.data._demo_lesion import make_lesion_case
from unet_exp.data._demo_tissue import make_tissue_case
from unet_exp.data._patch_source import PatchSource
from unet_exp.data._slices import slice_stack
from unet_exp.data._source import ImageSource
from unet_exp.data._volume_source import VolumeSource
from unet_exp.errors import DataError, counted

_COUNT = 3
_DEMO_INSTITUTION = "A2"


@dataclass(frozen=True)
class Images:
    """Images to try networks on.

    Args:
        pixels: Each (H, W, C) uint8, at the resolution that the network works at.
        origin: What they are, in words.
    """

    pixels: Sequence[Image]
    origin: str


def find_images(source: ImageSource, split: Mapping[str, Any] | None) -> Images:
    """Up to three test images of a run, else validation images, else generated ones.

    Args:
        source: The dataset of the run.
        split: What split.json of the run holds, None if it has none.
    """
    try:
        part, cases = _choose(source.scan().cases, split)
        pixels = [_read(source, case) for case in cases]
    except (DataError, OSError):
        return Images(_generated(source), f"{_COUNT} generated images (the dataset of the run could not be read)")
    return Images(pixels, f"{counted(len(pixels), f'{part}image')} of {source.name}")


def _choose(cases: Sequence[Case], split: Mapping[str, Any] | None) -> tuple[str, list[Case]]:
    """A part, and cases spread over it; any cases where those of the run are not there any more."""
    for part, word in (("test", "test "), ("val", "validation ")):
        ids = frozenset((split or {}).get(part, ()))
        found = [case for case in cases if case.id in ids]
        if found:
            return word, _spread(found)
    if not cases:
        raise DataError("there are no images")
    return "", _spread(cases)


def _spread(cases: Sequence[Case]) -> list[Case]:
    places = np.unique(np.linspace(0, len(cases) - 1, _COUNT).round().astype(int))
    return [cases[place] for place in places]


def _read(source: ImageSource, case: Case) -> Image:
    image, _ = source.read_training(case)
    return slice_stack(image, len(image) // 2, source.slices) if isinstance(source, VolumeSource) else image


def _generated(source: ImageSource) -> list[Image]:
    tissue = isinstance(source, PatchSource)
    images = []
    for number in range(_COUNT):
        rng = np.random.default_rng(number)
        image, _ = make_tissue_case(rng, _DEMO_INSTITUTION) if tissue else make_lesion_case(rng)
        if source.in_channels != image.shape[2]:
            image = np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), source.in_channels, axis=2)
        images.append(image)
    return images
