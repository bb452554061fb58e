"""From windows in their order to the complete blocks of images."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from unet_exp.inference._band import Band, Block
from unet_exp.inference._plan import Grid, Place
from unet_exp.inference._predictor import Predictor

Window = tuple[Place, Tensor | None]
"""A place with its pixels; None where there is nothing to predict."""


class Stitcher:
    """Predicts windows in batches, which may hold windows of several images, and joins the outputs.

    Args:
        predictor: Predicts windows of one size.
        grids: The windows of each image by its number; an image must be known when its first window comes.
        collate: Makes (n, C, h, w) on the device of the pixels of n windows.
        background: (K, 1, 1), predicted where there are no pixels.
        advance: Told how many windows were predicted, after each batch.
    """

    def __init__(
        self,
        predictor: Predictor,
        grids: Mapping[int, Grid],
        *,
        collate: Callable[[Sequence[Tensor]], Tensor],
        background: Tensor,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._predictor = predictor
        self._grids = grids
        self._collate = collate
        self._background = background
        self._advance = advance
        self._band: Band | None = None

    def join(self, windows: Iterable[Window]) -> Iterator[Block]:
        """Predict windows, image after image, row after row, and hand over what is complete after each.

        A block is valid until the next one is asked for.
        """
        for batch in self._batches(windows):
            outputs = iter(self._predictor([pixels for _, pixels in batch if pixels is not None], self._collate))
            for place, pixels in batch:
                yield self._band_of(place).add(place, self._background if pixels is None else next(outputs))
            self._advance(len(batch))

    def _band_of(self, place: Place) -> Band:
        if self._band is None or (place.row, place.column) == (0, 0):
            self._band = None  # frees the band of the image before
            self._band = Band(self._grids[place.image], len(self._background), self._background.device)
        return self._band

    def _batches(self, windows: Iterable[Window]) -> Iterator[list[Window]]:
        """Windows of one size, as many as a forward pass takes; those without pixels come along."""
        batch: list[Window] = []
        shape: torch.Size | None = None
        count = 0
        for window in windows:
            pixels = window[1]
            if pixels is not None and (count == self._predictor.batch_size or (shape not in (None, pixels.shape))):
                yield batch
                batch, count = [], 0
            if pixels is not None:
                shape, count = pixels.shape, count + 1
            batch.append(window)
        if batch:
            yield batch
