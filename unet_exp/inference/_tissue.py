"""Telling tissue from glass, cheaply."""

import numpy as np

from unet_exp.errors import DataError
from unet_exp.inference._image import Pixels

_SPACING = 8
"""One pixel in so many is looked at, in each direction."""
_MIN_COLOR = 20
"""Difference of the strongest and the weakest channel from which a pixel is coloured; JPEG tints glass by less."""
_MIN_SHARE = 0.002
"""Share of coloured pixels from which a window is worth predicting: doubtful windows are predicted."""


def has_tissue(pixels: Pixels) -> bool:
    """Whether a window of a stained section shows more than glass, or than the black or white around a scan.

    Args:
        pixels: (h, w, 3).

    Raises:
        DataError: If the image is not in colour.
    """
    if pixels.shape[-1] != 3:
        raise DataError(
            f"tissue_only=true tells tissue by its colour, but the image has {pixels.shape[-1]} channel(s), not 3; "
            "set inference.tissue_only=false"
        )
    sparse = pixels[::_SPACING, ::_SPACING]
    color = sparse.max(-1) - sparse.min(-1)
    return bool(np.mean(color >= _MIN_COLOR) >= _MIN_SHARE)
