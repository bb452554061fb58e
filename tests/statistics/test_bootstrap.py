import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tests.statistics.simulated import counts_of, difficulty, lesion_run, random_matrices
from unet_exp.statistics.bootstrap import bootstrap
from unet_exp.statistics.score import case_scores


def interval(counts, name="image_dice", **options):
    return bootstrap(counts, [name], **options)[name]


class TestAgainstScipy:
    """Without clusters, `scipy.stats.bootstrap` is an independent implementation."""

    @pytest.mark.parametrize("method", ["percentile", "bca"])
    def test_mean_over_images(self, method):
        counts = lesion_run(np.random.default_rng(0).beta(5, 2, 40))
        scores = case_scores(counts, "image_dice")
        expected = stats.bootstrap(
            (scores,), np.mean, n_resamples=40_000, method=method, random_state=np.random.default_rng(1)
        )
        result = interval(counts, draws=40_000, method=method)
        tolerance = 0.05 * expected.standard_error
        assert result.value == pytest.approx(scores.mean())
        assert result.low == pytest.approx(expected.confidence_interval.low, abs=tolerance)
        assert result.high == pytest.approx(expected.confidence_interval.high, abs=tolerance)

    @pytest.mark.parametrize("method", ["percentile", "bca"])
    def test_global_macro_dice(self, method):
        matrices = random_matrices(25, 3, absent=0.1)

        def macro_dice(picks, axis):
            drawn = matrices[picks].sum(axis=-3)
            hits = np.diagonal(drawn, axis1=-2, axis2=-1)
            return (2 * hits / (drawn.sum(-1) + drawn.sum(-2))).mean(-1)

        expected = stats.bootstrap(
            (np.arange(25),), macro_dice, n_resamples=20_000, method=method, random_state=np.random.default_rng(1),
            batch=1000,
        )  # fmt: skip
        result = interval(counts_of(matrices), "global_dice", draws=20_000, method=method)
        tolerance = 0.05 * expected.standard_error
        assert result.low == pytest.approx(expected.confidence_interval.low, abs=tolerance)
        assert result.high == pytest.approx(expected.confidence_interval.high, abs=tolerance)

    def test_percentile_and_bca_differ_on_skewed_data(self):
        counts = lesion_run(np.random.default_rng(0).beta(8, 1, 30))
        assert interval(counts, method="bca").low < interval(counts).low


class TestClusters:
    def test_two_clusters_by_hand(self):
        """Means of 0.2 and 0.6: drawn 2 + 0, 1 + 1 or 0 + 2 with chances 1/4, 1/2, 1/4."""
        for copies in (1, 50):
            counts = lesion_run([0.2 / 1.8, 0.6 / 1.4] * copies, clusters=["x", "y"] * copies)  # Dice 2s / (1 + s)
            outer, inner = interval(counts, level=0.6), interval(counts, level=0.4)
            assert (outer.low, outer.high) == pytest.approx((0.2, 0.6), abs=1e-3)
            assert (inner.low, inner.high) == pytest.approx((0.4, 0.4), abs=1e-3)

    def test_copies_within_clusters_give_no_information(self):
        shares = np.random.default_rng(0).beta(5, 2, 20)
        names = [f"p{i:02}" for i in range(20)]
        once, copied = (
            lesion_run(shares, clusters=names),
            lesion_run(np.repeat(shares, 5), clusters=np.repeat(names, 5)),
        )
        for name in ("image_dice", "global_iou"):
            assert interval(copied, name).low == pytest.approx(interval(once, name).low, abs=1e-9)
            assert interval(copied, name).high == pytest.approx(interval(once, name).high, abs=1e-9)
        assert interval(copied).clusters == 20

    def test_ignoring_them_is_too_narrow(self):
        shares = np.repeat(np.random.default_rng(0).beta(5, 2, 20), 9)
        clustered = interval(lesion_run(shares, clusters=np.repeat([f"p{i:02}" for i in range(20)], 9)))
        naive = interval(lesion_run(shares))
        assert (clustered.high - clustered.low) / (naive.high - naive.low) == pytest.approx(3, rel=0.1)

    def test_few_are_said(self):
        shares = [0.5, 0.6, 0.7] * 4
        assert interval(lesion_run(shares)).warnings == ()
        assert "3 clusters" in interval(lesion_run(shares, clusters=["x", "y", "z"] * 4)).warnings[0]
        alone = interval(lesion_run(shares, clusters=["x"] * 12), method="bca")
        assert math.isnan(alone.low)
        assert math.isnan(alone.high)
        assert "no interval" in alone.warnings[0]
        assert not alone.excludes(0)


