"""Cross-entropy: the negative log-probability of each pixel's own class."""

from collections.abc import Sequence

from torch import Tensor, nn

from unet_exp.bounds import NonNegativeFloat
from unet_exp.loss._common import pixel_weights, prepare, true_log_probability, weight_tensor, weighted_mean


def cross_entropy_loss(
    logits: Tensor, target: Tensor, *, ignore_index: int, class_weights: Tensor | None = None
) -> Tensor:
    r"""Return the weighted mean of the pixels' cross-entropy.

    .. math:: L = -\frac{\sum_i w_{y_i} \log p_i(y_i)}{\sum_i w_{y_i}}

    The sums run over the pixels that are not ignored, whatever image they lie in. Without any such pixel the
    loss is 0 (``torch.nn.functional.cross_entropy`` returns NaN). Only the ratios of the weights matter.

    Args:
        logits: ``(N, C, H, W)``; C = 1 is a single foreground logit.
        target: ``(N, H, W)``, class ids or ``ignore_index``.
        ignore_index: label of the pixels that do not count.
        class_weights: ``(K,)``, non-negative; None weighs all classes alike.
    """
    pixels = prepare(logits, target, ignore_index=ignore_index)
    return weighted_mean(-true_log_probability(pixels), pixel_weights(pixels, class_weights))


class CrossEntropyLoss(nn.Module):
    """Cross-entropy, optionally with class weights (see :func:`cross_entropy_loss`).

    Han (2017, arXiv 1704.07239) weighs background, liver and lesion by 0.2, 1.2 and 2.2.

    Args:
        ignore_index: label of the pixels that do not count.
        class_weights: one weight per class (background and foreground for a single logit); None for equal
            ones.
    """

    class_weights: Tensor | None

    def __init__(self, ignore_index: int, *, class_weights: Sequence[NonNegativeFloat] | None = None) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.register_buffer("class_weights", weight_tensor(class_weights), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of ``(N, C, H, W)`` logits and an ``(N, H, W)`` target."""
        return cross_entropy_loss(logits, target, ignore_index=self.ignore_index, class_weights=self.class_weights)
