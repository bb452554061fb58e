"""Identity: the same command finds the same folders; what a folder says decides what is done."""

import json
from pathlib import Path

import pytest

from unet_exp.config import compose_config, to_plain
from unet_exp.run.folder import RunFolder
from unet_exp.run.identity import config_hash, sweep_name
from unet_exp.run.overrides import parse_overrides
from unet_exp.sweep.job import Action, make_job, next_action, varied_overrides

NAMES = {"model": "unet", "data": "bcss", "loss": "dice_ce"}


def config(*overrides: str) -> dict:
    return to_plain(compose_config("train", ["data=bcss", "model=unet", *overrides]))


@pytest.mark.parametrize(
    "override",
    [
        "data.root=/elsewhere",
        "output_folder=/elsewhere",
        "store_folder=/elsewhere",
        "name=study",
        "sweep.retry_failed=false",
        "sweep.fail_fast=true",
        "loader.num_workers=7",
        "logger=wandb",
        "trainer.enable_progress_bar=false",
    ],
)
def test_paths_and_machine_settings_make_no_other_job(override):
    assert config_hash(config()) == config_hash(config(override))
    assert sweep_name(None, ["data=bcss", override]) == sweep_name(None, ["data=bcss"])


@pytest.mark.parametrize("override", ["seed=1", "model.depth=3", "loss=focal", "trainer.max_epochs=3", "optim.lr=0.1"])
def test_what_decides_the_result_makes_another_job(override):
    assert config_hash(config()) != config_hash(config(override))
    assert sweep_name(None, ["data=bcss", override]) != sweep_name(None, ["data=bcss"])


def test_the_name_of_a_sweep_is_that_of_its_command():
    assert sweep_name("study", ["seed=0,1"]) == "study"
    assert sweep_name(None, ["seed=0,1", "data=bcss"]) == sweep_name(None, ["data=bcss", "seed=0,1"])
    assert sweep_name(None, []).startswith("sweep-")


def test_a_run_folder_of_a_single_training_is_found_too(tmp_path):
    plain = config()
    assert make_job(tmp_path, plain, NAMES, [], "").label == f"unet-bcss-{config_hash(plain)}"


def test_only_what_differs_is_shown():
    every = [["data=bcss", "seed=0", "loss=dice"], ["data=bcss", "seed=1", "loss=dice"], ["data=bcss", "seed=1"]]
    assert varied_overrides(every) == ["seed=0 loss=dice", "seed=1 loss=dice", "seed=1"]
    assert varied_overrides([["data=bcss"]]) == [""]
    assert varied_overrides([]) == []


def folder(path: Path, state: str | None, *, checkpoint: bool = False) -> RunFolder:
    made = RunFolder(path)
    made.checkpoints.mkdir(parents=True)
    if checkpoint:
        made.last_checkpoint.touch()
        made.config_file.touch()
        made.environment_file.write_text(json.dumps({"overrides": []}))
    if state:
        made.status_file.write_text(json.dumps({"state": state}))
    return made


@pytest.mark.parametrize(
    ("state", "checkpoint", "retry", "expected"),
    [
        (None, False, True, Action.START),
        ("finished", True, True, Action.SKIP),
        ("running", True, True, Action.CONTINUE),  # killed: nobody holds the lock
        ("running", False, True, Action.START),
        ("interrupted", True, False, Action.CONTINUE),
        ("failed", True, True, Action.CONTINUE),
        ("failed", False, True, Action.START),
        ("failed", True, False, Action.SKIP),
    ],
)
def test_the_folder_decides(state, checkpoint, retry, expected, tmp_path):
    assert next_action(folder(tmp_path / "run", state, checkpoint=checkpoint), retry_failed=retry) is expected


def test_a_folder_with_unusual_characters_can_be_continued(tmp_path):
    sweep = tmp_path / "a b,c=d(1)'e"
    made = make_job(sweep, config(), NAMES, ["data=bcss"], "")
    command = made.command(Action.CONTINUE, ["--config-dir", "/mine"])
    assert command[1:6] == ["-m", "unet_exp.train", "--config-dir", "/mine", "data=bcss"]
    (resume,) = parse_overrides([command[-1]])
    assert resume.value() == str(made.folder.path)
    assert made.command(Action.START)[3:] == ["data=bcss"]


@pytest.mark.parametrize(("devices", "expected"), [(1, 1), (2, 2), ("auto", 1), (-1, 1)])
def test_processes_that_share_the_threads(devices, expected, tmp_path):
    assert make_job(tmp_path, config(f"trainer.devices={devices}"), NAMES, [], "").processes == expected
