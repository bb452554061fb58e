"""Where the windows of an image lie, and how much each counts at every pixel."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

Blend = Literal["gaussian", "linear", "crop"]


@dataclass(frozen=True)
class Axis:
    """The windows along one side of an image.

    Args:
        length: Side of the image in pixels.
        starts: First output pixel of each window, ascending.
        window: Side of a window in pixels.
        output: Side of the network's output for it.
        weights: (windows, output); at every pixel the weights of all windows sum to 1.
    """

    length: int
    starts: tuple[int, ...]
    window: int
    output: int
    weights: Tensor

    @property
    def extent(self) -> int:
        """Pixels that the windows predict: the image, and what the last one reaches beyond it."""
        return self.starts[-1] + self.output

    def bounds(self, position: int) -> tuple[int, int]:
        """First pixel that a window sees, possibly before the image, and the one after its last."""
        first = self.starts[position] - (self.window - self.output) // 2
        return first, first + self.window


@dataclass(frozen=True)
class Tiling:
    """How images are cut into windows.

    Args:
        window_size: Side of a window in pixels; with a halo, of the largest window. None: the whole image.
        overlap: Share of a window that the next one repeats; not used with a halo.
        halo: Pixels by which a window reaches over the border between it and its neighbour.
        alignment: Windows start at multiples of it; with a halo, their sides are multiples of it too.
        blend: How windows are joined where they overlap.
    """

    window_size: int | None
    overlap: float
    halo: int | None
    alignment: int
    blend: Blend

    def plan(self, length: int, margin: int) -> Axis:
        """Place the windows along a side.

        Args:
            length: Side of the image in pixels.
            margin: Pixels by which an output is smaller than its window at each end.
        """
        starts: tuple[int, ...]
        if self.window_size is None:
            window, starts = length + 2 * margin, (0,)
        elif margin:
            window = self.window_size
            output = window - 2 * margin
            starts = _spread(max(length, output), output, round(output - self._shared(output)))
        elif length <= self.window_size:
            window, starts = length, (0,)
        elif self.halo is not None:
            window, starts = self._fitted(length, self.window_size, self.halo)
        else:
            window, starts = self.window_size, self._aligned(length, self.window_size)
        output = window - 2 * margin
        return Axis(length, starts, window, output, _weights(starts, output, self.blend))

    def _shared(self, output: int) -> float:
        """Pixels that a window shares with the next one."""
        return output * self.overlap if self.halo is None else min(2 * self.halo, output - 1)

    def _aligned(self, length: int, window: int) -> tuple[int, ...]:
        """Windows of one size that overlap by a share of it.

        Windows that do not begin where the network halves the whole image see it halved otherwise: their predictions
        would differ from those of their neighbours, and the seams show.
        """
        alignment = self.alignment if window % self.alignment == 0 else 1
        room = (round_up(length, alignment) - window) // alignment
        stride = max(1, round(window - self._shared(window)) // alignment)
        steps = math.ceil(room / stride)
        return tuple(i * room // steps * alignment for i in range(steps + 1))

    def _fitted(self, length: int, window_size: int, halo: int) -> tuple[int, tuple[int, ...]]:
        """The fewest windows that fit, made no larger than they need to be: repeated pixels cost time."""
        shared = round_up(2 * halo, self.alignment)
        extent = round_up(length, self.alignment)
        count = math.ceil((extent - shared) / (window_size - shared))
        window = round_up(math.ceil((extent + (count - 1) * shared) / count), self.alignment)
        room = extent - window
        return window, tuple(i * room // (count - 1) // self.alignment * self.alignment for i in range(count))


@dataclass(frozen=True)
class Place:
    """One window: the number of its image, and its place in the grid of that image."""

    image: int
    row: int
    column: int


@dataclass(frozen=True)
class Grid:
    """The windows of one image.

    Args:
        rows: Windows from top to bottom.
        columns: Windows from left to right.
    """

    rows: Axis
    columns: Axis

    def places(self, image: int) -> Iterator[Place]:
        """All windows, row by row."""
        for row in range(len(self.rows.starts)):
            for column in range(len(self.columns.starts)):
                yield Place(image, row, column)


def _spread(length: int, window: int, stride: int) -> tuple[int, ...]:
    """First pixels of windows spread evenly over `length`, the last one flush with its end."""
    steps = math.ceil((length - window) / max(1, stride))
    return tuple(round(i * (length - window) / steps) for i in range(steps + 1)) if steps else (0,)


def _weights(starts: tuple[int, ...], side: int, blend: Blend) -> Tensor:
    """Weights (windows, side) float32 that sum to 1 at every pixel."""
    raw = torch.stack([_profile(starts, i, side, blend) for i in range(len(starts))])
    total = torch.zeros(starts[-1] + side, dtype=torch.float64)
    for start, profile in zip(starts, raw, strict=True):
        total[start : start + side] += profile
    return torch.stack([p / total[s : s + side] for s, p in zip(starts, raw, strict=True)]).float()


def _profile(starts: tuple[int, ...], position: int, side: int, blend: Blend) -> Tensor:
    """Weights (side,) float64 of one window before they are made to sum to 1."""
    pixel = torch.arange(side, dtype=torch.float64)
    match blend:
        case "gaussian":  # a standard deviation of an eighth of the side, as in nnU-Net
            return torch.exp(-0.5 * ((pixel - (side - 1) / 2) / (side / 8)) ** 2)
        case "linear":
            repeated = max((side - (b - a) for a, b in pairwise(starts)), default=1)
            return (torch.minimum(pixel + 0.5, side - pixel - 0.5) / max(1, repeated)).clamp_max(1.0)
        case "crop":
            middles = [(start + following + side) // 2 for start, following in pairwise(starts)]
            first, last = ([starts[0], *middles][position], [*middles, starts[-1] + side][position])
            place = pixel + starts[position]
            return ((place >= first) & (place < last)).double()


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple that is not less."""
    return -(-value // multiple) * multiple
