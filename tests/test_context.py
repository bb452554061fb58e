"""A network that sees surroundings, from training to files, prediction, export and ensembles."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.runs import run, tiny
from unet_exp import evaluate, export, predict
from unet_exp.build import build_datamodule, build_task
from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.errors import ConfigError
from unet_exp.inference import SlidingWindow
from unet_exp.model.ctx_resunet import CtxResUNet

CONTEXT = (
    "model=ctx_resunet",
    "model.depth=2",
    "model.blocks=[1,1,1]",
    "model.context_factor=2",
    "supervision=context",
    "supervision.weights=[1.0,0.5]",
)


def overrides(root, output, *more, data="bcss"):
    return tiny(root, output, *CONTEXT, *more, data=data)


@pytest.fixture(scope="module")
def bcss_run(bcss_root, tmp_path_factory):
    names = {"model": "ctx_resunet", "data": "bcss", "loss": "dice_ce"}
    return run(overrides(bcss_root, tmp_path_factory.mktemp("outputs")), names=names)


class Spy(torch.nn.Module):
    """Remembers what the network was given."""

    def __init__(self, network):
        super().__init__()
        self.network, self.context_factor, self.given = network, network.context_factor, None

    def forward(self, *inputs):
        self.given = inputs
        return self.network(*inputs)


def built(root, tmp_path, *more, data="bcss"):
    config = check_train_config(compose_config("train", overrides(root, tmp_path, *more, data=data)))
    datamodule = build_datamodule(config)
    datamodule.prepare_data()
    return config, datamodule, build_task(config, datamodule.source, {})


def test_the_network_gets_the_surroundings_that_it_asks_for(bcss_root, tmp_path, monkeypatch):
    config, datamodule, task = built(bcss_root, tmp_path)
    assert config["data"]["context_mpp"] == [1.0]
    assert config["model"]["context_margin"] == config["inference"]["surroundings"] == 16
    batch = next(iter(datamodule.train_dataloader()))
    task.network = Spy(task.network)
    seen = []
    monkeypatch.setattr(task.criterion, "forward", lambda outputs, *targets: seen.append(targets) or outputs[0].sum())
    monkeypatch.setattr(task, "log", lambda *_, **__: None)
    task.training_step(batch, 0)
    _, context = task.network.given
    assert torch.equal(context, task.normalize(batch["image_x2"]))
    assert torch.equal(seen[0][1], batch["mask_x2"].long())


def test_whole_images_are_their_own_surroundings(isic_root, tmp_path, monkeypatch):
    config, datamodule, task = built(isic_root, tmp_path, data="isic2017")
    assert config["model"]["context_margin"] == config["inference"]["surroundings"] == 0
    task.network = Spy(task.network)
    monkeypatch.setattr(task, "log", lambda *_, **__: None)
    loss = task.training_step(next(iter(datamodule.train_dataloader())), 0)
    assert len(task.network.given) == 1
    loss.backward()
    assert all(p.grad is not None for p in task.network.parameters())


@pytest.mark.parametrize("wrong", [["model=unet"], ["model=ctx_resunet", "model.context_factor=0"]])
def test_supervised_surroundings_need_a_network_that_predicts_them(wrong):
    with pytest.raises(ConfigError, match=r"supervision\.context_weight: .* Use supervision=deep"):
        check_train_config(compose_config("train", ["data=bcss", "supervision=context", *wrong]))


def test_without_context_nothing_more_is_read(bcss_root, tmp_path):
    config, datamodule, task = built(bcss_root, tmp_path, "model.context_factor=0", "supervision.context_weight=0")
    assert config["data"]["context_mpp"] == []
    assert set(next(iter(datamodule.train_dataloader()))) == {"image", "mask"}
    assert task.network.context is None


@pytest.mark.parametrize("size", [(70, 90), (150, 110)])
def test_windows_see_their_surroundings(size):
    """Far from what a window does not see, windows predict what one pass over the whole image does."""
    torch.manual_seed(0)
    network = CtxResUNet(3, 2, base_channels=4, depth=2, blocks=(1, 1, 1), context_factor=2, context_margin=16).eval()
    image = torch.randn(1, 3, *size)
    engine = SlidingWindow(window_size=16, surroundings=16, halo=32, alignment=8, overlap=0.5)
    assert engine.window_size == 2 * 16 + 2 * (16 + 32)
    with torch.no_grad():
        whole = network(image)
    windows = engine(network, image)
    assert torch.allclose(windows, whole, atol=1e-3 * whole.abs().max())
    blind = SlidingWindow(window_size=16, alignment=8, overlap=0.5)(network, image)
    assert not torch.allclose(blind, whole, atol=0.1 * whole.abs().max())


def test_larger_windows_make_smaller_batches():
    assert SlidingWindow(window_size=128, surroundings=192, batch_size=40).batch_size == 1
    assert SlidingWindow(window_size=128, batch_size=40).batch_size == 40


def scored(folder):
    with (folder / "per_image.csv").open() as file:
        return list(csv.DictReader(file))


def assert_predictions_are_scored(runs, bcss_root, tmp_path):
    """`predict` gives what `evaluate` counts: an ensemble is blended in one way by both."""
    given = f"run=[{','.join(str(folder.path) for folder in runs)}]"
    evaluate.main([given, "split=val", f"output={tmp_path / 'scores'}"])
    with (tmp_path / "scores" / "per_image.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        image = bcss_root / "images" / f"{row['image']}.png"
        predict.main([given, f"input={image}", "input_mpp=0.5", f"output={tmp_path / image.stem}"])
        labels = np.asarray(Image.open(tmp_path / image.stem / f"{image.stem}.labels.png"))
        codes = np.asarray(Image.open(bcss_root / "masks" / image.name))
        tumor = np.count_nonzero((labels == 0) & np.isin(codes, (1, 19, 20)))
        assert abs(tumor - int(row["tp_tumor"])) <= 0.001 * labels.size
    assert rows


def test_predictions_are_those_that_were_scored(bcss_run, bcss_root, tmp_path):
    assert_predictions_are_scored([bcss_run], bcss_root, tmp_path)


@pytest.fixture(scope="module")
def plain_run(bcss_root, tmp_path_factory):
    """A network without surroundings, whose windows may begin elsewhere."""
    return run(tiny(bcss_root, tmp_path_factory.mktemp("plain"), "model.depth=3"))


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, -1])
def test_the_predictions_of_an_ensemble_are_those_that_were_scored(bcss_run, plain_run, bcss_root, tmp_path, order):
    assert_predictions_are_scored([plain_run, bcss_run][::order], bcss_root, tmp_path)


@pytest.mark.slow
def test_the_exported_network_needs_one_input(bcss_run, bcss_root, tmp_path):
    export.main([f"run={bcss_run.path}", "format=onnx", f"output={tmp_path / 'bundle'}"])
    content = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert content["model"]["inference"]["surroundings"] == 16
    (image, *_) = sorted((bcss_root / "images").iterdir())
    for name, place in (("run", bcss_run.path), ("bundle", tmp_path / "bundle")):
        predict.main([f"{name}={place}", f"input={image}", "input_mpp=0.5", f"output={tmp_path / name}"])
    first, second = (np.asarray(Image.open(tmp_path / n / f"{image.stem}.labels.png")) for n in ("run", "bundle"))
    assert (first == second).mean() > 0.999


@pytest.mark.slow
def test_an_ensemble_gives_all_their_surroundings(bcss_run, plain_run, bcss_root, tmp_path):
    (image, *_) = sorted((bcss_root / "images").iterdir())
    outputs = []
    for number, runs in enumerate(([plain_run.path, bcss_run.path], [bcss_run.path, plain_run.path])):
        given = ",".join(map(str, runs))
        predict.main([f"run=[{given}]", f"input={image}", "input_mpp=0.5", f"output={tmp_path / str(number)}"])
        outputs.append(np.asarray(Image.open(tmp_path / str(number) / f"{image.stem}.labels.png")))
    assert (outputs[0] == outputs[1]).mean() > 0.999
