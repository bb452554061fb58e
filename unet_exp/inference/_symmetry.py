"""The symmetries of the square that test-time augmentation averages over."""

from dataclasses import dataclass
from itertools import product
from typing import Literal

from torch import Tensor

Augmentation = Literal["none", "flips", "d4"]


@dataclass(frozen=True)
class Symmetry:
    """Swaps the axes of an image, or not; then reverses some of them.

    Args:
        transposed: Whether height and width are swapped.
        reversed_axes: Axes of (N, C, H, W) that are reversed afterwards.
    """

    transposed: bool
    reversed_axes: tuple[int, ...]

    def apply(self, images: Tensor) -> Tensor:
        """Move the pixels of (N, C, H, W)."""
        moved = images.transpose(-1, -2) if self.transposed else images
        return moved.flip(self.reversed_axes) if self.reversed_axes else moved

    def invert(self, outputs: Tensor) -> Tensor:
        """Move them back."""
        moved = outputs.flip(self.reversed_axes) if self.reversed_axes else outputs
        return moved.transpose(-1, -2) if self.transposed else moved


_REVERSALS = ((), (-2,), (-1,), (-2, -1))

SYMMETRIES: dict[Augmentation, tuple[Symmetry, ...]] = {
    "none": (Symmetry(False, ()),),
    "flips": tuple(Symmetry(False, axes) for axes in _REVERSALS),
    "d4": tuple(Symmetry(transposed, axes) for transposed, axes in product((False, True), _REVERSALS)),
}
