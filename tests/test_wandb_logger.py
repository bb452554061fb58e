"""Weights & Biases, offline: what a run leaves behind is read back with W&B's own reader."""

import inspect
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from unet_exp.callback.prediction_panel import PredictionPanel
from unet_exp.errors import UserError
from unet_exp.locations import CONFIG_FOLDER
from unet_exp.logger._progress import Progress
from unet_exp.logger.wandb import WandbRun, resolve_mode

CONFIG = {"model": {"depth": 4, "channels": [8, 16]}, "optim": {"lr": 0.001}, "name": None}


@pytest.fixture(autouse=True)
def logged_out(tmp_path, monkeypatch):
    """No credentials, no W&B settings, and a home without any."""
    for name in [name for name in os.environ if name.startswith("WANDB_") and name != "WANDB_SERVICE"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def start(tmp_path):
    """Starts runs in one folder and finishes those that the test leaves open."""
    runs = []
    folder = tmp_path / "run"
    folder.mkdir()

    def start_run(**settings) -> WandbRun:
        runs.append(WandbRun(**{"run_folder": folder, "name": "a run", "config": CONFIG, **settings}))
        return runs[-1]

    yield start_run
    for run in runs:
        run.finish(1)


def sessions(folder: Path) -> list[list[dict]]:
    """Records of every session of the run, in the order of time."""
    found = []
    for path in sorted((folder / "wandb").glob("offline-run-*")):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
        lines = subprocess.check_output(command, text=True).splitlines()
        found.append([json.loads(line) for line in lines])
    return found


def of_type(records: list[dict], kind: str) -> list[dict]:
    return [record[kind] for record in records if record["type"] == kind]


def history(records: list[dict]) -> list[dict]:
    return [row["item"] for row in of_type(records, "history")]


class Task(LightningModule):
    """Two optimiser steps per epoch; its validation gives what SegmentationTask's gives."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        loss = self.layer(torch.ones(1, 1)).sum() ** 2
        self.log("train/loss", loss, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/dice", 0.1 * (self.current_epoch + 1))
        mask = torch.zeros(16, 24, dtype=torch.uint8)
        mask[:, 12:] = 1
        mask[:2] = 255
        image = torch.full((3, 8, 12), 100, dtype=torch.uint8)
        return [{"index": int(i), "image": image, "mask": mask, "prediction": 1 - mask.clamp(max=1)} for i in batch]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Data(LightningDataModule):
    source = SimpleNamespace(
        class_names=["background", "lesion"],
        palette=[(0, 0, 0), (255, 127, 14)],
        ignore_index=255,
        scored_classes=[1],
        unscored_classes=[0],
    )
    split = SimpleNamespace(val=[SimpleNamespace(id=f"case-{i}") for i in range(3)])

    def train_dataloader(self):
        return DataLoader(torch.arange(2))

    def val_dataloader(self):
        return DataLoader(torch.arange(3))


def trainer(run: WandbRun, folder: Path, epochs: int = 4) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=run.lightning_logger,
        callbacks=run.callbacks,
        log_every_n_steps=1,
        num_sanity_val_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


def test_an_offline_training_reads_back(start, tmp_path, capfd):
    folder = tmp_path / "run"
    run = start(panel_every_n_epochs=2, panel_cases=2, tags=["a", "b"], group="folds")
    trainer(run, folder).fit(Task(), datamodule=Data())
    run.finish(0)

    (records,) = sessions(folder)
    (header,) = of_type(records, "run")
    assert header["run_id"] == (folder / "wandb_id.txt").read_text().strip() == run.id
    assert (header["project"], header["display_name"], header["run_group"]) == ("unet_exp", "a run", "folds")
    assert header["tags"] == ["a", "b"]
    stored = header["config"]["update"]
    assert {key: stored[key] for key in CONFIG} == CONFIG
    assert of_type(records, "exit")[0].get("exit_code") == 0

    rows = history(records)
    assert [(r["trainer/global_step"], r["train/loss"] > 0) for r in rows if "train/loss" in r] == [
        (0, True), *((step, True) for step in range(1, 8))
    ]  # fmt: skip
    assert [(r["trainer/global_step"], round(r["val/dice"], 6)) for r in rows if "val/dice" in r] == [
        (1, 0.1), (3, 0.2), (5, 0.3), (7, 0.4)
    ]  # fmt: skip
    axes = {metric.get("glob_name"): metric.get("step_metric") for metric in of_type(records, "metric")}
    assert axes["*"] == "trainer/global_step"

    captured = capfd.readouterr()
    assert f"wandb sync {folder}/wandb/offline-run-*" in captured.out
    assert "anonymous" not in captured.err
    assert "wandb:" not in captured.err


def test_panels_show_the_same_cases_every_few_epochs(start, tmp_path):
    folder = tmp_path / "run"
    run = start(panel_every_n_epochs=2, panel_cases=2)
    trainer(run, folder, epochs=5).fit(Task(), datamodule=Data())
    run.finish(0)
    (records,) = sessions(folder)
    rows = [row for row in history(records) if "prediction/panel.captions" in row]
    assert [row["trainer/global_step"] for row in rows] == [3, 7, 9]
    for row in rows:
        captions = row["prediction/panel.captions"], row["prediction/mask.captions"]
        assert captions == (["case-0", "case-1"], ["case-0", "case-1"])
        assert [set(masks) for masks in row["prediction/mask.all_masks"]] == [{"truth", "prediction"}] * 2
        assert (row["prediction/mask.height"], row["prediction/mask.width"]) == (8, 12)
    (session,) = (folder / "wandb").glob("offline-run-*")
    for name in [name for row in rows for name in row["prediction/panel.filenames"]]:
        assert (session / "files" / name).stat().st_size > 1000


@pytest.mark.parametrize(("exit_code", "logged"), [(1, 1), (130, 130)])
def test_a_run_that_did_not_finish_says_so(start, tmp_path, exit_code, logged):
    run = start()
    run.finish(exit_code)
    run.finish(0)  # a second call does not make it better
    (records,) = sessions(tmp_path / "run")
    assert [record["exit_code"] for record in of_type(records, "exit")] == [logged]


@pytest.mark.slow
def test_resuming_continues_the_run_without_lost_or_repeated_steps(start, tmp_path):
    first = start()
    for step in (10, 20, 30):
        first.lightning_logger.log_metrics({"train/loss": 1.0, "epoch": 0}, step=step)
        first.lightning_logger.log_metrics({"val/dice": step / 100, "epoch": 0}, step=step)
    first.finish(1)
    time.sleep(1.1)  # W&B names its folders by the second
    second = start()  # from a checkpoint of step 20
    for step in (30, 40):
        second.lightning_logger.log_metrics({"train/loss": 1.0, "epoch": 0}, step=step)
        second.lightning_logger.log_metrics({"val/dice": step / 100, "epoch": 0}, step=step)
    second.finish(0)

    before, after = sessions(tmp_path / "run")
    assert first.id == second.id
    assert {of_type(records, "run")[0]["run_id"] for records in (before, after)} == {first.id}
    rows = [*history(before), *history(after)]
    assert [row["trainer/global_step"] for row in rows if "val/dice" in row] == [10, 20, 30, 40]
    assert [row["trainer/global_step"] for row in rows if "train/loss" in row] == [10, 20, 30, 40]
    assert [row["_step"] for row in rows] == list(range(8))


def test_two_trainings_in_one_process_are_two_runs(start, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    one, two = start(), start(run_folder=other)
    one.lightning_logger.log_metrics({"val/dice": 0.1}, step=1)
    two.lightning_logger.log_metrics({"val/dice": 0.2}, step=1)
    one.finish(1)
    two.finish(0)
    assert one.id != two.id
    found = {folder: sessions(folder)[0] for folder in (tmp_path / "run", other)}
    assert [[row["val/dice"] for row in history(records)] for records in found.values()] == [[0.1], [0.2]]
    assert [of_type(records, "exit")[0].get("exit_code", 0) for records in found.values()] == [1, 0]


def test_losing_wandb_does_not_stop_the_training(start, capfd, monkeypatch):
    run = start()

    def broken(*_, **__):
        raise ConnectionResetError("Connection lost")

    monkeypatch.setattr(run.lightning_logger.experiment, "log", broken)
    monkeypatch.setattr(run.lightning_logger.experiment, "finish", broken)
    run.lightning_logger.log_metrics({"val/dice": 0.1}, step=1)
    run.lightning_logger.log_metrics({"val/dice": 0.1}, step=2)
    run.finish(0)
    lines = capfd.readouterr().out.splitlines()
    assert sum("Connection lost" in line for line in lines) == 2


def test_only_the_first_process_has_a_run(start, tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    run = start()
    run.lightning_logger.log_metrics({"val/dice": 0.1}, step=1)
    run.finish(0)
    assert list((tmp_path / "run").iterdir()) == []


def test_disabled_leaves_nothing_for_a_resume_to_skip(start, tmp_path):
    run = start(mode="disabled")
    run.lightning_logger.log_metrics({"val/dice": 0.1}, step=1)
    run.finish(0)
    assert not (tmp_path / "run" / "wandb" / "progress.json").exists()


@pytest.mark.parametrize(
    ("environment", "netrc", "mode"),
    [
        ({}, "", "offline"),
        ({"WANDB_API_KEY": "k" * 40}, "", "online"),
        ({}, f"machine api.wandb.ai login user password {'k' * 40}", "online"),
        ({}, f"machine example.org login user password {'k' * 40}", "offline"),
        ({"WANDB_MODE": "dryrun", "WANDB_API_KEY": "k" * 40}, "", "offline"),
        ({"WANDB_MODE": "disabled"}, "", "disabled"),
        ({"WANDB_MODE": "online"}, "", "online"),
    ],
)
def test_the_mode_follows_environment_and_login(environment, netrc, mode, monkeypatch, tmp_path):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "netrc").write_text(netrc)
    assert resolve_mode() == mode


def test_an_unknown_mode_is_a_clear_error(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(UserError, match="WANDB_MODE=ofline is not one of"):
        resolve_mode()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"project": "a/b"}, "Invalid project name"),
        ({"tags": ["x" * 65]}, "Tags must be between 1 and 64 characters"),
        ({"mode": "online"}, "wandb login"),
    ],
)
def test_what_wandb_refuses_is_the_users_to_fix(start, settings, message):
    with pytest.raises(UserError, match=message):
        start(**settings)


def test_the_yaml_states_the_defaults():
    block = OmegaConf.to_container(OmegaConf.load(Path(CONFIG_FOLDER) / "logger" / "wandb.yaml"))
    assert block.pop("_target_") == "unet_exp.logger.wandb.WandbRun"
    assert block.pop("_partial_") is True
    parameters = inspect.signature(WandbRun).parameters
    defaults = {n: p.default for n, p in parameters.items() if p.default is not inspect.Parameter.empty}
    assert block == {**defaults, "tags": list(defaults["tags"])}


@pytest.mark.parametrize("content", [None, "", "[]", '{"next_row": "x"}', '{"next_row": 1, "steps": 3}'])
def test_a_damaged_progress_file_starts_anew(tmp_path, content):
    file = tmp_path / "progress.json"
    if content is not None:
        file.write_text(content)
    progress = Progress.load(file)
    assert progress.next_row == 0
    assert progress.is_new("val/dice", 0)


@pytest.mark.parametrize(
    ("check_every", "every", "epochs", "expected"),
    [(1, 3, 7, [2, 5, 6]), (2, 3, 8, [3, 5, 7]), (1, 5, 2, [1]), (1, 1, 2, [0, 1])],
)
def test_panels_come_every_n_epochs_and_at_the_end(start, check_every, every, epochs, expected):
    panel = PredictionPanel(every_n_epochs=every)
    logger = start(mode="disabled").lightning_logger
    due = []
    for epoch in range(check_every - 1, epochs, check_every):
        state = SimpleNamespace(
            sanity_checking=False,
            is_global_zero=True,
            loggers=[logger],
            current_epoch=epoch,
            max_epochs=epochs,
            check_val_every_n_epoch=check_every,
        )
        if panel._is_due(state):
            due.append(epoch)
    assert due == expected


def test_panels_do_nothing_without_wandb():
    panel = PredictionPanel(every_n_epochs=1)
    state = SimpleNamespace(sanity_checking=False, is_global_zero=True, loggers=[], current_epoch=0, max_epochs=1)
    panel.on_validation_batch_end(state, None, [{"index": 0, "image": np.zeros(1)}], None, 0)
    panel.on_validation_epoch_end(state, None)
    assert panel._kept == []


@pytest.mark.slow
def test_under_the_wandb_agent_the_run_is_the_one_that_it_has_named(tmp_path):
    """The agent waits for the run that it has announced; W&B ignores any other id."""
    code = (
        "import sys; from pathlib import Path; from unet_exp.logger.wandb import WandbRun\n"
        "WandbRun(run_folder=Path(sys.argv[1]), name='a', config={}, mode='offline').finish(0)"
    )
    agent = {"WANDB_SWEEP_ID": "sweep1", "WANDB_RUN_ID": "agent001", "WANDB_PROJECT": "search"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env=os.environ | agent, capture_output=True, text=True, check=True)
    (records,) = sessions(tmp_path)
    (run,) = of_type(records, "run")
    assert (run["run_id"], run["project"]) == ("agent001", "search")
    assert (tmp_path / "wandb_id.txt").read_text().strip() == "agent001"
    assert "Ignoring" not in done.stderr
