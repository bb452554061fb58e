"""From complete rows of an image to what its writer takes: at the size asked for, as class ids and probabilities."""

from collections.abc import Iterator

import torch
from torch import Tensor

from unet_exp.class_ids import class_ids
from unet_exp.inference._image import ImageJob
from unet_exp.inference._predictor import Predictor, to_probabilities
from unet_exp.inference._resize import BandResizer


class Output:
    """Turns the rows of one image into class ids and probabilities.

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
        self._resizer = None if tuple(wanted) == tuple(size) else BandResizer(size, wanted, device)

    def bands(self, top: int, values: Tensor) -> Iterator[tuple[int, Tensor, Tensor | None]]:
        """Class ids (rows, W) uint8 and probabilities (K, rows, W), with their first row.

        Args:
            top: First row of what was predicted.
            values: (K, rows, W), as the predictor gives them.
        """
        if self._resizer is None:
            yield self._finished(top, values, are_probabilities=self._predictor.gives_probabilities)
            return
        # Logits are interpolated, also those of a mean: as scoring does.
        for first, logits in self._resizer.resize(top, self._predictor.to_logits(values)):
            yield self._finished(first, logits, are_probabilities=False)

    def _finished(self, top: int, values: Tensor, *, are_probabilities: bool) -> tuple[int, Tensor, Tensor | None]:
        one_probability = are_probabilities and len(values) == 1
        labels = class_ids(values - 0.5 if one_probability else values)
        if not self._probabilities:
            return top, labels, None
        return top, labels, values if are_probabilities else to_probabilities(values[None])[0]
