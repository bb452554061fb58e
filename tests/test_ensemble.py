"""Several runs scored as one."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from tests.runs import run, tiny
from tests.test_evaluate import fails
from unet_exp import evaluate
from unet_exp.build import build_datamodule, build_task
from unet_exp.ensemble import Ensemble
from unet_exp.evaluation import load_weights


class Constant(nn.Module):
    def __init__(self, *logits):
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, images):
        return self.logits[None, :, None, None].expand(len(images), -1, *images.shape[-2:])


@pytest.mark.parametrize("logits", [[(0.3,), (-2.0,)], [(1.0, 2.0, 0.0), (0.0, -1.0, 4.0), (9.0, 0.0, 0.0)]])
def test_probabilities_are_averaged(logits):
    ensemble = Ensemble([Constant(*one) for one in logits])
    activation = torch.sigmoid if len(logits[0]) == 1 else lambda values: values.softmax(0)
    expected = torch.stack([activation(torch.tensor(one)) for one in logits]).mean(0)
    found = ensemble(torch.zeros(2, 3, 4, 5))
    assert found.shape == (2, len(logits[0]), 4, 5)
    torch.testing.assert_close(activation(found[1, :, 3, 2]), expected)


def test_a_certain_network_gives_finite_logits():
    for logits in ((200.0,), (200.0, -200.0)):
        assert Ensemble([Constant(*logits)] * 2)(torch.zeros(1, 1, 2, 2)).isfinite().all()


@pytest.fixture(scope="module")
def isic_runs(isic_root, tmp_path_factory):
    """Two seeds and two networks."""
    output = tmp_path_factory.mktemp("outputs")
    common = ["optim.lr=0.02", "trainer.max_epochs=4"]
    first = run(tiny(isic_root, output, *common, data="isic2017"))
    return first, run(tiny(isic_root, output, *common, "seed=1", "model.base_channels=6", data="isic2017"))


def names(folders):
    return f"run=[{','.join(str(folder.path) for folder in folders)}]"


def test_the_mean_of_two_runs_is_scored(isic_runs, tmp_path):
    evaluate.main([names(isic_runs), f"output={tmp_path / 'out'}"])
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["run"] == [str(folder.path) for folder in isic_runs]
    assert metrics["cost"]["parameters"] == sum(folder.metrics()["parameters"] for folder in isic_runs)
    rows = {row["image"]: row for row in csv.DictReader((tmp_path / "out" / "per_image.csv").open())}
    datamodule = build_datamodule(isic_runs[0].config())
    tasks = [build_task(folder.config(), datamodule.source, {}).eval() for folder in isic_runs]
    for task, folder in zip(tasks, isic_runs, strict=True):
        load_weights(task, folder.checkpoint("best"))
    cases = datamodule.split.cases("test")
    for case, sample in zip(cases, datamodule.evaluation_dataset(cases), strict=False):
        with torch.no_grad():
            mean = torch.stack([task(sample["image"][None]).sigmoid() for task in tasks]).mean(0)
        size = sample["mask"].shape
        found = (task.resize(torch.logit(mean), size)[0, 0] > 0).numpy()
        truth = sample["mask"].numpy() == 1
        total = found.sum() + truth.sum()
        assert float(rows[case.id]["dice"]) == pytest.approx(2 * (found & truth).sum() / total, abs=1e-6)
    dice = [row["dice"] for folder in isic_runs for row in csv.DictReader(folder.per_image_file.open())]
    assert len(set(dice)) > 4  # the members differ, so that the comparison tells


def test_two_checkpoints_of_one_run(isic_runs, tmp_path):
    evaluate.main([f"run={isic_runs[0].path}", "checkpoint=[best,last]", f"output={tmp_path / 'out'}"])
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["checkpoint"] == ["best", "last"]
    assert metrics["train_seconds"] == pytest.approx(isic_runs[0].metrics()["train_seconds"])
    assert np.isfinite(metrics["test"]["dice"])


def test_it_must_be_told_where_results_go(isic_runs, capsys):
    assert "output: several runs or checkpoints belong to no run folder" in fails(capsys, names(isic_runs))


def test_images_that_any_run_was_trained_on_are_refused(isic_runs, isic_root, tmp_path, capsys):
    """The second run was trained on what validates the first."""
    split = ["data.split.scheme=holdout", "data.split.seed=3", "data.split.validation_fraction=0.4"]
    other = run(tiny(isic_root, tmp_path / "outputs", *split, data="isic2017"))
    message = fails(capsys, names([isic_runs[0], other]), "split=val", f"output={tmp_path / 'out'}")
    assert "val images" in message
    assert "were trained on by this run" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_runs_that_cannot_be_averaged_are_refused(isic_runs, isic_root, bcss_root, tmp_path, capsys):
    output = f"output={tmp_path / 'out'}"
    bcss = run(tiny(bcss_root, tmp_path / "outputs"))
    assert "cannot be averaged: they differ in data.classes" in fails(capsys, names([isic_runs[0], bcss]), output)
    coarse = run(tiny(isic_root, tmp_path / "outputs", "data.image_size=16", data="isic2017"))
    assert "they differ in data.image_size." in fails(capsys, names([isic_runs[0], coarse]), output)
    assert "best.ckpt is named twice" in fails(capsys, names([isic_runs[0], isic_runs[0]]), output)
    copy = tmp_path / "copy"
    shutil.copytree(isic_runs[1].path, copy)
    (copy / "checkpoints" / "best.ckpt").unlink()
    assert "best.ckpt does not exist" in fails(capsys, f"run=[{isic_runs[0].path},{copy}]", output)
    assert not (tmp_path / "out").exists()
