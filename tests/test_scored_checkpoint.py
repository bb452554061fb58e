"""`scored_checkpoint`: which weights stand for a run, at the end of training and in every command after it."""

import csv
import json

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from tests.runs import run, tiny
from tests.sweep.jobs import job
from unet_exp import evaluate
from unet_exp.bundle.build import export_run
from unet_exp.bundle.settings import ExportSettings
from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.errors import UserError
from unet_exp.prediction.from_run import load_run
from unet_exp.run.checkpoint_io import read_checkpoint
from unet_exp.run.history import write_history
from unet_exp.run.identity import config_hash
from unet_exp.search.source import score_of


class Recorder(Callback):
    """Keeps one weight of every step, as the optimiser left it."""

    steps: list[torch.Tensor]

    def on_fit_start(self, trainer, pl_module):
        type(self).steps = []

    def on_train_batch_end(self, trainer, pl_module, *_, **__):
        self.steps.append(first_weight(pl_module.state_dict()).clone())


def first_weight(state: dict[str, torch.Tensor]) -> torch.Tensor:
    return next(value for name, value in state.items() if name.startswith("network.") and value.ndim == 4)


@pytest.fixture(scope="module")
def last_run(bcss_root, tmp_path_factory):
    """The best checkpoint is of the second epoch, the only one that is validated; the last one of the third."""
    settings = ["scored_checkpoint=last", "callback=ema", "trainer.max_epochs=3", "trainer.check_val_every_n_epoch=2"]
    recorder = "+callback.recorder._target_=tests.test_scored_checkpoint.Recorder"
    return run(tiny(bcss_root, tmp_path_factory.mktemp("outputs"), *settings, recorder))


def weights(folder, name):
    return first_weight(read_checkpoint(folder.checkpoint(name))["state_dict"])


def test_the_last_weights_are_the_average_of_those_of_all_steps(last_run):
    average, *later = Recorder.steps
    for n, step in enumerate(later, start=1):
        average = average.lerp(step, 1 - min(0.999, (1 + n) / (10 + n)))
    torch.testing.assert_close(weights(last_run, "last"), average, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(average, Recorder.steps[-1], atol=1e-4)


def test_training_scores_them_on_every_part_and_every_image(last_run):
    metrics = last_run.metrics()
    assert metrics["checkpoint"] == "last"
    assert not torch.equal(weights(last_run, "best"), weights(last_run, "last"))
    rows = list(csv.DictReader(last_run.per_image_file.open()))
    assert {row["part"] for row in rows} == {"val", "test"}


@pytest.mark.parametrize("part", ["val", "test"])
def test_evaluate_takes_the_weights_that_training_has_scored(last_run, part):
    evaluate.main([f"run={last_run.path}", f"split={part}"])
    again = json.loads((last_run.evaluation / part / "metrics.json").read_text())
    assert again["checkpoint"] == "last"
    assert np.array_equal(again[part]["confusion"], last_run.metrics()[part]["confusion"])
    evaluate.main([f"run={last_run.path}", f"split={part}", "checkpoint=best"])
    best = json.loads((last_run.evaluation / f"{part}-best" / "metrics.json").read_text())
    assert best["checkpoint"] == "best"
    assert not np.array_equal(best[part]["confusion"], last_run.metrics()[part]["confusion"])


@pytest.mark.slow
def test_predict_and_export_take_them_too(last_run):
    expected = {name: load_run(last_run.path, name, torch.device("cpu"))[2] for name in ("best", "last")}
    assert load_run(last_run.path, None, torch.device("cpu"))[2] == expected["last"] != expected["best"]
    settings = {"run": str(last_run.path), "format": "torch_export", "output": None, "overwrite": False}
    bundle = export_run(ExportSettings(**settings, checkpoint=None, data_root=None))
    assert bundle.name == "bundle-torch_export"
    assert json.loads((bundle / "bundle.json").read_text())["run"]["checkpoint"] == "last"
    assert export_run(ExportSettings(**settings, checkpoint="best", data_root=None)).name.endswith("-best")


def test_a_lost_checkpoint_is_not_replaced_by_another_one(last_run, tmp_path):
    (tmp_path / "metrics.json").write_text('{"checkpoint": "best"}')
    lost = type(last_run)(tmp_path)
    assert lost.scored_checkpoint({"scored_checkpoint": "last"}) == "best"
    with pytest.raises(UserError, match="does not exist"):
        lost.checkpoint(lost.scored_checkpoint({}))
    (tmp_path / "metrics.json").write_text("{")
    assert lost.scored_checkpoint({"scored_checkpoint": "last"}) == "last"
    assert lost.scored_checkpoint({}) == "best"


def test_a_search_counts_the_score_of_those_weights(tmp_path):
    trial = job(tmp_path, "0")
    trial.folder.path.mkdir()
    assert score_of(trial) is None
    write_history(trial.folder.history_file, [{"epoch": e, "val/dice": d} for e, d in enumerate((0.5, 0.8, 0.7))])
    assert score_of(trial) == 0.8
    trial.config = {**trial.config, "scored_checkpoint": "last"}
    assert score_of(trial) == 0.7


def test_runs_of_before_there_was_a_choice_keep_their_identity():
    plain = check_train_config(compose_config("train", ["data=bcss"]))
    before = {key: value for key, value in plain.items() if key not in ("scored_checkpoint", "study")}
    assert config_hash(plain) == config_hash(before)
    assert config_hash({**plain, "scored_checkpoint": "last"}) != config_hash(before)