def test_covers_the_truth_as_often_as_it_says():
    truth = np.mean(stats.beta(5, 2).expect(lambda s: 2 * s / (1 + s)))
    rng = np.random.default_rng(0)
    for method in ("percentile", "bca"):
        intervals = [interval(lesion_run(rng.beta(5, 2, 40)), draws=1000, method=method) for _ in range(300)]
        covered = np.mean([not one.excludes(truth) for one in intervals])
        assert 0.90 <= covered <= 0.99, method


def test_covers_the_truth_with_clusters():
    """Patients vary, and their images too: resampling images alone covers 48 %."""
    rng = np.random.default_rng(0)
    covered = {"patients": 0, "images": 0}
    for _ in range(300):
        shares = np.clip(np.repeat(rng.normal(0.6, 0.08, 30), 8) + rng.normal(0, 0.03, 240), 0, 1)
        run = lesion_run(shares, clusters=np.repeat([f"p{i:02}" for i in range(30)], 8))
        for what, counts in (("patients", run), ("images", replace(run, clusters=run.ids))):
            covered[what] += not interval(counts, "global_accuracy", draws=500).excludes(0.8)
    assert 0.90 <= covered["patients"] / 300 <= 0.99
    assert covered["images"] / 300 < 0.6


class TestDegenerate:
    def test_a_class_absent_from_some_resamples_is_said(self):
        matrices = np.zeros((20, 2, 2), np.int64)
        matrices[:, 0, 0] = 90
        matrices[:, 0, 1] = np.arange(20) == 3
        matrices[3, 1] = 1, 9
        result = interval(counts_of(matrices), "global_dice_class1")
        lacking = 10_000 - result.draws
        assert lacking == pytest.approx(10_000 * (1 - 1 / 20) ** 20, rel=0.05)
        assert result.warnings[0].startswith("a class occurs in 1 of 20 clusters only: about 36%")
        assert f"undefined in {lacking} of 10000" in result.warnings[1]
        assert interval(counts_of(matrices), "global_dice").warnings == result.warnings[:1]

    def test_resamples_that_do_not_vary(self):
        result = interval(lesion_run([0.5] * 12), method="bca")
        assert result.low == pytest.approx(result.value)
        assert result.method == "percentile"
        assert "bca is undefined" in result.warnings[0]

    def test_undefined_statistic(self):
        result = interval(counts_of([[[5, 0], [0, 0]]] * 12), "global_dice_class1")
        assert math.isnan(result.value)
        assert math.isnan(result.low)
        assert result.draws == 0


class TestReproducible:
    def test_the_seed_decides(self):
        counts = lesion_run(difficulty(np.random.default_rng(0), 30))
        assert interval(counts) == interval(counts)
        assert interval(counts) != interval(counts, seed=1)

    def test_the_order_of_the_images_does_not(self):
        matrices = random_matrices(30, 3)
        ids = [f"i{i:02}" for i in range(30)]
        clusters = [f"p{i % 11:02}" for i in range(30)]
        order = np.random.default_rng(0).permutation(30)
        names = ["global_dice", "image_dice", "global_accuracy"]
        counts = counts_of(matrices, ids=ids, clusters=clusters)
        shuffled = counts_of(matrices[order], ids=[ids[i] for i in order], clusters=[clusters[i] for i in order])
        assert bootstrap(counts, names, method="bca") == bootstrap(shuffled, names, method="bca")

    def test_nor_does_the_size_of_the_chunks(self, monkeypatch):
        counts = lesion_run(difficulty(np.random.default_rng(0), 30))
        whole = interval(counts, draws=1000)
        monkeypatch.setattr("unet_exp.statistics.bootstrap._CHUNK", 100)
        chunked = interval(counts, draws=1000)
        assert (chunked.low, chunked.high) == pytest.approx((whole.low, whole.high), abs=1e-12)
