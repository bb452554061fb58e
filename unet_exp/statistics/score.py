"""Scores from pixel counts, and each named statistic as a mean of ratios of sums.

The conventions are those of `unet_exp.metric`: a class that is in neither truth nor prediction has no score (NaN) and
is left out of means; an image without labelled pixels has no score; an image with neither truth nor prediction of the
only scored class scores 1 (the ISIC rule).
"""

from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from unet_exp.errors import ConfigError
from unet_exp.statistics.counts import CaseCounts

Floats = NDArray[np.float64]
Score = Literal["dice", "iou", "accuracy"]

ISIC_JACCARD_THRESHOLD = 0.65
"""Below this IoU the ISIC 2018 challenge gives an image 0 (Codella et al. 2019, arXiv 1902.03368)."""


@dataclass(frozen=True, eq=False)
class Ratios:
    r"""A statistic :math:`\operatorname{mean}_r \sum_n numerators_{nr} / \sum_n denominators_{nr}`.

    Every statistic of this package has this form, so any weighting of the cases is one matrix product: the global
    Dice of class r is :math:`\sum 2TP / \sum (2TP + FP + FN)`; a mean over images is the sum of the scores divided by
    the number of images that have one. Ratios 0/0 (absent classes) are left out of the mean.

    Args:
        numerators: (N, R).
        denominators: (N, R).
    """

    numerators: Floats
    denominators: Floats

    def sum_by(self, groups: NDArray[np.intp], count: int) -> Self:
        """Add up the rows of each group.

        Args:
            groups: Number of each row's group, (N,).
            count: Number of groups, the rows of the result.
        """
        numerators, denominators = np.zeros((2, count, self.numerators.shape[1]))
        np.add.at(numerators, groups, self.numerators)
        np.add.at(denominators, groups, self.denominators)
        return type(self)(numerators, denominators)

    def combine(self, numerators: Floats, denominators: Floats) -> Floats:
        """The statistic of sums over rows, (..., R) to (...); NaN where it is undefined."""
        return mean_of_ratios(numerators, denominators)

    def value(self) -> float:
        """The statistic with every row counted once; NaN if it is undefined."""
        return float(self.combine(self.numerators.sum(0), self.denominators.sum(0)))


@dataclass(frozen=True, eq=False)
class AbsoluteRatios(Ratios):
    r"""A statistic :math:`\sum_r |\sum_n numerators_{nr} / \sum_n denominators_{nr}|`.

    The expected calibration error has this form: r is a bin of confidence, the numerator how much the confidence of
    its pixels exceeds their accuracy, the denominator the number of all pixels.
    """

    def combine(self, numerators: Floats, denominators: Floats) -> Floats:
        """The statistic of sums over rows, (..., R) to (...); NaN where it is undefined."""
        return np.asarray(np.abs(divide(numerators, denominators)).sum(-1))


def mean_of_ratios(numerators: Floats, denominators: Floats) -> Floats:
    """Mean over the last axis of the defined ratios, (..., R) to (...); NaN where none is defined."""
    defined = denominators > 0
    ratios = np.divide(numerators, denominators, out=np.zeros_like(numerators), where=defined)
    return divide(ratios.sum(-1), defined.sum(-1).astype(np.float64))


def statistic_names(counts: CaseCounts) -> list[str]:
    """Names that `ratios` and `case_scores` know.

    `global_*` scores the summed counts of all images, `image_*` is the mean over images; `dice` and `iou` are means
    over the scored classes, `dice_<class>` and `iou_<class>` of one of them, `accuracy` is over all pixels. A single
    scored class also has `image_thresholded_iou`.
    """
    suffixes = ["", *(f"_{counts.class_names[i]}" for i in counts.scored)]
    scores = [*(f"{score}{suffix}" for score in ("dice", "iou") for suffix in suffixes), "accuracy"]
    names = [f"{view}_{score}" for view in ("global", "image") for score in scores]
    return [*names, "image_thresholded_iou"] if len(counts.scored) == 1 else names


