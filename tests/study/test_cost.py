"""What a study costs: the jobs are those of the sweep, and the hours follow from what is measured."""

import pytest

from benchmarks.study_cost import ArmCost, arms_of, cost_table, measure_arm
from tests.runs import tiny
from unet_exp.cost import NetworkCost
from unet_exp.errors import ConfigError


@pytest.mark.slow
def test_runs_are_counted_as_the_sweep_has_them():
    arms = arms_of(["experiment=study_bcss_small", "data.mpp=1.0"])
    assert len(arms) == 13
    assert set(arms.values()) == {15}  # 3 seeds x 5 folds
    assert all("data.mpp=1.0" in arm and "experiment=study_bcss_small" in arm for arm in arms)
    fewer = arms_of(["experiment=study_bcss_small", "arm=unet,deep", "seed=0", "data.split.fold=1,2"])
    assert {arm: runs for arm, runs in fewer.items() if "arm=deep" in arm} == {fewer_arm("deep"): 2}
    assert len(fewer) == 2
    assert set(arms_of(["data=bcss", "model=unet", "seed=0"]).values()) == {1}


def fewer_arm(arm: str) -> tuple[str, ...]:
    return (f"arm={arm}", "experiment=study_bcss_small")


def test_a_mistake_is_one_clear_message():
    with pytest.raises(ConfigError, match="Could not find 'experiment/study_bcs'"):
        arms_of(["experiment=study_bcs"])


def test_steps_and_scored_pixels_of_a_run_are_counted(bcss_root, tmp_path):
    settings = ["trainer.max_epochs=4", "trainer.check_val_every_n_epoch=2", "test_after_training=true"]
    cost, device = measure_arm("unet", 3, tiny(bcss_root, tmp_path, *settings), steps=2, images=1)
    assert cost.steps == 4 * 32 // 4
    assert cost.step_seconds > 0
    # BH and A1 are official validation regions, of 82x90 and 86x90 pixels; OL and GM are for testing, 90x90 and 94x90.
    assert cost.megapixels == pytest.approx(((2 + 1) * (82 + 86) + 90 + 94) * 90 / 1e6)
    assert device == "cpu, 32-true"


def test_the_table_adds_up():
    network = NetworkCost(2_000_000, 1.0, 0, 0)
    arm = ArmCost("unet", 3, network, 0.5, 7200, 2.0, 900.0)
    assert arm.hours == pytest.approx(1 + 0.5, abs=0.01)
    lines = cost_table([arm, arm]).splitlines()
    assert lines[2].startswith("| unet | 2.00 M | 1.00 | 500 | 7,200 | 2.00 | 900 | 1.50 | 3 | 4.5 |")
    assert lines[-1].endswith("| 6 | 9.0 |")
