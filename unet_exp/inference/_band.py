"""Adding up windows in memory that does not grow with the height of the image, and next to not with its width."""

from typing import NamedTuple

import torch
from torch import Tensor

from unet_exp.inference._plan import Grid, Place


class Block(NamedTuple):
    """Pixels to which no later window contributes.

    Args:
        place: The window that completed them.
        top: First row in the image.
        left: First column in the image.
        values: (K, h, w).
    """

    place: Place
    top: int
    left: int
    values: Tensor


class Band:
    """Weighted sums of the windows of an image, as far as they are not complete yet.

    Windows come row by row, in each from left to right. Sums are held of the last window alone, and of the rows that
    the windows below share with those of this row; whatever no later window reaches is handed over.

    Args:
        grid: The windows of the image.
        channels: Channels of what is added up.
        device: Where it is added up.
    """

    def __init__(self, grid: Grid, channels: int, device: torch.device) -> None:
        self.grid = grid
        self._row_weights = grid.rows.weights.to(device)
        self._column_weights = grid.columns.weights.to(device)
        self._sums = torch.zeros(channels, grid.rows.output, grid.columns.output, device=device)
        self._above = self._sums.new_zeros(channels, 0, grid.columns.extent)
        self._below = self._above

    @property
    def held(self) -> int:
        """Numbers held in memory."""
        return self._sums.numel() + self._above.numel() + self._below.numel()

    def add(self, place: Place, values: Tensor) -> Block:
        """Add the next window.

        Args:
            place: Which one.
            values: (channels, height, width) of an output, or anything that broadcasts to it.

        Returns:
            The pixels that are complete now, within the image; there may be none. They are valid until the next call.
        """
        rows, columns = self.grid.rows, self.grid.columns
        top, left = rows.starts[place.row], columns.starts[place.column]
        height, width = _step(rows.starts, place.row, rows.output), _step(columns.starts, place.column, columns.output)
        self._begin(place, height)
        weights = self._row_weights[place.row][:, None] * self._column_weights[place.column][None, :]
        self._sums += values * weights
        self._below[..., left : left + width] = self._sums[:, height:, :width]
        complete = self._sums[:, : min(height, rows.length - top), : max(0, min(width, columns.length - left))]
        return Block(place, top, left, complete)

    def _begin(self, place: Place, height: int) -> None:
        """Move on to a window: keep what its left neighbour has added, take over what the row above has."""
        columns = self.grid.columns
        left = columns.starts[place.column]
        if place.column == 0:
            self._above, shared = self._below, self.grid.rows.output - height
            self._below = self._sums.new_zeros(len(self._sums), shared, columns.extent)
            kept = 0
        else:
            kept = columns.starts[place.column - 1] + columns.output - left
            self._sums[..., :kept] = self._sums[..., columns.output - kept :].clone()
        self._sums[..., kept:] = 0
        new = slice(left + kept, left + columns.output)
        self._sums[:, : self._above.shape[1], kept:] += self._above[..., new]


def _step(starts: tuple[int, ...], position: int, output: int) -> int:
    """Pixels from a window to the next one; all of them for the last."""
    return starts[position + 1] - starts[position] if position < len(starts) - 1 else output
