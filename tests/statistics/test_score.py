import math

import numpy as np
import pytest
import torch

from tests.statistics.simulated import counts_of, random_matrices
from unet_exp import metric
from unet_exp.errors import ConfigError
from unet_exp.statistics.score import (
    ISIC_JACCARD_THRESHOLD,
    absent_classes,
    case_scores,
    class_scores,
    global_scores,
    statistic,
    statistic_names,
)

HAND = [[[6, 2], [1, 3]], [[4, 0], [0, 0]]]  # class 1: TP 3, FP 2, FN 1 in the first image, absent from the second


def test_hand_worked_scores():
    counts = counts_of(HAND)
    assert class_scores(counts, "dice")[:, 0].tolist() == [12 / 15, 1.0]
    assert class_scores(counts, "dice")[0, 1] == 6 / 9
    assert math.isnan(class_scores(counts, "dice")[1, 1])
    assert global_scores(counts, "dice").tolist() == [20 / 23, 6 / 9]
    assert global_scores(counts, "iou").tolist() == [10 / 13, 3 / 6]
    assert global_scores(counts, "accuracy").tolist() == [13 / 16]
    assert absent_classes(counts).tolist() == [[False, False], [False, True]]
    assert statistic(counts, "global_dice") == pytest.approx((20 / 23 + 6 / 9) / 2)
    assert statistic(counts, "image_dice") == pytest.approx(((12 / 15 + 6 / 9) / 2 + 1) / 2)
    assert statistic(counts, "image_dice_class1") == pytest.approx(6 / 9)  # the second image has no score
    assert statistic(counts, "image_accuracy") == pytest.approx((9 / 12 + 1) / 2)


def test_nothing_to_find_and_nothing_claimed_is_right_for_a_single_class():
    counts = counts_of(HAND, scored=[1])
    assert case_scores(counts, "image_dice").tolist() == [6 / 9, 1.0]
    assert statistic(counts, "image_thresholded_iou") == pytest.approx((0 + 1) / 2)  # 3 / 6 is below 0.65


def test_an_image_without_labels_has_no_score():
    counts = counts_of([*HAND, [[0, 0], [0, 0]]], scored=[1])
    assert math.isnan(case_scores(counts, "image_dice")[2])
    assert statistic(counts, "image_dice") == pytest.approx((6 / 9 + 1) / 2)
    assert statistic(counts, "image_accuracy") == pytest.approx((9 / 12 + 1) / 2)


@pytest.mark.parametrize(("classes", "scored"), [(2, [1]), (3, [0, 1, 2]), (5, [1, 3, 4])])
def test_agrees_with_the_metric_of_training(classes, scored):
    matrices = random_matrices(50, classes, seed=classes)
    counts = counts_of(matrices, scored=scored)
    for headline, view in (("global", "global"), ("per_image", "image")):
        expected = metric.summary(
            torch.from_numpy(matrices), class_names=counts.class_names, foreground=scored, headline=headline
        )
        for name in ("dice", "iou", "accuracy", *(f"{s}_class{k}" for s in ("dice", "iou") for k in scored)):
            assert statistic(counts, f"{view}_{name}") == pytest.approx(expected[name], abs=1e-12), name
    assert absent_classes(counts)[counts.labelled > 0][:, scored].sum() == expected["image_absent"]
    if len(scored) == 1:
        assert statistic(counts, "image_thresholded_iou") == pytest.approx(expected["image_thresholded_iou"])
    assert metric.ISIC_JACCARD_THRESHOLD == ISIC_JACCARD_THRESHOLD


def test_names_of_classes_may_hold_underscores():
    counts = counts_of([[[6, 2], [1, 3]]], names=["other", "immune_infiltrate"])
    assert statistic(counts, "global_iou_immune_infiltrate") == 3 / 6


def test_the_order_of_the_classes_does_not_matter():
    matrices = random_matrices(30, 4)
    order = [2, 0, 3, 1]
    swapped = counts_of(matrices[:, order][:, :, order], scored=[order.index(k) for k in (0, 1, 3)])
    counts = counts_of(matrices, scored=[0, 1, 3])
    for name in ("global_dice", "image_iou", "global_accuracy"):
        assert statistic(swapped, name) == pytest.approx(statistic(counts, name), abs=1e-14)


def test_an_absent_class_has_no_global_score():
    counts = counts_of([[[3, 1, 0], [1, 3, 0], [0, 0, 0]]])
    assert math.isnan(statistic(counts, "global_dice_class2"))
    assert statistic(counts, "global_dice") == pytest.approx(0.75)


def test_an_unknown_statistic_lists_the_known_ones():
    counts = counts_of(random_matrices(3, 2))
    with pytest.raises(ConfigError, match=r"'dice' is unknown; choose one of global_dice, global_dice_class0"):
        statistic(counts, "dice")
    assert "image_thresholded_iou" not in statistic_names(counts)
    assert all(np.isfinite(statistic(counts, name)) for name in statistic_names(counts))
