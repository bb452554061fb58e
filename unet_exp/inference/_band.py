"""Adding up windows in memory that does not grow with the height of the image."""

import torch
from torch import Tensor

from unet_exp.inference._plan import Grid, Place


class Band:
    """Weighted sums over the rows of an image that are not complete yet.

    Windows come row by row. When the last window of a row was added, no later one reaches above the next row of
    windows: the pixels up to there are handed over and their memory is used for the next ones.

    Args:
        grid: The windows of the image.
        channels: Channels of what is added up.
        device: Where it is added up.
    """

    def __init__(self, grid: Grid, channels: int, device: torch.device) -> None:
        self.grid = grid
        self._sums = torch.zeros(channels, grid.rows.output, grid.columns.extent, device=device)
        self._row_weights = grid.rows.weights.to(device)
        self._column_weights = grid.columns.weights.to(device)

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, rows, columns) held in memory."""
        return tuple(self._sums.shape)

    def add(self, place: Place, values: Tensor) -> None:
        """Add one window.

        Args:
            place: Which one.
            values: (channels, height, width) of an output, or anything that broadcasts to it.
        """
        weights = self._row_weights[place.row][:, None] * self._column_weights[place.column][None, :]
        left = self.grid.columns.starts[place.column]
        self._sums[..., left : left + self.grid.columns.output] += values * weights

    def take_complete(self, place: Place) -> tuple[int, Tensor] | None:
        """The pixels that are complete after a window was added.

        Returns:
            Their first row and (channels, rows, W) within the image; None inside a row of windows.
        """
        rows, columns = self.grid.rows, self.grid.columns
        if place.column < len(columns.starts) - 1:
            return None
        top = rows.starts[place.row]
        is_last = place.row == len(rows.starts) - 1
        step = rows.length - top if is_last else rows.starts[place.row + 1] - top
        complete = self._sums[:, :step, : columns.length].clone()
        if not is_last:
            rest = self._sums[:, step:].clone()
            self._sums[:, : rest.shape[1]] = rest
            self._sums[:, rest.shape[1] :] = 0
        return top, complete
