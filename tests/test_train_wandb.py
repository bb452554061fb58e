"""A real training with `logger=wandb`, read back from the offline run: what it holds, and how it says it ended."""

import pytest

from tests.resuming import Interrupt
from tests.runs import run, tiny
from tests.test_wandb_logger import history, of_type, sessions
from unet_exp.errors import RunInterruptedError
from unet_exp.run.history import read_history
from unet_exp.task import SegmentationTask


@pytest.fixture(autouse=True)
def logged_out(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.slow
def test_a_training_reads_back(bcss_root, tmp_path):
    folder = run(tiny(bcss_root, tmp_path / "out", "logger=wandb", "logger.panel_every_n_epochs=1"))
    (records,) = sessions(folder.path)
    (started,) = of_type(records, "run")
    assert started["run_id"] == (folder.path / "wandb_id.txt").read_text().strip()
    config = started["config"]["update"]
    assert config["model"]["base_channels"] == 4
    assert config["data"]["classes"]["tumor"]["codes"] == [1, 19, 20]

    def column(name: str) -> list[tuple[int, float]]:
        return [(row["trainer/global_step"], row[name]) for row in history(records) if name in row]

    local = read_history(folder.history_file)
    assert [value for _, value in column("val/dice")] == pytest.approx([row["val/dice"] for row in local], abs=1e-6)
    assert [step for step, _ in column("val/dice")] == [row["step"] - 1 for row in local]  # steps counted from 0
    assert column("final/test/dice")[0][1] == pytest.approx(folder.metrics()["test"]["dice"], abs=1e-6)
    assert len(column("prediction/panel.captions")) == 2
    assert of_type(records, "exit")[0].get("exit_code", 0) == 0


def test_a_crash_is_not_finished(bcss_root, tmp_path, monkeypatch):
    def explode(*_):
        raise RuntimeError("cosmic ray")

    monkeypatch.setattr(SegmentationTask, "training_step", explode)
    with pytest.raises(RuntimeError, match="cosmic ray"):
        run(tiny(bcss_root, tmp_path / "out", "logger=wandb"))
    (folder,) = (tmp_path / "out").glob("*/*")
    (records,) = sessions(folder)
    assert of_type(records, "exit")[0]["exit_code"] == 1


def logged(folder) -> dict[str, list[tuple[int, float]]]:
    """Every value with its step, over all sessions of a run, in the order of time."""
    found: dict[str, list[tuple[int, float]]] = {}
    for records in sessions(folder):
        for row in history(records):
            step = row.get("trainer/global_step")
            for name, value in row.items():
                if name.startswith(("train/", "val/")):
                    found.setdefault(name, []).append((step, value))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("event", "count"), [("train_batch", 4), ("train_batch", 11), ("validation_batch", 2)])
def test_a_run_stopped_in_mid_epoch_goes_on_in_the_same_run_on_the_same_axis(event, count, bcss_root, tmp_path):
    """No step is missing, none is logged twice."""
    settings = ["logger=wandb", "logger.panel_every_n_epochs=0", "trainer.log_every_n_steps=1"]
    settings += ["test_after_training=false", "checkpoint.every_n_steps=3"]
    whole = run(tiny(bcss_root, tmp_path / "whole", *settings))
    target = f"{Interrupt.__module__}.Interrupt"
    interrupt = f"+callback.interrupt={{_target_: {target}, event: {event}, count: {count}, number: 15}}"
    with pytest.raises(RunInterruptedError):
        run(tiny(bcss_root, tmp_path / "parts", *settings, interrupt))
    (parts,) = (tmp_path / "parts").glob("*/*")
    run(tiny(bcss_root, tmp_path / "parts", *settings, f"resume={parts}"))
    assert len(sessions(parts)) == 2
    assert len({of_type(records, "run")[0]["run_id"] for records in sessions(parts)}) == 1
    assert logged(parts) == logged(whole.path)
    assert [step for step, _ in logged(parts)["train/loss_step"]] == list(range(16))
