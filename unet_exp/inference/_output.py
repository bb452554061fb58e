"""From complete blocks of an image to what its writer takes: rows of class ids and probabilities."""

from collections.abc import Iterator

import torch
from torch import Tensor

from unet_exp.class_ids import class_ids
from unet_exp.inference._band import Block
from unet_exp.inference._image import ImageJob
from unet_exp.inference._predictor import Predictor, to_probabilities
from unet_exp.inference._resize import BandResizer

Rows = tuple[int, Tensor, Tensor | None]


class Output:
    """Turns the blocks of one image into class ids and probabilities.

    Args:
        predictor: Made what comes in.
        job: Says which size the prediction shall have.
        device: Where the rows are.
        probabilities: Whether these are wanted too.
    """

    def __init__(self, predictor: Predictor, job: ImageJob, device: torch.device, *, probabilities: bool) -> None:
        self._predictor = predictor
        self._probabilities = probabilities
        size = job.reader.shape
        wanted = job.output_size or size
        self._row: list[tuple[Tensor, ...]] = []
        self._resizer = None if tuple(wanted) == tuple(size) else BandResizer(size, wanted, device)

    def take(self, block: Block, *, is_last: bool) -> Iterator[Rows]:
        """Class ids (rows, W) uint8 and probabilities (K, rows, W), with their first row, once rows are complete.

        Args:
            block: What was predicted, from left to right.
            is_last: Whether it ends the row.
        """
        parts = self._classified(block.values) if self._resizer is None else (self._predictor.to_logits(block.values),)
        self._row.append(tuple(part.clone() for part in parts))
        if not is_last:
            return
        joined = [torch.cat(column, -1) for column in zip(*self._row, strict=True)]
        self._row.clear()
        if not joined[0].shape[-2]:
            return
        if self._resizer is None:
            yield block.top, joined[0], joined[1] if self._probabilities else None
            return
        # Logits are interpolated, also those of a mean: as scoring does.
        for first, logits in self._resizer.resize(block.top, joined[0]):
            yield first, class_ids(logits), to_probabilities(logits[None])[0] if self._probabilities else None

    def _classified(self, values: Tensor) -> tuple[Tensor, ...]:
        """Class ids, and probabilities if they are wanted: all that is kept of a block until its row is complete."""
        are_probabilities = self._predictor.gives_probabilities
        labels = class_ids(values - 0.5 if are_probabilities and len(values) == 1 else values)
        if not self._probabilities:
            return (labels,)
        return labels, values if are_probabilities else to_probabilities(values[None])[0]
