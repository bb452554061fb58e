"""A training that was stopped anywhere and continued is the uninterrupted one, to the last bit."""

import random
import signal

import pytest
import torch

from tests.resuming import SETTINGS, VARIANTS, Place, Tally, Trial, finish, start
from unet_exp.run.checkpoint_io import read_checkpoint
from unet_exp.run.history import read_history


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_stopped_at_random_and_continued_with_other_workers(variant, bcss_root, tmp_path):
    """Twenty stops over all variants; `python -m tests.resuming --times 200` does the rest."""
    trial, rng, tally = Trial(tmp_path, bcss_root, variant), random.Random(variant), Tally()
    while sum(tally.stops.values()) - tally.stops["came after the end"] < 4:
        trial.run(rng, tally, stops=2)
    assert tally.problems == []


@pytest.fixture(scope="module")
def stopped_in_validation(bcss_root, tmp_path_factory):
    """A run with an average of the weights that got SIGTERM at the first case of its second validation."""
    place = Place(tmp_path_factory.mktemp("validation"), bcss_root, SETTINGS)
    interrupt = "{_target_: tests.resuming.Interrupt, event: validation_batch, count: 2, number: 15}"
    code = finish(start(place, f"+callback.interrupt={interrupt}"))
    assert code == 128 + signal.SIGTERM
    return place


def test_a_stop_in_validation_keeps_the_training_of_the_epoch(stopped_in_validation):
    folder = stopped_in_validation.run_folder()
    content = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    assert content["position"]["position"] == "validation"
    assert content["global_step"] == 20
    assert len(read_history(folder / "history.csv")) == 1


def test_average_and_latest_weights_are_not_mixed_up_in_validation(stopped_in_validation, bcss_root, tmp_path):
    """They are exchanged while validation runs; a stop between validation and the next batch has them in place."""
    content = read_checkpoint(stopped_in_validation.run_folder() / "checkpoints" / "last.ckpt")
    place = Place(tmp_path, bcss_root, SETTINGS)
    interrupt = "{_target_: tests.resuming.Interrupt, event: validation_start, count: 1, number: 15}"
    assert finish(start(place, f"+callback.interrupt={interrupt}")) == 128 + signal.SIGTERM
    expected = read_checkpoint(place.run_folder() / "checkpoints" / "last.ckpt")
    for kind in ("state_dict", "current_model_state"):
        assert all(torch.equal(value, expected[kind][name]) for name, value in content[kind].items()), kind
    name = next(name for name in content["state_dict"] if name.endswith("weight"))
    assert not torch.equal(content["state_dict"][name], content["current_model_state"][name])


def test_the_time_of_a_continued_epoch_is_plausible(stopped_in_validation):
    folder = stopped_in_validation.run_folder()
    assert finish(start(stopped_in_validation, f"resume={folder}")) == 0
    assert all(0 < row["seconds"] < 600 for row in read_history(folder / "history.csv"))
