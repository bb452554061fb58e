import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tests.statistics.simulated import counts_of, difficulty, lesion_run, model_runs, random_matrices
from unet_exp.errors import ConfigError, DataError
from unet_exp.statistics.paired import compare, verdicts

NOTHING = "no difference shown"


def pair(seed=0, *, images=40, shift=0.0, seeds=3, **options):
    rng = np.random.default_rng(seed)
    base = difficulty(rng, images)
    return (
        model_runs(rng, base, seeds=seeds, shift=shift, **options),
        model_runs(rng, base, seeds=seeds, **options),
    )


def answer(comparison):
    return verdicts([comparison])[0].answer


class TestByHand:
    """Accuracy is 1/2 + s/2 for a found share s, and the global one is the mean over images: the algebra is short."""

    def test_values(self):
        a = [lesion_run([0.6, 0.8]), lesion_run([0.7, 0.9])]
        b = [lesion_run([0.5, 0.5]), lesion_run([0.5, 0.5]), lesion_run([0.5, 0.8])]
        result = compare(a, b, "global_accuracy")
        assert result.value_a == pytest.approx((0.85 + 0.90) / 2)
        assert result.value_b == pytest.approx((0.75 + 0.75 + 0.825) / 3)
        assert result.difference == pytest.approx(0.1)
        assert result.seed_sd == pytest.approx((0.05 / math.sqrt(2), 0.075 / math.sqrt(3)))
        assert result.seeds == (2, 3)

    def test_standard_error_of_images_is_that_of_paired_differences(self):
        differences = np.random.default_rng(0).normal(0.02, 0.05, 40)
        a, b = lesion_run(0.7 + differences), lesion_run(np.full(40, 0.7))
        result = compare([a], [b], "global_accuracy")
        assert result.standard_error.images == pytest.approx(stats.sem(differences / 2), rel=0.03)
        assert result.t_p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, rel=0.1)
        assert result.standard_error.degrees_of_freedom == 39
        assert result.smallest_detectable == pytest.approx((2.0227 + 0.8512) * result.standard_error.total, rel=1e-3)

    def test_standard_error_of_seeds_is_that_of_two_means(self):
        """The same luck in every image: images add nothing, the rest is Welch's test."""
        rng = np.random.default_rng(0)
        base, luck = difficulty(rng, 40), [rng.normal(0, 0.02, 4), rng.normal(0, 0.04, 6)]
        a, b = ([lesion_run(base + one) for one in model] for model in luck)
        result = compare(a, b, "global_accuracy")
        assert result.standard_error.images < 1e-5  # whole pixels
        assert result.standard_error.seeds == pytest.approx(math.hypot(*(stats.sem(x / 2) for x in luck)), rel=1e-3)
        assert result.t_p == pytest.approx(stats.ttest_ind(*luck, equal_var=False).pvalue, rel=1e-2)

    def test_the_parts_add_up_to_the_spread_of_the_interval(self):
        a, b = pair(seeds=6, images=80)
        error = compare(a, b, "image_dice").standard_error
        interval = compare(a, b, "image_dice", level=0.6827).interval
        assert error.total == pytest.approx(math.hypot(error.images, error.seeds))
        assert (interval.high - interval.low) / 2 == pytest.approx(error.total, rel=0.05)

    def test_wilcoxon_uses_one_difference_per_cluster(self):
        """Images of one patient: five patients, all differences positive, p = 2/32 however many images they have."""
        clusters = np.repeat(list("vwxyz"), 8)
        b = lesion_run(np.full(40, 0.5), clusters=clusters)
        a = lesion_run(0.5 + np.repeat([0.01, 0.02, 0.03, 0.04, 0.05], 8), clusters=clusters)
        result = compare([a], [b], "global_dice")
        assert result.wilcoxon_p == 2 / 32
        assert result.permutation_p == 2 / 32
        assert "5 clusters" in result.interval.warnings[0]

    def test_wilcoxon_averages_clusters_of_unequal_size(self):
        """The loss is the second smallest of five: 3 patterns of 32 on each side have as little below zero."""
        clusters = np.array(["v"] * 8 + list("wxyz"))
        b = lesion_run(np.full(12, 0.5), clusters=clusters)
        a = lesion_run([*[0.51] * 8, 0.48, 0.53, 0.54, 0.55], clusters=clusters)
        assert compare([a], [b], "image_dice").wilcoxon_p == 6 / 32

    def test_models_with_more_seeds_do_not_weigh_more(self):
        a, b = pair(images=10, seeds=1)
        equal, unequal = compare(a, b, "global_dice"), compare(a * 3, b, "global_dice")
        assert unequal.permutation_p == equal.permutation_p
        assert unequal.difference == pytest.approx(equal.difference)


