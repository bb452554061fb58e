"""Running networks over batches of windows: test-time augmentation, ensembles, half the batch when memory is out."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor

from unet_exp.errors import UserError
from unet_exp.inference._symmetry import SYMMETRIES, Augmentation

Network = Callable[[Tensor], Tensor]
Precision = Literal["float32", "bfloat16", "float16"]

_PROBE_SIZE = 64
_SURE_LOGIT = 10.0
"""Logit of what is known without a network: a probability of 0.9999."""
_ALLOCATION_MESSAGES = ("can't allocate memory", "not enough memory", "out of memory")


class Predictor:
    """Predicts batches of windows with one network, or with the mean of several or of several views.

    One prediction is left as logits. The mean of several is one of probabilities.

    Args:
        networks: Each takes (n, C, h, w) and gives logits (n, K, h', w').
        tta: Symmetries of the square that are averaged over.
        batch_size: Windows per forward pass; halved for good when the memory is out.
        precision: Numbers that the networks compute with; float32 leaves it to the caller.
    """

    def __init__(
        self, networks: Sequence[Network], *, tta: Augmentation, batch_size: int, precision: Precision = "float32"
    ) -> None:
        self.networks = networks
        self.symmetries = SYMMETRIES[tta]
        self.batch_size = batch_size
        self.precision = precision
        self.gives_probabilities = len(networks) * len(self.symmetries) > 1

    def __call__(self, windows: Sequence[Tensor], collate: Callable[[Sequence[Tensor]], Tensor]) -> list[Tensor]:
        """Predict windows of one size.

        Args:
            windows: Any number.
            collate: Makes (n, C, h, w) on the device of n of them.

        Returns:
            One (K, h', w') float32 per window: logits, or probabilities of a mean.

        Raises:
            UserError: If the memory does not suffice for a single window.
        """
        outputs: list[Tensor] = []
        while len(outputs) < len(windows):
            part = windows[len(outputs) : len(outputs) + self.batch_size]
            try:
                outputs.extend(self._predict(collate(part)))
                continue
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
            self._halve(len(part))  # out here, where the failed call no longer holds its tensors
        return outputs

    def _halve(self, failed: int) -> None:
        if failed == 1:
            raise UserError(
                "the memory of the device does not suffice for one window: choose a smaller inference.window_size"
            )
        self.batch_size = failed // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _predict(self, images: Tensor) -> Tensor:
        with self._autocast(images.device):
            if not self.gives_probabilities:
                return self.networks[0](images).float()
            total: Tensor | None = None
            for network in self.networks:
                for symmetry in self.symmetries:
                    one = symmetry.invert(to_probabilities(network(symmetry.apply(images)).float()))
                    total = one if total is None else total + one
        assert total is not None
        return total / (len(self.networks) * len(self.symmetries))

    def _autocast(self, device: torch.device) -> AbstractContextManager[object]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(device.type, dtype=getattr(torch, self.precision))

    def measure(self, blank: Callable[[int], Tensor], window_size: int | None) -> tuple[int, int]:
        """How much smaller outputs are than windows, and how many channels they have.

        A small window is tried first, since it costs nothing; networks without padding may refuse it.

        Args:
            blank: Gives empty images (1, C, side, side).
            window_size: Side of a real window.

        Returns:
            Pixels lost at each side, and K.
        """
        side = min(_PROBE_SIZE, window_size or _PROBE_SIZE)
        try:
            logits = self.networks[0](blank(side))
        except (ValueError, RuntimeError):
            logits = None
        if window_size is not None and (logits is None or logits.shape[-1] != side):
            side = window_size
            logits = self.networks[0](blank(side))
        if logits is None:
            raise UserError("the network refuses whole images of this kind: give inference.window_size=...")
        return (side - logits.shape[-1]) // 2, logits.shape[1]

    def background(self, channels: int, background_class: int, device: torch.device) -> Tensor:
        """What is predicted (K, 1, 1) where no network is asked: the background, for sure."""
        if channels == 1:
            certain = torch.full((1,), float(background_class), device=device)
        else:
            certain = torch.zeros(channels, device=device)
            certain[background_class] = 1.0
        if not self.gives_probabilities:
            certain = (2 * certain - 1) * _SURE_LOGIT
        return certain[:, None, None]

    def to_logits(self, values: Tensor) -> Tensor:
        """Logits of what was predicted, classes along axis 0."""
        return to_logits(values) if self.gives_probabilities else values


def to_probabilities(logits: Tensor) -> Tensor:
    """Probabilities (N, K, H, W) from logits; with one channel, of class 1."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)


def to_logits(probabilities: Tensor) -> Tensor:
    """Logits (..., K, H, W) whose probabilities are these; with one channel, of class 1."""
    tiny = torch.finfo(probabilities.dtype).eps
    return torch.logit(probabilities, tiny) if probabilities.shape[-3] == 1 else probabilities.clamp_min(tiny).log()


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in _ALLOCATION_MESSAGES)
