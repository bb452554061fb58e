"""A real training with `logger=wandb`, read back from the offline run: what it holds, and how it says it ended."""

import pytest

from tests.runs import run, tiny
from tests.test_wandb_logger import history, of_type, sessions
from unet_exp.run.history import read_history
from unet_exp.task import SegmentationTask


@pytest.fixture(autouse=True)
def logged_out(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path))


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
