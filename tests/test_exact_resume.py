"""A training that was stopped anywhere and continued is the uninterrupted one, to the last bit."""

import os
import random
import signal
import subprocess
import sys

import pytest
import torch

from tests.conftest import REPOSITORY
from tests.resuming import SETTINGS, VARIANTS, Place, Tally, Trial, differences, finish, start
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


def train_distributed(place: Place, *overrides: str) -> subprocess.CompletedProcess:
    """Train in two processes."""
    distributed = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "loader.batch_size=4")
    given = place.overrides(*distributed, *overrides)
    place.folder.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "unet_exp.train", *given],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.slow
def test_two_processes_stop_together_and_continue_exactly(bcss_root, tmp_path):
    """Only the first one gets the signal."""
    whole, parts = (Place(tmp_path / name, bcss_root, SETTINGS) for name in ("whole", "parts"))
    done = train_distributed(whole)
    assert done.returncode == 0, done.stderr
    interrupt = "+callback.interrupt={{_target_: tests.resuming.Interrupt, event: {}, count: {}, number: {}}}"
    for event, count in (("train_batch", 4), ("validation_batch", 0)):
        run = parts.run_folder()
        again = [f"resume={run}"] if run else []
        done = train_distributed(parts, interrupt.format(event, count, int(signal.SIGTERM)), *again)
        assert done.returncode == 128 + signal.SIGTERM, done.stderr
    done = train_distributed(parts, interrupt.format("train_batch", 0, 0), f"resume={parts.run_folder()}")
    assert done.returncode == 0, done.stderr
    assert differences(parts.run_folder(), parts.batches, whole.run_folder(), whole.batches) == []


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_in_one_process_stops_both(bcss_root, tmp_path):
    place = Place(tmp_path, bcss_root, SETTINGS)
    done = train_distributed(place, "optim.lr=1e30", "scheduler=constant", "model.norm=none")
    assert done.returncode == 1
    assert "error: The loss is " in done.stderr
    assert "Traceback" not in done.stderr
    assert (place.run_folder() / "nonfinite_loss.ckpt").is_file()


@pytest.mark.slow
def test_a_damaged_checkpoint_costs_only_time(bcss_root, tmp_path):
    whole, damaged = (Place(tmp_path / name, bcss_root, SETTINGS) for name in ("whole", "damaged"))
    assert finish(start(whole)) == 0
    interrupt = "{_target_: tests.resuming.Interrupt, event: train_batch, count: 16, number: 9}"
    assert finish(start(damaged, f"+callback.interrupt={interrupt}")) == -signal.SIGKILL
    last = damaged.run_folder() / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:5000])
    assert finish(start(damaged, f"resume={damaged.run_folder()}")) == 0
    assert f"{last} is damaged" in damaged.log.read_text()
    assert differences(damaged.run_folder(), damaged.batches, whole.run_folder(), whole.batches) == []
