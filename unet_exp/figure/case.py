"""Image, truth, prediction and errors of one case as small pictures of their own, to be laid over each other."""

import io
from collections.abc import Sequence

from PIL import Image

from unet_exp.figure.overlay import Color
from unet_exp.figure.panel import Example, fit, pictures

VIEWS = ("image", "truth", "prediction", "error")
_QUALITY = 88


def case_pictures(
    example: Example,
    *,
    palette: Sequence[Color],
    ignore_index: int,
    hide: Sequence[int] = (),
    max_side: int = 512,
) -> dict[str, bytes]:
    """JPEG files of one size, by view (`VIEWS`).

    Args:
        example: The case.
        palette: RGB per class id.
        ignore_index: Id of pixels without a label.
        hide: Class ids without tint.
        max_side: Longest side of the pictures in pixels.
    """
    drawn = pictures(fit(example, max_side), palette, ignore_index, hide)
    files = {}
    for view, picture in zip(VIEWS, drawn, strict=True):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=_QUALITY, optimize=True)
        files[view] = buffer.getvalue()
    return files
