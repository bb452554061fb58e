"""Deep supervision: one loss applied to the network's outputs at several resolutions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unet_exp.bounds import NonNegativeFloat


def match_target(target: Tensor, size: tuple[int, int], *, scale: int) -> Tensor:
    """Bring the target to the size of logits that were predicted at 1/2^scale of its resolution.

    Logits that cover less than the target (unpadded convolutions: 572 pixels in, 388 out) are centred in it,
    so the target's border is cropped first. What is left is sampled with ``nearest-exact``, which takes the
    middle of each coarse pixel and invents no labels.

    Args:
        target: ``(N, H, W)``, integer.
        size: height and width of the logits.
        scale: 0 for full resolution, 1 for a half, and so on.
    """
    covered = [min(length << scale, full) for length, full in zip(size, target.shape[-2:], strict=True)]
    top, left = ((full - length) // 2 for full, length in zip(target.shape[-2:], covered, strict=True))
    target = target[:, top : top + covered[0], left : left + covered[1]]
    if target.shape[-2:] == size:
        return target
    if scale == 0:
        raise ValueError(
            "Expected full-resolution logits no larger than the target, "
            f"but got {tuple(size)} for a target of {tuple(target.shape[-2:])} pixels."
        )
    return resize_target(target, size)


def resize_target(target: Tensor, size: tuple[int, int]) -> Tensor:
    """Sample class ids ``(N, H, W)`` at the middle of each pixel of another size ``(h, w)``."""
    # Through float32, which holds class ids exactly: interpolation is not defined for integers.
    resized = F.interpolate(target.unsqueeze(1).to(torch.float32), size=size, mode="nearest-exact")
    return resized.squeeze(1).to(target.dtype)


class DeepSupervisionLoss(nn.Module):
    """Weighted mean of a loss over the outputs at full, half, quarter, ... resolution.

    ``weights[i]`` belongs to the output at 1/2^i of the input's resolution. A network has an output for full
    resolution and for every ``i`` with a positive weight, and returns them in that order. The weights are
    divided by their sum, so the loss keeps its size whatever the number of outputs. A single tensor (a
    network without such outputs, or any network in evaluation) gets the plain loss.

    A network that sees the surroundings of its image may predict these too, as its last output; their loss is added
    with a weight of its own.

    Args:
        loss: called with logits ``(N, C, h, w)`` and target ``(N, h, w)``, returns a scalar.
        weights: one weight per scale, fine to coarse; 0 means that the network has no output there.
        context_weight: weight of the loss on the surroundings; 0 means that the network has no output for them.
    """

    def __init__(
        self, loss: nn.Module, weights: Sequence[NonNegativeFloat], *, context_weight: NonNegativeFloat = 0.0
    ) -> None:
        super().__init__()
        if not weights or weights[0] <= 0:
            raise ValueError(
                "Expected `weights` to start with a positive weight for full resolution, the output that is "
                f"evaluated, but got {list(weights)}."
            )
        total = sum(weights)
        self.loss = loss
        self.scale_weights = {scale: w / total for scale, w in enumerate(weights) if w > 0}
        self.context_weight = context_weight

    def forward(
        self, outputs: Tensor | Sequence[Tensor], target: Tensor, context_target: Tensor | None = None
    ) -> Tensor:
        """Return the scalar loss.

        Args:
            outputs: full-resolution logits ``(N, C, H, W)``, or a sequence of logits from fine to coarse; with a
                weight of the context followed by logits of the surroundings ``(N, C, h, w)``.
            target: ``(N, H, W)``, class ids or the ignored label, at the input's resolution.
            context_target: the same of the surroundings; None where the surroundings are the image itself.
        """
        if isinstance(outputs, Tensor):
            return self._loss_at(0, outputs, target)
        if self.context_weight:
            *outputs, around = outputs
            context_target = target if context_target is None else context_target
            height, width = around.shape[-2:]
            total = self._scales(outputs, target)
            context_loss: Tensor = self.loss(around, resize_target(context_target, (height, width)))
            return total + self.context_weight * context_loss
        return self._scales(outputs, target)

    def _scales(self, outputs: Sequence[Tensor], target: Tensor) -> Tensor:
        if len(outputs) != len(self.scale_weights):
            raise ValueError(
                f"Expected {len(self.scale_weights)} outputs, one for each positive deep supervision weight, "
                f"but the network returned {len(outputs)}."
            )
        scales = zip(self.scale_weights.items(), outputs, strict=True)
        return torch.stack([w * self._loss_at(scale, logits, target) for (scale, w), logits in scales]).sum()

    def _loss_at(self, scale: int, logits: Tensor, target: Tensor) -> Tensor:
        height, width = logits.shape[-2:]
        loss: Tensor = self.loss(logits, match_target(target, (height, width), scale=scale))
        return loss
