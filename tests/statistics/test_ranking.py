import math

import numpy as np
import pytest

from tests.statistics.simulated import difficulty, lesion_run, model_runs
from unet_exp.errors import DataError
from unet_exp.statistics.bootstrap import bootstrap
from unet_exp.statistics.ranking import leaderboard


def models():
    rng = np.random.default_rng(0)
    base = difficulty(rng, 30)
    return {
        "plain": model_runs(rng, base, seeds=3),
        "strong": model_runs(rng, base, seeds=4, shift=0.1),
        "alone": model_runs(rng, base, seeds=1, shift=-0.1),
    }


def test_order_means_and_spread_by_hand():
    runs = {
        "weak": [lesion_run([0.4, 0.6]), lesion_run([0.5, 0.7])],
        "good": [lesion_run([0.8, 0.9]), lesion_run([0.8, 1.0])],
    }
    good, weak = leaderboard(runs, "global_accuracy")
    assert (good.model, weak.model) == ("good", "weak")
    assert (good.mean, weak.mean) == pytest.approx((0.9375, 0.775))
    assert weak.sd == pytest.approx(0.05 / math.sqrt(2))
    assert weak.seeds == 2
    assert weak.interval.clusters == 2
    assert any("2 seeds" in warning for warning in weak.interval.warnings)


def test_intervals_hold_the_mean_and_the_seeds():
    rows = {row.model: row for row in leaderboard(models(), "image_dice")}
    assert list(rows) == ["strong", "plain", "alone"]
    for row in rows.values():
        assert row.interval.low < row.mean < row.interval.high
    assert math.isnan(rows["alone"].sd)
    assert any("single seed" in warning for warning in rows["alone"].interval.warnings)


def test_a_single_run_has_the_interval_of_its_images():
    runs = models()["alone"]
    row = leaderboard({"alone": runs}, "image_dice")[0]
    expected = bootstrap(runs[0], ["image_dice"])["image_dice"]
    assert (row.interval.low, row.interval.high) == pytest.approx((expected.low, expected.high))


def test_does_not_depend_on_the_order_or_presence_of_other_models():
    runs = models()
    rows = leaderboard(runs, "global_dice")
    assert leaderboard(dict(reversed(runs.items())), "global_dice") == rows
    assert leaderboard({"plain": runs["plain"]}, "global_dice")[0].interval.low == pytest.approx(rows[1].interval.low)


def test_refuses_models_of_different_images():
    runs = models() | {"other": [lesion_run([0.5, 0.6])]}
    with pytest.raises(DataError, match="different images"):
        leaderboard(runs, "image_dice")


def test_refuses_a_model_without_runs():
    with pytest.raises(DataError, match="no run of empty"):
        leaderboard(models() | {"empty": []}, "image_dice")
