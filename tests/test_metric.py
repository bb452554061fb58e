import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_jaccard_index,
)

from unet_exp.metric import (
    absent_classes,
    class_scores,
    confusion_matrix,
    image_scores,
    macro_mean,
    pixel_accuracy,
    summary,
    thresholded_iou,
)

IGNORE = 255
NAN = math.nan


def random_masks(num_classes, *, images=6, size=24, seed=0, error=0.3, ignored=0.1):
    """Truth in coarse blocks and a prediction with some wrong pixels; classes are absent here and there."""
    rng = np.random.default_rng(seed)
    target = rng.integers(num_classes, size=(images, size // 8, size // 8)).repeat(8, 1).repeat(8, 2)
    preds = np.where(rng.random(target.shape) < error, rng.integers(num_classes, size=target.shape), target)
    target = np.where(rng.random(target.shape) < ignored, IGNORE, target)
    return torch.from_numpy(preds), torch.from_numpy(target)


def matrices_of(preds, target, num_classes):
    pairs = zip(preds, target, strict=True)
    options = {"num_classes": num_classes, "ignore_index": IGNORE}
    return torch.stack([confusion_matrix(p, t, **options) for p, t in pairs])


def matrix_of(preds, target, num_classes=2):
    preds, target = torch.tensor(preds), torch.tensor(target)
    return confusion_matrix(preds, target, num_classes=num_classes, ignore_index=IGNORE)


# An independent implementation: boolean masks instead of confusion matrices.


def numpy_scores(preds, target, k):
    """(Dice, IoU) of class k; NaN if it is in neither."""
    valid = target != IGNORE
    p, t = (preds == k) & valid, (target == k) & valid
    if not p.any() and not t.any():
        return NAN, NAN
    return 2 * (p & t).sum() / (p.sum() + t.sum()), (p & t).sum() / (p | t).sum()


def numpy_accuracy(preds, target):
    valid = target != IGNORE
    return (preds[valid] == target[valid]).mean()


def nanmean(values):
    values = [value for value in values if not math.isnan(value)]
    return sum(values) / len(values) if values else NAN


def numpy_summary(preds, target, classes):
    """Every number of a data set, with both empty = 1 per image if a single class counts."""
    result = {}
    for index, name in enumerate(("dice", "iou")):
        result[f"global_{name}"] = nanmean([numpy_scores(preds, target, k)[index] for k in classes])
        images = [nanmean([numpy_scores(p, t, k)[index] for k in classes]) for p, t in zip(preds, target, strict=True)]
        if len(classes) == 1:
            images = [1.0 if math.isnan(value) else value for value in images]
        result[f"image_{name}"] = nanmean(images)
    result["global_accuracy"] = numpy_accuracy(preds, target)
    result["image_accuracy"] = np.mean([numpy_accuracy(p, t) for p, t in zip(preds, target, strict=True)])
    return result


class TestConfusionMatrix:
    @pytest.mark.parametrize("num_classes", [2, 5])
    def test_agrees_with_torchmetrics(self, num_classes):
        preds, target = random_masks(num_classes)
        result = confusion_matrix(preds, target, num_classes=num_classes, ignore_index=IGNORE)
        expected = multiclass_confusion_matrix(preds, target, num_classes, ignore_index=IGNORE)
        assert torch.equal(result, expected)
        assert result.dtype == torch.int64

    def test_rows_are_the_truth_and_columns_the_prediction(self):
        assert matrix_of([1, 1, 0], [0, 0, 1]).tolist() == [[0, 2], [1, 0]]

    def test_ignored_pixels_count_nowhere_whatever_is_predicted_there(self):
        assert matrix_of([1, 0, 200], [1, IGNORE, IGNORE]).tolist() == [[0, 0], [0, 1]]

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
    def test_any_integer_type(self, dtype):
        preds, target = random_masks(5)
        result = confusion_matrix(preds.to(dtype), target.to(dtype), num_classes=5, ignore_index=IGNORE)
        assert torch.equal(result, confusion_matrix(preds, target, num_classes=5, ignore_index=IGNORE))

    def test_chunks_add_up(self, monkeypatch):
        preds, target = random_masks(5)
        whole = confusion_matrix(preds, target, num_classes=5, ignore_index=IGNORE)
        monkeypatch.setattr("unet_exp.metric._CHUNK", 100)
        assert torch.equal(confusion_matrix(preds, target, num_classes=5, ignore_index=IGNORE), whole)

    @pytest.mark.parametrize(
        ("preds", "target", "message"),
        [
            pytest.param([0, 1], [0, 7], "from 0 to 1 in `target`, but got 7", id="unknown-label"),
            pytest.param([0, 2], [0, 0], "from 0 to 1 in `preds`, but got 2", id="unknown-prediction"),
            pytest.param([0, -1], [0, 0], "from 0 to 1 in `preds`, but got -1", id="negative-prediction"),
            pytest.param([0.2, 0.7], [0, 1], "Expected class ids", id="logits"),
            pytest.param([0, 1, 1], [0, 1], "of the same shape", id="shapes"),
        ],
    )
    def test_bad_input_is_refused(self, preds, target, message):
        with pytest.raises(ValueError, match=message):
            matrix_of(preds, target)


class TestClassScores:
    @pytest.mark.parametrize("num_classes", [2, 5])
    def test_agree_with_numpy_per_image(self, num_classes):
        preds, target = random_masks(num_classes)
        scores = class_scores(matrices_of(preds, target, num_classes))
        expected = [
            [numpy_scores(p, t, k) for k in range(num_classes)]
            for p, t in zip(preds.numpy(), target.numpy(), strict=True)
        ]
        np.testing.assert_allclose(torch.stack(scores, -1), expected, atol=1e-6)
        assert scores.dice.dtype == torch.float64

    def test_agree_with_torchmetrics_when_all_classes_are_present(self):
        preds, target = random_masks(4, images=20)
        scores = class_scores(confusion_matrix(preds, target, num_classes=4, ignore_index=IGNORE))
        options = {"num_classes": 4, "average": "none", "ignore_index": IGNORE}
        dice = multiclass_f1_score(preds, target, **options)
        iou = multiclass_jaccard_index(preds, target, **options)
        torch.testing.assert_close(scores.dice, dice.double(), atol=1e-6, rtol=0)
        torch.testing.assert_close(scores.iou, iou.double(), atol=1e-6, rtol=0)

    def test_absent_class_is_nan(self):
        matrix = matrix_of([0, 1], [0, 1], num_classes=3)
        assert class_scores(matrix).dice.isnan().tolist() == [False, False, True]
        assert class_scores(matrix).iou.isnan().tolist() == [False, False, True]
        assert absent_classes(matrix).tolist() == [False, False, True]

    @pytest.mark.parametrize(
        ("preds", "target"),
        [pytest.param([0, 0], [0, 1], id="missed-structure"), pytest.param([0, 1], [0, 0], id="false-alarm")],
    )
    def test_is_zero_for(self, preds, target):
        matrix = matrix_of(preds, target)
        assert class_scores(matrix).dice[1] == class_scores(matrix).iou[1] == 0
        assert not absent_classes(matrix)[1]

    def test_false_alarm_in_ignored_pixels_is_none(self):
        assert absent_classes(matrix_of([0, 1], [0, IGNORE]))[1]

    def test_all_ignored_is_nan(self):
        matrix = matrix_of([0, 1], [IGNORE, IGNORE])
        assert class_scores(matrix).dice.isnan().all()
        assert pixel_accuracy(matrix).isnan()
        assert absent_classes(matrix).all()

    def test_pixel_counts_beyond_float32_are_exact(self):
        hits = 2**40 + 1
        matrix = torch.tensor([[hits, 1], [0, 1]])
        assert pixel_accuracy(matrix) == (hits + 1) / (hits + 2)
        assert class_scores(matrix).dice[0] == 2 * hits / (2 * hits + 1)


class TestAggregation:
    def test_macro_mean_is_over_the_chosen_classes_present(self):
        scores = torch.tensor([[0.2, NAN, 0.8], [0.5, NAN, NAN]])
        assert macro_mean(scores, [0, 1, 2]).tolist() == pytest.approx([0.5, 0.5])
        assert macro_mean(scores, [1, 2]).tolist() == pytest.approx([0.8, NAN], nan_ok=True)

    @pytest.mark.parametrize(("empty", "expected"), [(NAN, NAN), (1.0, 1.0)])
    def test_both_empty_follows_the_argument(self, empty, expected):
        matrices = matrix_of([0, 0], [0, 0]).unsqueeze(0)
        scores = image_scores(matrices, classes=[1], empty=empty)
        assert [float(scores.dice), float(scores.iou)] == pytest.approx([expected] * 2, nan_ok=True)

    def test_all_ignored_image_has_no_score_even_where_both_empty_is_one(self):
        matrices = torch.zeros(1, 2, 2, dtype=torch.int64)
        assert image_scores(matrices, classes=[1], empty=1.0).dice.isnan().all()

    def test_thresholded_iou(self):
        iou = torch.tensor([0.0, 0.6499, 0.65, 0.9, NAN])
        assert thresholded_iou(iou).tolist() == pytest.approx([0, 0, 0.65, 0.9, NAN], nan_ok=True)


TISSUE = {"class_names": ["tumor", "stroma", "other"], "foreground": [0, 1, 2], "headline": "global"}
LESION = {"class_names": ["background", "lesion"], "foreground": [1], "headline": "per_image"}


class TestSummary:
    @pytest.mark.parametrize("options", [TISSUE, LESION], ids=["tissue", "lesion"])
    @pytest.mark.parametrize("seed", range(3))
    def test_agrees_with_numpy(self, options, seed):
        num_classes = len(options["class_names"])
        preds, target = random_masks(num_classes, images=12, size=16, seed=seed, error=0.05 * seed)
        result = summary(matrices_of(preds, target, num_classes), **options)
        expected = numpy_summary(preds.numpy(), target.numpy(), options["foreground"])
        assert {key: result[key] for key in expected} == pytest.approx(expected, abs=1e-6)

    def test_unprefixed_names_follow_the_headline(self):
        preds, target = random_masks(3)
        matrices = matrices_of(preds, target, 3)
        for headline, prefix in (("global", "global"), ("per_image", "image")):
            result = summary(matrices, **{**TISSUE, "headline": headline})
            for name in ("dice", "iou", "accuracy", "absent"):
                assert result[name] == result[f"{prefix}_{name}"]
        assert result["global_dice"] != result["image_dice"]

    def test_names(self):
        preds, target = random_masks(2)
        four = {"dice", "iou", "accuracy", "absent"}
        assert set(summary(matrices_of(preds, target, 2), **LESION)) == {
            *four,
            *(f"{view}_{name}" for view in ("global", "image") for name in four),
            *("dice_lesion", "iou_lesion", "image_thresholded_iou", "images"),
        }

    def test_class_scores_follow_the_headline(self):
        matrices = torch.stack([matrix_of([0, 1, 1], [0, 0, 1]), matrix_of([0, 0, 1], [0, 1, 1])])
        both = {"class_names": ["a", "b"], "foreground": [0, 1]}
        result = summary(matrices, **both, headline="per_image")
        assert result["dice_b"] == pytest.approx((2 / 3 + 2 / 3) / 2)
        result = summary(matrices, **both, headline="global")
        assert result["dice_b"] == pytest.approx(2 * 2 / (3 + 3))
        assert result["dice"] == pytest.approx((result["dice_a"] + result["dice_b"]) / 2)

    def test_small_image_weighs_as_much_as_a_large_one_only_per_image(self):
        matrices = torch.tensor([[[0, 0], [0, 900]], [[0, 0], [100, 0]]])
        result = summary(matrices, **LESION)
        assert result["image_dice"] == 0.5
        assert result["global_dice"] == pytest.approx(1800 / 1900)

    def test_absent_class_is_left_out_and_counted_for_several_classes(self):
        matrices = torch.stack([matrix_of([0, 1], [0, 1], 3), matrix_of([0, 2], [0, 2], 3)])
        result = summary(matrices, **TISSUE)
        assert result["image_dice"] == result["global_dice"] == 1
        assert (result["global_absent"], result["image_absent"]) == (0, 2)

    @pytest.mark.parametrize("headline", ["global", "per_image"])
    def test_class_absent_everywhere_is_nan_and_counted(self, headline):
        result = summary(matrix_of([0, 1], [0, 1], 3).unsqueeze(0), **{**TISSUE, "headline": headline})
        assert math.isnan(result["dice_other"])
        assert math.isnan(result["iou_other"])
        assert result["dice"] == 1
        assert result["global_absent"] == result["image_absent"] == 1

    def test_both_empty_is_one_for_a_single_class_and_counted(self):
        matrices = torch.stack([matrix_of([0, 0], [0, 0]), matrix_of([0, 1], [0, 0])])
        result = summary(matrices, **LESION)
        assert result["image_dice"] == result["image_iou"] == result["image_thresholded_iou"] == 0.5
        assert result["dice_lesion"] == 0.5
        assert result["image_absent"] == 1
        assert result["global_dice"] == 0  # one image's false alarm is all there is

    def test_false_alarm_and_missed_structure_are_zero(self):
        matrices = torch.stack([matrix_of([0, 1], [0, 0]), matrix_of([0, 0], [0, 1])])
        result = summary(matrices, **LESION)
        assert result["image_dice"] == result["image_iou"] == 0
        assert result["image_absent"] == 0

    def test_perfect_prediction_is_one(self):
        _, target = random_masks(3, ignored=0)
        result = summary(matrices_of(target, target, 3), **TISSUE)
        assert {result[key] for key in ("global_dice", "image_dice", "global_iou", "dice_other")} == {1.0}
        assert result["global_accuracy"] == result["image_accuracy"] == 1

    def test_thresholded_iou_is_the_mean_over_images(self):
        matrices = torch.tensor([[[5, 0], [3, 7]], [[5, 0], [4, 6]]])  # IoU 0.7 and 0.6
        assert summary(matrices, **LESION)["image_thresholded_iou"] == pytest.approx(0.35)

    def test_all_ignored_image_is_left_out_of_every_number(self):
        preds, target = random_masks(2)
        matrices = matrices_of(preds, target, 2)
        more = torch.cat([matrices, torch.zeros(1, 2, 2, dtype=torch.int64)])
        assert summary(more, **LESION) == summary(matrices, **LESION)

    def test_no_labelled_image_at_all_is_nan(self):
        result = summary(torch.zeros(2, 2, 2, dtype=torch.int64), **LESION)
        assert result["images"] == 0
        assert math.isnan(result["global_dice"])
        assert math.isnan(result["image_dice"])  # not 1: nothing is known, rather than known to be empty

    @pytest.mark.parametrize("change", [{"class_names": ["one"]}, {"foreground": []}, {"foreground": [2]}])
    def test_wrong_classes_are_refused(self, change):
        with pytest.raises(ValueError, match="Expected 2 `class_names` and `foreground` ids below 2"):
            summary(torch.zeros(1, 2, 2, dtype=torch.int64), **{**LESION, **change})
