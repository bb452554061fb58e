"""Bringing predictions to the size of the file, band by band."""

from collections.abc import Iterator

import torch
from torch import Tensor

_PIXELS_AT_ONCE = 2**23
"""Of all channels: what is enlarged takes no more than 32 MiB at a time."""


class BandResizer:
    """Bilinear interpolation of an image that comes in bands, the same as of the whole image at once.

    It is `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`, with which scoring brings logits to
    the resolution of the masks. A row of the result lies between two rows of the input, so one row is kept back.

    Args:
        size: Height and width of what comes in.
        output_size: Height and width of what goes out.
        device: Where both are.
    """

    def __init__(self, size: tuple[int, int], output_size: tuple[int, int], device: torch.device) -> None:
        self._height = size[0]
        self._output_height = output_size[0]
        self._rows = _neighbours(size[0], output_size[0], device)
        self._columns = _neighbours(size[1], output_size[1], device)
        self._step = max(1, _PIXELS_AT_ONCE // output_size[1])
        self._kept: Tensor | None = None
        self._next = 0

    def resize(self, top: int, values: Tensor) -> Iterator[tuple[int, Tensor]]:
        """The rows of the result that are complete with the next band.

        Args:
            top: Row of the band in the input.
            values: (K, rows, W).

        Yields:
            Their first row and (K, rows', W').
        """
        if self._kept is not None:
            top, values = top - self._kept.shape[1], torch.cat([self._kept, values], 1)
        available = top + values.shape[1]
        below = self._rows[1]
        end = self._output_height if available == self._height else int(torch.searchsorted(below, available))
        step = max(1, self._step // len(values))
        for first in range(self._next, end, step):
            last = min(end, first + step)
            yield first, self._interpolate(values, top, slice(first, last))
        self._next = end
        self._kept = values[:, -1:].clone()

    def _interpolate(self, values: Tensor, top: int, rows: slice) -> Tensor:
        upper, lower, weight = (axis[rows] for axis in self._rows)
        left, right, across = self._columns
        blended = torch.lerp(values[:, upper - top], values[:, lower - top], weight[:, None])
        return torch.lerp(blended[..., left], blended[..., right], across)


def _neighbours(side: int, output_side: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each pixel of the result the input pixel before and after it, and the weight of the latter."""
    place = (torch.arange(output_side, dtype=torch.float64) + 0.5) * (side / output_side) - 0.5
    place = place.clamp_(0, side - 1)
    before = place.floor().long()
    after = (before + 1).clamp_max(side - 1)
    return before.to(device), after.to(device), (place - before).float().to(device)
