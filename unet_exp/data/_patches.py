"""Where training patches are taken: in proportion to the labelled area, or balanced over the classes."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unet_exp.data._store import StoredCase

Balance = Literal["none", "uniform", "sqrt", "foreground"]


class PatchPicker:
    """Draws the place of a patch.

    Where there is no pixel of a class to be balanced, as in a single image without a lesion, patches come from
    everywhere.

    Args:
        cases: The images to draw from, each at least as large as a patch.
        patch_size: Side of a patch in pixels.
        balance: `none`: everywhere alike. Otherwise a class is drawn first, then one of its pixels, which the
            patch holds: every class alike (`uniform`), in proportion to the square root of its pixels (`sqrt`).
            `foreground`: a share of the patches as `uniform`, over the foreground classes, the rest as `none`
            (nnU-Net's oversampling, https://doi.org/10.1038/s41592-020-01008-z).
        foreground: That share.
        foreground_classes: Class ids that are balanced by `foreground`; the other choices balance all classes.
        grid: Top and left of a patch are multiples of this, so that coarser pixels are hit exactly.
    """

    def __init__(
        self,
        cases: Sequence[StoredCase],
        *,
        patch_size: int,
        balance: Balance,
        foreground: float,
        foreground_classes: Sequence[int],
        grid: int = 1,
    ) -> None:
        self._cases = cases
        self._patch_size = patch_size
        self._grid = grid
        pixels = np.stack([case.class_pixels for case in cases])  # (cases, K)
        areas = pixels.sum(1).astype(np.float64)
        self._by_area = np.cumsum(areas) / areas.sum()
        self._by_class_pixels = np.cumsum(pixels, axis=0)
        self._class_shares = _class_shares(pixels.sum(0), balance, foreground_classes)
        share = {"none": 0.0, "foreground": foreground}.get(balance, 1.0)
        self._balanced_share = share if self._class_shares[-1] else 0.0

    def pick(self, generator: np.random.Generator) -> tuple[int, int, int]:
        """Case, top and left of one patch."""
        # `none` draws no number here: its patches are those of earlier versions.
        if self._balanced_share and generator.random() < self._balanced_share:
            return self.pick_class(generator, self._draw(self._class_shares, generator))
        choice = self._draw(self._by_area, generator)
        height, width = self._cases[choice].labels.shape
        return choice, self._start(height, generator), self._start(width, generator)

    def pick_labelled(self, generator: np.random.Generator) -> tuple[int, int, int]:
        """Case, top and left of a patch that surely holds a labelled pixel."""
        totals = self._by_class_pixels[-1]
        return self.pick_class(generator, self._draw(np.cumsum(totals) / totals.sum(), generator))

    def pick_class(self, generator: np.random.Generator, class_id: int) -> tuple[int, int, int]:
        """Case, top and left of a patch that holds a pixel of a class, at a random place within the patch."""
        cumulative = self._by_class_pixels[:, class_id]
        choice = self._draw(cumulative / cumulative[-1], generator)
        case = self._cases[choice]
        positions = case.locations[class_id]
        place = positions[int(generator.integers(len(positions)))]
        top, left = (
            self._start_holding(int(pixel), side, generator)
            for pixel, side in zip(place, case.labels.shape, strict=True)
        )
        return choice, top, left

    @staticmethod
    def _draw(cumulative: NDArray[np.float64], generator: np.random.Generator) -> int:
        return min(int(np.searchsorted(cumulative, generator.random(), side="right")), len(cumulative) - 1)

    def _start(self, side: int, generator: np.random.Generator) -> int:
        return self._grid * int(generator.integers((side - self._patch_size) // self._grid + 1))

    def _start_holding(self, pixel: int, side: int, generator: np.random.Generator) -> int:
        """First row, or column, of a patch within `side` that holds `pixel`."""
        last = (side - self._patch_size) // self._grid
        lowest = min(last, max(0, -(-(pixel - self._patch_size + 1) // self._grid)))
        highest = min(last, pixel // self._grid)
        return self._grid * int(generator.integers(lowest, highest + 1))


def _class_shares(
    pixels: NDArray[np.int64], balance: Balance, foreground_classes: Sequence[int]
) -> NDArray[np.float64]:
    """Cumulative probability of each class to be drawn; classes without a pixel are left out."""
    weights = np.sqrt(pixels) if balance == "sqrt" else (pixels > 0).astype(np.float64)
    if balance == "foreground":
        weights[[k for k in range(len(weights)) if k not in foreground_classes]] = 0
    return np.asarray(np.cumsum(weights) / max(weights.sum(), 1), np.float64)