class TestVerdict:
    def test_a_planted_effect_is_found_in_either_direction(self):
        a, b = pair(shift=0.06)
        first, second = compare(a, b, "image_dice"), compare(b, a, "image_dice")
        assert [v.answer for v in verdicts([first, second])] == ["better", "worse"]
        assert second.difference == pytest.approx(-first.difference)
        assert (second.permutation_p, second.wilcoxon_p, second.t_p) == pytest.approx(
            (first.permutation_p, first.wilcoxon_p, first.t_p), rel=1e-6
        )
        assert second.interval.low == pytest.approx(-first.interval.high, abs=2e-3)

    def test_the_same_runs_twice(self):
        a, _ = pair()
        result = compare(a, a, "global_dice")
        assert (result.difference, result.permutation_p, result.wilcoxon_p, result.t_p) == (0, 1, 1, 1)
        assert answer(result) == NOTHING

    @pytest.mark.parametrize(
        ("seeds", "options"),
        [
            (3, {"seed_sd": 0.02, "noise": 0.01}),
            (2, {"seed_sd": 0.02, "noise": 0.02}),
            (3, {"seed_sd": 0, "noise": 0.03}),
        ],
    )
    def test_one_model_trained_twice_is_not_called_different(self, seeds, options):
        """At most 5 % false answers: 150 comparisons give no more than 14 with a chance of 99 %."""
        results = [compare(*pair(i, seeds=seeds, **options), "global_dice", draws=500) for i in range(150)]
        assert sum(answer(result) != NOTHING for result in results) <= 14

    def test_images_alone_would_take_luck_for_skill(self):
        """Why the p-value is the larger of two: with lucky seeds every image improves."""
        results = [compare(*pair(i, seed_sd=0.02, noise=0.01), "global_dice", draws=500) for i in range(30)]
        assert np.mean([result.permutation_p < 0.05 for result in results]) > 0.5

    def test_the_family_raises_the_bar(self):
        found = compare(*pair(shift=0.06), "image_dice")
        marginal = replace(found, permutation_p=0.02, t_p=0.001)
        assert answer(marginal) == "better"
        family = verdicts([marginal, *[compare(*pair(i), "image_dice") for i in range(1, 4)]])
        assert family[0].answer == NOTHING
        assert family[0].adjusted_p == pytest.approx(0.08)

    def test_needs_both_the_test_and_the_interval(self):
        found = compare(*pair(shift=0.06), "image_dice")
        assert answer(replace(found, t_p=0.2)) == NOTHING
        assert answer(replace(found, permutation_p=0.2)) == NOTHING
        assert answer(replace(found, interval=replace(found.interval, low=-0.001))) == NOTHING
        assert verdicts([found], alpha=found.p_value / 2)[0].answer == NOTHING

    def test_one_cluster_shows_nothing(self):
        clusters = ["p"] * 20
        a, b = (lesion_run(np.full(20, share), clusters=clusters) for share in (0.9, 0.5))
        result = compare([a], [b], "image_dice")
        assert math.isnan(result.standard_error.total)
        assert result.p_value == 1
        assert answer(result) == NOTHING

    def test_the_smallest_detectable_difference_is_mostly_detected(self):
        """Many images and seeds whose spread is known: with 2.8 standard errors of shift, 80 % are found."""
        options = {"seeds": 6, "images": 60, "seed_sd": 0.02, "noise": 0.005}
        expected = compare(*pair(**options), "global_accuracy").smallest_detectable
        shift = 2 * (2.228 + 0.879) * 0.01 * math.sqrt(2 / 6)  # accuracy moves by half of it; t with 10 df
        assert expected == pytest.approx(shift / 2, rel=0.5)
        results = [compare(*pair(i, shift=shift, **options), "global_accuracy", draws=500) for i in range(100)]
        assert 0.68 <= np.mean([answer(result) == "better" for result in results]) <= 0.92


