"""Dice, IoU and pixel accuracy from confusion matrices: pure functions, and a torchmetrics shell.

A confusion matrix is ``(K, K)`` int64, rows are the truth, columns the prediction, ignored pixels are in no
cell. One matrix per image is kept; every number is derived from those, under one of two conventions:

- **global** (BCSS): add the matrices of all images, score each class, average the classes. Large images weigh
  more.
- **per image** (ISIC): score each image, average the images. Every image weighs the same.

What an absent class means, everywhere in this module:

- absent from truth *and* prediction: its score is NaN, and means leave it out; the number of such cases is
  reported as ``absent``. Only the per-image mean of a single foreground class counts it, as 1 (the ISIC
  scorer: nothing to find and nothing claimed);
- absent from the truth only (all false alarm), or from the prediction only (all missed): its score is 0;
- an image without a single labelled pixel has no score (NaN) and is left out of every mean.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

ISIC_JACCARD_THRESHOLD = 0.65
"""Below this IoU the ISIC 2018 challenge gives an image 0 (Codella et al. 2019, arXiv 1902.03368)."""

_CHUNK = 1 << 24
"""Pixels counted at a time: a whole-slide region of 100 megapixels would need gigabytes of int64 at once."""


class ClassScores(NamedTuple):
    """Scores of each class, float64 ``(..., K)``; NaN for a class absent from both truth and prediction."""

    dice: Tensor
    iou: Tensor


class Cases(NamedTuple):
    """What :class:`SegmentationMetric` has collected, in the order of the case indexes."""

    indexes: list[int]
    """The cases, ascending, each once. A list: torchmetrics would squeeze a tensor with one element."""
    matrices: Tensor
    """One confusion matrix per case, ``(len(indexes), K, K)``, int64, on the CPU."""


def confusion_matrix(preds: Tensor, target: Tensor, *, num_classes: int, ignore_index: int) -> Tensor:
    """Count the pixels of every pair (true class, predicted class).

    Integer counting: exact for any number of pixels, and the same on every run and device.

    Args:
        preds: predicted class ids, any shape; anything at ignored pixels.
        target: class ids or ``ignore_index``, same shape.
        num_classes: K, at least 2 (a binary task has background and foreground).
        ignore_index: label of the pixels that do not count.

    Returns:
        ``(K, K)`` int64, rows = truth, columns = prediction.
    """
    if preds.shape != target.shape:
        raise ValueError(
            f"Expected `preds` and `target` of the same shape, but got {tuple(preds.shape)} and {tuple(target.shape)}."
        )
    if preds.is_floating_point() or target.is_floating_point():
        raise ValueError(f"Expected class ids, but got `preds` {preds.dtype} and `target` {target.dtype}.")
    counts = torch.zeros(num_classes**2, dtype=torch.int64, device=target.device)
    for pred, true in zip(_chunks(preds), _chunks(target), strict=True):
        counts += _count_pairs(pred.long(), true.long(), num_classes=num_classes, ignore_index=ignore_index)
    return counts.view(num_classes, num_classes)


def _chunks(ids: Tensor) -> tuple[Tensor, ...]:
    return torch.split(ids.flatten(), _CHUNK)


def _count_pairs(preds: Tensor, target: Tensor, *, num_classes: int, ignore_index: int) -> Tensor:
    """Count flat int64 ids into ``(K * K,)`` cells; ignored pixels go to one more cell, which is cut off."""
    valid = target != ignore_index
    for name, ids in (("preds", preds), ("target", target)):
        outside = valid & ((ids < 0) | (ids >= num_classes))
        if outside.any():
            raise ValueError(
                f"Expected class ids from 0 to {num_classes - 1} in `{name}`, but got {int(ids[outside][0])}."
            )
    cells = torch.where(valid, target * num_classes + preds, num_classes**2)
    return torch.bincount(cells, minlength=num_classes**2 + 1)[:-1]


def class_scores(matrix: Tensor) -> ClassScores:
    r"""Return Dice :math:`2TP / (2TP + FP + FN)` and IoU :math:`TP / (TP + FP + FN)` of each class.

    Args:
        matrix: ``(..., K, K)``.

    Returns:
        float64 ``(..., K)`` each: NaN for a class absent from both truth and prediction, 0 for one that was
            missed altogether or is nothing but a false alarm.
    """
    hits = matrix.diagonal(dim1=-2, dim2=-1).double()
    both = matrix.sum(-1).double() + matrix.sum(-2)  # truth + prediction = 2TP + FP + FN
    return ClassScores(dice=2 * hits / both, iou=hits / (both - hits))


def pixel_accuracy(matrix: Tensor) -> Tensor:
    """Return the share of right pixels, float64 ``(...)``; NaN without any labelled pixel."""
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1).double() / matrix.sum((-2, -1))


def absent_classes(matrix: Tensor) -> Tensor:
    """Return which classes are in neither truth nor prediction (their scores are NaN), bool ``(..., K)``."""
    return (matrix.sum(-1) + matrix.sum(-2)) == 0


def macro_mean(scores: Tensor, classes: Sequence[int]) -> Tensor:
    """Average ``(..., K)`` scores over the given classes that are not NaN; NaN if all of them are.

    Args:
        scores: one of :class:`ClassScores`.
        classes: ids of the classes that count.
    """
    return scores[..., list(classes)].nanmean(-1)


def image_scores(matrices: Tensor, *, classes: Sequence[int], empty: float = torch.nan) -> ClassScores:
    """Return one Dice and one IoU per image, float64 ``(N,)`` each: the numbers to pair between two networks.

    It is the mean over the classes that truth or prediction contains. Without labelled pixels it is NaN.

    Args:
        matrices: one confusion matrix per image, ``(N, K, K)``.
        classes: ids of the classes that count.
        empty: score of an image in which neither truth nor prediction contains any of them; 1 in the ISIC
            scorer.
    """
    nothing = absent_classes(matrices)[:, list(classes)].all(-1) & (matrices.sum((-2, -1)) > 0)
    dice, iou = (macro_mean(scores, classes).masked_fill(nothing, empty) for scores in class_scores(matrices))
    return ClassScores(dice=dice, iou=iou)


def thresholded_iou(iou: Tensor, threshold: float = ISIC_JACCARD_THRESHOLD) -> Tensor:
    """Set IoUs below the threshold to 0 and keep the others (and NaN): the ranking metric of ISIC 2018."""
    return torch.where(iou < threshold, torch.zeros_like(iou), iou)


def summary(
    matrices: Tensor,
    *,
    class_names: Sequence[str],
    foreground: Sequence[int],
    headline: Literal["global", "per_image"],
) -> dict[str, float]:
    """Turn the matrices of a data set into named numbers, under the module's policy on absent classes.

    ``global_*`` come from the summed matrix and ``image_*`` are means over images: ``dice`` and ``iou`` of
    the foreground classes, ``accuracy`` of all pixels, and ``absent``, how many foreground classes (of the
    data set, or of each image, added up) are in neither truth nor prediction. The names without prefix repeat
    those of the chosen headline, and add its ``dice_<class>`` and ``iou_<class>`` for each foreground class.
    ``images`` counts the images with a labelled pixel. A single foreground class also gets
    ``image_thresholded_iou``. A mean over nothing is NaN. With several classes ``image_dice`` averages each
    image's own macro mean, so it is not the mean of the ``dice_<class>``.

    Args:
        matrices: one confusion matrix per image, ``(N, K, K)``.
        class_names: the K names.
        foreground: ids of the classes that count: all of them for tissue, the lesion for a lesion.
        headline: ``global`` where a data set is scored as one image (BCSS), ``per_image`` where each image is
            a case (ISIC).
    """
    num_classes = matrices.shape[-1]
    if len(class_names) != num_classes or not foreground or not set(foreground) <= set(range(num_classes)):
        raise ValueError(
            f"Expected {num_classes} `class_names` and `foreground` ids below {num_classes}, but got "
            f"{list(class_names)} and {list(foreground)}."
        )
    matrices = matrices[matrices.sum((-2, -1)) > 0]
    names = {index: class_names[index] for index in foreground}
    empty = 1.0 if len(foreground) == 1 else torch.nan
    views = {
        "global": _mean_scores(matrices.sum(0, keepdim=True), names, empty=torch.nan),
        "image": _mean_scores(matrices, names, empty=empty),
    }
    result = dict(views["global" if headline == "global" else "image"])
    for view, values in views.items():
        result |= {f"{view}_{key}": values[key] for key in ("dice", "iou", "accuracy", "absent")}
    if len(foreground) == 1:
        iou = image_scores(matrices, classes=foreground, empty=empty).iou
        result["image_thresholded_iou"] = float(thresholded_iou(iou).nanmean())
    return {**result, "images": float(len(matrices))}


def _mean_scores(matrices: Tensor, names: dict[int, str], *, empty: float) -> dict[str, float]:
    """Average the scores of ``(N, K, K)`` matrices over N; ``names`` of the classes that count, by id."""
    classes = list(names)
    scores = image_scores(matrices, classes=classes, empty=empty)
    means = {
        "dice": float(scores.dice.nanmean()),
        "iou": float(scores.iou.nanmean()),
        "accuracy": float(pixel_accuracy(matrices).nanmean()),
        "absent": float(absent_classes(matrices)[:, classes].sum()),
    }
    for index, name in names.items():
        scores = image_scores(matrices, classes=[index], empty=empty)
        means[f"dice_{name}"] = float(scores.dice.nanmean())
        means[f"iou_{name}"] = float(scores.iou.nanmean())
    return means


class SegmentationMetric(Metric):
    """Collects one confusion matrix per case, over batches and processes.

    Keeping the matrices, rather than running sums, lets every convention come from one source, and lets a
    case that a padded distributed sampler served twice be dropped, so the result does not depend on the
    number of processes.

    Args:
        num_classes: K, at least 2.
        ignore_index: label of the pixels that do not count.
    """

    is_differentiable = False
    full_state_update = False
    matrices: list[Tensor]
    indexes: list[Tensor]

    def __init__(self, num_classes: int, *, ignore_index: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.add_state("matrices", default=[], dist_reduce_fx="cat")
        self.add_state("indexes", default=[], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Forget all cases.

        The empty tensors left behind have the right type and shape: a process that got no case (fewer cases
        than processes) would otherwise gather a float vector with the others' integer matrices, which hangs
        or fails.
        """
        super().reset()
        size = (0, self.num_classes, self.num_classes)
        self.matrices.append(torch.zeros(size, dtype=torch.int64, device=self.device))
        self.indexes.append(torch.zeros((0, 2), dtype=torch.int64, device=self.device))

    def update(
        self, preds: Tensor, target: Tensor, index: int | Sequence[int] | Tensor, view: int | Sequence[int] = 0
    ) -> None:
        """Add one view of a case ``(H, W)``, or a batch of them ``(N, H, W)``.

        A picture is one view: stitch its tiles first. The slices of a volume are its views; their counts are
        summed. A second update with the same index and view is a duplicate.

        Args:
            preds: predicted class ids.
            target: class ids or ``ignore_index``.
            index: the case's number in the data set, or N of them.
            view: the view's number in the case, or N of them.
        """
        if target.ndim == 2:
            preds, target = preds.unsqueeze(0), target.unsqueeze(0)
        cases = torch.as_tensor(index, dtype=torch.int64, device=self.device).reshape(-1)
        views = torch.as_tensor(view, dtype=torch.int64, device=self.device).reshape(-1).expand(len(cases))
        indexes = torch.stack([cases, views], dim=1)
        if not len(preds) == len(target) == len(indexes):
            raise ValueError(
                f"Expected one prediction and one case index for each of the {len(target)} images, "
                f"but got {len(preds)} and {len(indexes)}."
            )
        for pred, true in zip(preds, target, strict=True):
            matrix = confusion_matrix(pred, true, num_classes=self.num_classes, ignore_index=self.ignore_index)
            self.matrices.append(matrix.unsqueeze(0))
        self.indexes.append(indexes)

    def compute(self) -> Cases:
        """Return all cases, of all processes, in the order of their index and each once."""
        matrices = dim_zero_cat(self.matrices).cpu()
        first: dict[tuple[int, int], int] = {}
        for position, (index, view) in enumerate(dim_zero_cat(self.indexes).tolist()):
            known = first.setdefault((index, view), position)
            # Predictions may differ in the last bit between two devices, but the truth of a case may not.
            if not torch.equal(matrices[known].sum(-1), matrices[position].sum(-1)):
                raise ValueError(
                    f"Expected each index to name one case, but index {index} came with two different truths."
                )
        views: dict[int, list[int]] = {}
        for (index, _), position in sorted(first.items()):
            views.setdefault(index, []).append(position)
        size = (0, self.num_classes, self.num_classes)
        summed = [matrices[positions].sum(0, keepdim=True) for positions in views.values()]
        return Cases(indexes=list(views), matrices=torch.cat([matrices.new_zeros(size), *summed]))
