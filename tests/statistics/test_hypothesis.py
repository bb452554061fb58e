import itertools

import numpy as np
import pytest
from scipy import stats

from unet_exp.statistics.hypothesis import (
    holm,
    permutation_test,
    satterthwaite,
    smallest_detectable,
    t_test,
    wilcoxon_test,
)
from unet_exp.statistics.score import Ratios


def mean_of(values):
    values = np.asarray(values, float)[:, None]
    return Ratios(values, np.ones_like(values))


def permute(a, b, draws=10_000, seed=0):
    return permutation_test(a, b, draws=draws, rng=np.random.default_rng(seed))


class TestHolm:
    def test_by_hand(self):
        """Sorted .005 .01 .03 .04 times 4 3 2 1 is .02 .03 .06 .04; the last may not be below the one before."""
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    def test_is_capped_at_one(self):
        assert holm([0.6, 0.7]) == [1.0, 1.0]

    def test_one_question_needs_no_correction(self):
        assert holm([0.03]) == [0.03]
        assert holm([]) == []

    def test_agrees_with_statsmodels(self):
        multitest = pytest.importorskip("statsmodels.stats.multitest")
        p_values = np.random.default_rng(0).beta(0.3, 2, 12)
        assert holm(p_values) == pytest.approx(multitest.multipletests(p_values, method="holm")[1])

    def test_agrees_with_the_closed_testing_it_shortens(self):
        """Adjusted p = the largest Bonferroni p of any subset of hypotheses that contains this one."""
        p_values = np.random.default_rng(1).beta(0.5, 5, 5)
        subsets = [s for size in range(1, 6) for s in itertools.combinations(range(5), size)]
        expected = [max(min(1, len(s) * min(p_values[list(s)])) for s in subsets if i in s) for i in range(5)]
        assert holm(p_values) == pytest.approx(expected)

    @pytest.mark.parametrize("wrong", [float("nan"), -0.1, 1.1])
    def test_refuses_what_is_no_probability(self, wrong):
        with pytest.raises(ValueError, match="from 0 to 1"):
            holm([0.5, wrong])


class TestPermutation:
    def test_three_clusters_by_hand(self):
        """Differences 1 2 3: of the 8 sign patterns only +++ and --- reach the sum 6."""
        assert permute(mean_of([1, 2, 3]), mean_of([0, 0, 0])) == 2 / 8
        assert permute(mean_of([1, 2, 0]), mean_of([0, 0, 3])) == 8 / 8

    def test_agrees_with_scipy(self):
        rng = np.random.default_rng(0)
        a, b = rng.normal(0.3, 1, 12), rng.normal(0, 1, 12)
        expected = stats.permutation_test(
            (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
        )
        assert permute(mean_of(a), mean_of(b)) == pytest.approx(expected.pvalue)

    def test_random_swaps_agree_with_all_of_them(self):
        rng = np.random.default_rng(0)
        a, b = mean_of(rng.normal(0.4, 1, 14)), mean_of(rng.normal(0, 1, 14))
        exact = permute(a, b, draws=2**14)
        assert permute(a, b, draws=10_000) == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 10_000))

    def test_random_swaps_never_give_zero(self):
        assert permute(mean_of(np.ones(40)), mean_of(np.zeros(40)), draws=999) == 1 / 1000

    def test_a_ratio_of_sums_by_brute_force(self):
        rng = np.random.default_rng(3)
        tables = rng.integers(1, 50, size=(2, 2, 7, 3)).astype(float)  # model, numerator or denominator, cluster, class

        def difference(swaps):
            first, second = np.where(swaps[:, None], tables[::-1], tables)
            return np.mean(first[0].sum(0) / first[1].sum(0)) - np.mean(second[0].sum(0) / second[1].sum(0))

        every = [abs(difference(np.array(swaps))) for swaps in itertools.product([False, True], repeat=7)]
        expected = np.mean(np.array(every) >= every[0] - 1e-12)
        assert permute(Ratios(*tables[0]), Ratios(*tables[1])) == expected

    def test_no_difference_is_p_one(self):
        assert permute(mean_of([0.1, 0.2, 0.7]), mean_of([0.1, 0.2, 0.7])) == 1

    def test_p_is_uniform_if_there_is_none(self):
        rng = np.random.default_rng(0)
        p = [permute(mean_of(rng.normal(size=10)), mean_of(rng.normal(size=10)), draws=1024) for _ in range(400)]
        assert stats.kstest(p, "uniform").pvalue > 0.01


class TestWilcoxon:
    def test_by_hand(self):
        """Five positive differences: 2 of 32 sign patterns are as extreme."""
        assert wilcoxon_test(np.array([1.0, 2, 3, 4, 5])) == 2 / 32

    def test_zeros_and_missing_are_left_out(self):
        assert wilcoxon_test(np.array([1.0, 2, 0, 3, np.nan, 4, 5])) == 2 / 32
        assert wilcoxon_test(np.array([0.0, np.nan])) == 1


def test_t_test_agrees_with_welch():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 5), rng.normal(1, 3, 7)
    variances = [a.var(ddof=1) / 5, b.var(ddof=1) / 7]
    p = t_test(a.mean() - b.mean(), np.sqrt(sum(variances)), satterthwaite(variances, [4, 6]))
    assert p == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)


def test_t_test_without_spread():
    assert t_test(0.0, 0.0, np.inf) == 1
    assert t_test(0.1, 0.0, np.inf) == 0
    assert t_test(0.1, np.nan, np.nan) == 1


class TestSmallestDetectable:
    def test_by_hand(self):
        assert smallest_detectable(0.005, np.inf) == pytest.approx(2.8 * 0.005, rel=1e-3)
        assert smallest_detectable(1, 4) == pytest.approx(2.776 + 0.941, abs=1e-3)

    @pytest.mark.parametrize("freedom", [10, 200])
    def test_is_detected_with_the_power_it_promises(self, freedom):
        rng = np.random.default_rng(0)
        effect = smallest_detectable(1, freedom)
        errors = np.sqrt(rng.chisquare(freedom, 2000) / freedom)
        estimates = rng.normal(effect, 1, 2000)
        shown = [t_test(value, error, freedom) < 0.05 for value, error in zip(estimates, errors, strict=True)]
        assert np.mean(shown) == pytest.approx(0.8, abs=0.03)
