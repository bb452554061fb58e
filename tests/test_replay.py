"""A loss that is not a number stops the run, is kept, and can be computed again until the culprit has a name."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from tests import fake
from tests.runs import run, tiny
from unet_exp.build import build_datamodule
from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.errors import UserError
from unet_exp.replaying import replay_run
from unet_exp.run.checkpoint_io import read_checkpoint
from unet_exp.run.folder import RunFolder
from unet_exp.task import SegmentationTask


def stopped_folder(output) -> RunFolder:
    (path,) = output.glob("*/*")
    return RunFolder(path)


@pytest.fixture
def diverged(bcss_root, tmp_path):
    """A run whose learning rate is absurd, in its second epoch or before."""
    settings = tiny(bcss_root, tmp_path / "out", "optim.lr=1e30", "scheduler=constant", "model.norm=none")
    with pytest.raises(UserError) as caught:
        run(settings)
    return stopped_folder(tmp_path / "out"), str(caught.value)


def test_divergence_stops_with_a_message_and_keeps_what_gave_it(diverged):
    folder, message = diverged
    assert message.startswith("The loss is ")
    assert f"python -m unet_exp.replay run={folder.path}" in message
    status = json.loads(folder.status_file.read_text())
    assert status["state"] == "failed"
    assert "The loss is " in status["reason"]
    kept = read_checkpoint(folder.path / "nonfinite_loss.ckpt")
    assert not np.isfinite(kept["loss"])
    assert kept["batch"]["image"].shape == (4, 3, 32, 32)
    assert len(kept["samples"]) == 4


def test_the_kept_weights_are_those_before_the_step(diverged):
    """They give the loss that was not a number, but come from a step that was still one."""
    folder, _ = diverged
    kept = read_checkpoint(folder.path / "nonfinite_loss.ckpt")
    assert all(torch.isfinite(value).all() for value in kept["state_dict"].values())


def test_replay_names_a_module(diverged, capsys):
    folder, _ = diverged
    (finding,) = replay_run(folder, device="cpu")
    assert not np.isfinite(finding.loss)
    assert finding.module is not None
    assert finding.weights == ()
    assert finding.module in capsys.readouterr().out


class Poisoned(nn.Module):
    """Gives NaN from the sixth call on, for finite input."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, images):
        self.calls += 1
        return self.inner(images) * torch.where(self.calls >= 6, float("nan"), 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("data", ["bcss", "isic2017"])
def test_exactly_the_guilty_batch_is_kept(data, tmp_path, monkeypatch):
    """Its pixels are those that the kept sample keys give."""
    root = fake.MAKERS[data](tmp_path / "data")
    settings = tiny(root, tmp_path / "out", "loader.num_workers=1", "loader.batch_size=2", data=data)
    original = SegmentationTask.__init__

    def poisoned(self, *, network, **others):
        original(self, network=network, **others)
        for name, module in list(network.named_modules()):
            if isinstance(module, nn.Conv2d):
                parent = network.get_submodule(name.rpartition(".")[0])
                setattr(parent, name.rpartition(".")[2], Poisoned(module))
                self.poisoned_name = name
                break

    monkeypatch.setattr(SegmentationTask, "__init__", poisoned)
    with pytest.raises(UserError, match="The loss is nan"):
        run(settings, {"model": "unet", "data": data, "loss": "dice_ce"})
    folder = stopped_folder(tmp_path / "out")
    kept = read_checkpoint(folder.path / "nonfinite_loss.ckpt")
    datamodule = build_datamodule(check_train_config(compose_config("train", settings)))
    samples = [datamodule.train_dataset[s["epoch"], s["index"]] for s in kept["samples"]]
    for name in ("image", "mask"):
        assert torch.equal(torch.stack([sample[name] for sample in samples]), kept["batch"][name])
    assert {s["case"] for s in kept["samples"]} <= {case.id for case in datamodule.split.train}
    (finding,) = replay_run(folder, device="cpu")
    assert finding.module is not None
    assert "Poisoned" not in finding.module
    task_names = [name for name in kept["state_dict"] if name.endswith(".calls")]
    assert f"{finding.module}.calls" == task_names[0]


def test_the_kept_place_is_where_the_patch_was(bcss_root):
    settings = [f"data.root={bcss_root}", "data=bcss", "data.patch_size=16", "data.mpp=0.5", "augmentation=none"]
    datamodule = build_datamodule(check_train_config(compose_config("train", settings)))
    dataset = datamodule.train_dataset
    for key in ((0, 3), (2, 7)):
        choice, top, left = dataset.place_of(key)
        stored = datamodule.collection.store[datamodule.split.train[choice].id]
        assert np.array_equal(dataset[key]["mask"], stored.labels[top : top + 16, left : left + 16])


@pytest.mark.slow
def test_the_command_runs_and_explains_itself(diverged, run_module):
    folder, _ = diverged
    done = run_module("unet_exp.replay", f"run={folder.path}", "device=cpu")
    assert done.returncode == 0, done.stderr
    assert "first module with NaN or infinite output" in done.stdout
    assert "run=outputs" in run_module("unet_exp.replay", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "run: which run shall be looked at"),
        (["run=nowhere"], "nowhere is not a run folder"),
        (["run=nowhere", "device=tpu"], "device: must be one of auto, cpu, cuda"),
    ],
)
def test_mistakes_are_explained(arguments, message, run_module):
    done = run_module("unet_exp.replay", *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_without_such_a_loss_is_told(tmp_path):
    (tmp_path / "config.yaml").write_text("{}\n")
    with pytest.raises(UserError, match=r"holds no nonfinite_loss\.ckpt"):
        replay_run(RunFolder(tmp_path), device="cpu")
