"""Does the exported network compute what the trained one does?"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unet_exp.bundle.images import Images
from unet_exp.errors import UserError
from unet_exp.inference._predictor import Network

LARGEST_DIFFERENCE = 1e-3
"""Allowed difference of a logit, as a share of the largest logit or of 1, whichever is more: float32 sums in another
order differ by about 1e-6 of their terms, and errors of meaning (a channel swapped, a layer left out) by all of it."""
LEAST_AGREEMENT = 0.9999
"""Needed share of pixels with the same label; logits that differ by rounding swap labels that were tied."""

_LARGEST_SIDE = 256
_BATCHES = (1, 3)


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far two networks are apart.

    Args:
        images: What they were compared on, in words.
        sizes: Batch, height and width of the crops.
        pixels: How many pixels those are.
        largest_difference: Largest absolute difference of two logits.
        largest_logit: Largest absolute logit of the trained network.
        same_label: Share of pixels with the same label.
    """

    images: str
    sizes: Sequence[tuple[int, int, int]]
    pixels: int
    largest_difference: float
    largest_logit: float
    same_label: float

    @property
    def allowed_difference(self) -> float:
        """What `largest_difference` may be."""
        return LARGEST_DIFFERENCE * max(1.0, self.largest_logit)

    def require(self) -> None:
        """Accept the exported network.

        Raises:
            UserError: If it computes something else than the trained one.
        """
        # Written so that a difference that is no number fails.
        if self.largest_difference <= self.allowed_difference and self.same_label >= LEAST_AGREEMENT:
            return
        raise UserError(
            "the exported network does not compute what the trained one does, so no bundle was written: on "
            f"{self.images} their logits differ by up to {self.largest_difference:.3g} (allowed: "
            f"{self.allowed_difference:.3g}), and {self.same_label:.4%} of the pixels get the same label (needed: "
            f"{LEAST_AGREEMENT:.2%}). Try the other format, or another version of torch."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "allowed_difference": self.allowed_difference}


@torch.no_grad()
def compare(trained: Network, exported: Network, images: Images) -> Parity:
    """Run both networks on the same crops of three sizes, one image at a time and several.

    Args:
        trained: Takes bytes (n, C, h, w), gives logits (n, K, h, w).
        exported: Likewise.
        images: What they are compared on.
    """
    sizes: list[tuple[int, int, int]] = []
    difference, largest, same, pixels = 0.0, 0.0, 0, 0
    for crops in _crops(images):
        expected, got = trained(crops).float(), exported(crops).float()
        if expected.shape != got.shape:
            shapes = f"{tuple(got.shape)} where the trained one gives {tuple(expected.shape)}"
            raise UserError(f"the exported network gives logits of shape {shapes}, so no bundle was written.")
        sizes.append((crops.shape[0], crops.shape[2], crops.shape[3]))
        # numpy's maximum keeps a NaN, Python's may lose it.
        difference = float(np.maximum(difference, (expected - got).abs().max().item()))
        largest = max(largest, expected.abs().max().item())
        labels = _classify(expected)
        same += int((labels == _classify(got)).sum())
        pixels += labels.numel()
    return Parity(
        images=images.origin,
        sizes=sizes,
        pixels=pixels,
        largest_difference=difference,
        largest_logit=largest,
        same_label=same / pixels,
    )


def _classify(logits: Tensor) -> Tensor:
    """Class ids (n, h, w) of logits (n, K, h, w)."""
    return logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(1)


def _crops(images: Images) -> Iterator[Tensor]:
    """Batches (n, C, h, w) from the middle of the images: a square, and two sizes that no network halves evenly."""
    side = min(_LARGEST_SIDE, *(min(pixels.shape[:2]) for pixels in images.pixels))
    for height, width in ((side, side), (side - side // 4, side // 2 + 3), (side // 2 + 1, side - 5)):
        for count in _BATCHES:
            chosen = [images.pixels[index % len(images.pixels)] for index in range(count)]
            crops = [_middle(pixels, max(1, height), max(1, width)) for pixels in chosen]
            yield torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)


def _middle(pixels: Any, height: int, width: int) -> Any:
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]