class TestSingleSeed:
    def test_is_marked(self):
        result = compare(*pair(seeds=1, shift=0.2), "image_dice")
        assert result.single_seed
        assert math.isnan(result.standard_error.seeds)
        assert all(math.isnan(sd) for sd in result.seed_sd)
        assert any("single seed" in warning for warning in result.interval.warnings)
        assert verdicts([result])[0].single_seed

    def test_of_one_model_is_enough(self):
        a, b = pair(shift=0.2)
        assert compare(a, b[:1], "image_dice").single_seed
        assert not compare(a, b, "image_dice").single_seed
        assert any("3 seeds" in warning for warning in compare(a, b, "image_dice").interval.warnings)


class TestReproducible:
    def test_the_seed_decides(self):
        a, b = pair()
        assert compare(a, b, "global_dice") == compare(a, b, "global_dice")
        assert compare(a, b, "global_dice").interval != compare(a, b, "global_dice", seed=1).interval

    def test_the_order_of_images_and_runs_does_not(self):
        a, b = pair()
        order = np.random.default_rng(0).permutation(40)
        arrays = ("ids", "clusters", "true_positives", "false_positives", "false_negatives", "correct", "labelled")
        mixed = [replace(run, **{name: getattr(run, name)[order] for name in arrays}) for run in b]
        assert compare(a, mixed, "image_iou") == compare(a, b, "image_iou")
        turned, straight = compare(a[::-1], b, "image_iou"), compare(a, b, "image_iou")
        assert turned.p_value == pytest.approx(straight.p_value, rel=1e-9)
        assert turned.interval.low == pytest.approx(straight.interval.low, abs=1e-3)

    def test_the_order_of_the_classes_does_not(self):
        order = [2, 0, 1]
        matrices = [random_matrices(20, 3, seed=0, absent=0)]
        matrices.append(matrices[0].copy())
        matrices[1][:, 0, 0] += matrices[1][:, 0, 1]
        matrices[1][:, 0, 1] = 0
        plain = compare(*([counts_of(m)] for m in matrices), "global_dice", draws=500)
        names = [f"class{k}" for k in order]
        turned = ([counts_of(m[:, order][:, :, order], names=names)] for m in matrices)
        mixed = compare(*turned, "global_dice", draws=500)
        assert mixed.difference == pytest.approx(plain.difference, abs=1e-14)
        assert mixed.p_value == pytest.approx(plain.p_value)
        assert mixed.interval.low == pytest.approx(plain.interval.low, abs=1e-12)


class TestRefuses:
    def test_other_images(self):
        a, _ = pair(images=10)
        _, b = pair(images=11)
        with pytest.raises(DataError, match=r"different images \(10 and 11; only one of them has image0010\)"):
            compare(a, b, "image_dice")

    def test_no_runs(self):
        with pytest.raises(DataError, match="at least one run"):
            compare([], pair()[1], "image_dice")

    def test_an_undefined_statistic(self):
        runs = [counts_of([[[5, 0], [0, 0]]] * 3)]
        with pytest.raises(DataError, match="global_dice_class1 is undefined"):
            compare(runs, runs, "global_dice_class1")

    def test_an_unknown_statistic(self):
        with pytest.raises(ConfigError, match="'auc' is unknown"):
            compare(*pair(), "auc")


def test_images_without_a_score_are_left_out():
    """The second image has no pixel of the class in truth; one model claims some, the other none."""
    hits, claim, none = [[5, 1], [2, 8]], [[9, 1], [0, 0]], [[10, 0], [0, 0]]
    a = counts_of([hits, claim, hits], names=["other", "tumor"])
    b = counts_of([hits, none, hits], names=["other", "tumor"])
    result = compare([a], [b], "image_dice_tumor")
    assert result.value_a == pytest.approx((2 * 16 / 19) / 3)
    assert result.value_b == pytest.approx(16 / 19)
    assert result.wilcoxon_p == 1  # the unpaired image is not counted, the others are equal
