"""Predicting whole images in windows that overlap and are blended."""

from collections.abc import Callable, Iterator
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor
from torch.nn import functional as F

from unet_exp.bounds import PositiveInt

Network = Callable[[Tensor], Tensor]

# N images, C channels, K classes, H x W pixels of the image, w a window's side, v its output's side.


class SlidingWindow:
    """Runs a network over images of any size.

    Windows overlap and their logits are blended with a Gaussian that favours the centre of each (as in
    nnU-Net), so that no seam shows. A network without padding gives outputs smaller than its windows; the
    image is mirrored at its border by the difference, so every pixel is predicted all the same.

    Args:
        window_size: Side of the square windows in pixels; None takes the image in one piece.
        overlap: Share of a window that the next one repeats.
        batch_size: Windows, or whole images of one size, per forward pass.
    """

    def __init__(
        self,
        *,
        window_size: PositiveInt | None,
        overlap: Annotated[float, Interval(ge=0, lt=1)] = 0.5,
        batch_size: PositiveInt = 16,
    ) -> None:
        self.window_size = window_size
        self.overlap = overlap
        self.batch_size = batch_size

    def __call__(self, network: Network, images: Tensor) -> Tensor:
        """Logits of whole images.

        Args:
            network: Takes (N, C, h, w), gives (N, K, h', w') with h' <= h.
            images: (N, C, H, W), normalised.

        Returns:
            (N, K, H, W) float32.
        """
        if self.window_size is None:
            return torch.cat([network(part).float() for part in torch.split(images, self.batch_size)])
        margin = self._margin(network, images)
        sides = tuple(self.window_size if margin else min(self.window_size, side) for side in images.shape[-2:])
        return self._blend(network, images, sides, margin)

    def _margin(self, network: Network, images: Tensor) -> int:
        """Pixels by which an output is smaller than its window on each side."""
        assert self.window_size is not None
        probe = images.new_zeros(1, images.shape[1], self.window_size, self.window_size)
        return (self.window_size - network(probe).shape[-1]) // 2

    def _blend(self, network: Network, images: Tensor, sides: tuple[int, ...], margin: int) -> Tensor:
        count, _, height, width = images.shape
        outputs = tuple(side - 2 * margin for side in sides)
        rows = _positions(max(height, outputs[0]), outputs[0], self.overlap)
        columns = _positions(max(width, outputs[1]), outputs[1], self.overlap)
        below, beside = max(0, outputs[0] - height), max(0, outputs[1] - width)
        padded = F.pad(images, (margin, margin + beside, margin, margin + below), mode="replicate")
        weight = _gaussian(outputs, images.device)
        total = norm = torch.empty(0)
        places = [(n, y, x) for n in range(count) for y in rows for x in columns]
        for batch in _batches(places, self.batch_size):
            windows = torch.stack([padded[n, :, y : y + sides[0], x : x + sides[1]] for n, y, x in batch])
            logits = network(windows).float() * weight
            if not total.numel():
                total = logits.new_zeros(count, logits.shape[1], height + below, width + beside)
                norm = logits.new_zeros(1, 1, height + below, width + beside)
            for (n, y, x), window in zip(batch, logits, strict=True):
                total[n, :, y : y + outputs[0], x : x + outputs[1]] += window
                if n == 0:
                    norm[0, 0, y : y + outputs[0], x : x + outputs[1]] += weight
        return (total / norm)[..., :height, :width]


def _batches(places: list[tuple[int, int, int]], size: int) -> Iterator[list[tuple[int, int, int]]]:
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _positions(length: int, window: int, overlap: float) -> list[int]:
    """First pixels of windows spread evenly over `length`, the last one flush with its end."""
    stride = max(1, round(window * (1 - overlap)))
    steps = -(-(length - window) // stride)
    return [round(i * (length - window) / steps) for i in range(steps + 1)] if steps else [0]


def _gaussian(size: tuple[int, ...], device: torch.device) -> Tensor:
    """Weights (h, w), 1 at the centre, standard deviation an eighth of each side, never zero."""
    height, width = (
        torch.exp(-0.5 * ((torch.arange(side, device=device) - (side - 1) / 2) / (side / 8)) ** 2) for side in size
    )
    return (height[:, None] * width[None, :]).clamp_min(1e-4)