def statistic(counts: CaseCounts, name: str) -> float:
    """The value of a named statistic; NaN if it is undefined, see `statistic_names`."""
    return ratios(counts, name).value()


def ratios(counts: CaseCounts, name: str) -> Ratios:
    """A named statistic as a mean of ratios of sums over the N cases.

    Raises:
        ConfigError: If there is no such statistic.
    """
    view, _ = _parse(counts, name)
    if view == "image":
        scores = case_scores(counts, name)[:, None]
        return Ratios(np.nan_to_num(scores), (~np.isnan(scores)).astype(np.float64))
    score, classes = _score_and_classes(counts, name)
    numerators, denominators = _terms(counts, score)
    return Ratios(numerators[:, classes], denominators[:, classes])


def case_scores(counts: CaseCounts, name: str) -> Floats:
    """The score of each image that belongs to a named statistic, (N,); NaN where there is none.

    For a `global_*` statistic it is the same score, of each image by itself.

    Raises:
        ConfigError: If there is no such statistic.
    """
    _, rest = _parse(counts, name)
    if rest == "thresholded_iou":
        iou = case_scores(counts, "image_iou")
        return np.where(iou < ISIC_JACCARD_THRESHOLD, 0.0, iou)
    score, classes = _score_and_classes(counts, name)
    numerators, denominators = _terms(counts, score)
    scores = mean_of_ratios(numerators[:, classes], denominators[:, classes])
    nothing = np.isnan(scores) & (counts.labelled > 0) & (len(counts.scored) == 1)
    return np.where(nothing, 1.0, scores)


def class_scores(counts: CaseCounts, score: Score) -> Floats:
    """Score of each class in each image, (N, K), or of the image, (N, 1), for accuracy; NaN for an absent class."""
    return divide(*_terms(counts, score))


def global_scores(counts: CaseCounts, score: Score) -> Floats:
    """Score of each class from the summed counts of all images, (K,), or (1,) for accuracy; NaN if it is absent."""
    numerators, denominators = _terms(counts, score)
    return divide(numerators.sum(0), denominators.sum(0))


def absent_classes(counts: CaseCounts) -> NDArray[np.bool_]:
    """Which classes are in neither truth nor prediction of each image, (N, K): what means leave out."""
    absent: NDArray[np.bool_] = (counts.truth + counts.prediction) == 0
    return absent


def _terms(counts: CaseCounts, score: Score) -> tuple[Floats, Floats]:
    """Numerator and denominator of a score, (N, K) each, or (N, 1) for accuracy."""
    hits = counts.true_positives
    both = counts.truth + counts.prediction
    terms = {
        "dice": (2 * hits, both),
        "iou": (hits, both - hits),
        "accuracy": (counts.correct[:, None], counts.labelled[:, None]),
    }[score]
    return terms[0].astype(np.float64), terms[1].astype(np.float64)


def divide(numerators: Floats, denominators: Floats) -> Floats:
    """Quotients, NaN where the denominator is 0: absent classes, images without labels."""
    return np.divide(numerators, denominators, out=np.full_like(numerators, np.nan), where=denominators > 0)


def _parse(counts: CaseCounts, name: str) -> tuple[str, str]:
    known = statistic_names(counts)
    if name not in known:
        raise ConfigError([f"statistic: {name!r} is unknown; choose one of {', '.join(known)}."])
    view, _, rest = name.partition("_")
    return view, rest


def _score_and_classes(counts: CaseCounts, name: str) -> tuple[Score, list[int]]:
    """Which score, of which columns of its terms."""
    _, rest = _parse(counts, name)
    prefix, _, class_name = rest.partition("_")
    score = next(known for known in get_args(Score) if known == prefix)
    if score == "accuracy":
        return score, [0]
    return score, [counts.class_names.index(class_name)] if class_name else list(counts.scored)
