"""Training end to end on tiny data: the run folder's contract, repeatability, learning."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from tests import fake
from tests.networks import skipping_without_its_library
from tests.runs import run, tiny
from tests.test_config import options
from unet_exp.build import build_datamodule
from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.data._collection import open_collection
from unet_exp.errors import ConfigError, DataError, UserError
from unet_exp.run.history import read_history


@pytest.fixture(scope="module")
def finished(bcss_root, tmp_path_factory):
    """A finished run on tiny BCSS, with an average of the weights and deep supervision."""
    output = tmp_path_factory.mktemp("outputs")
    return run(tiny(bcss_root, output, "callback=ema", "supervision.weights=[1.0,0.5]", "name=tests"))


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_run_folder_keeps_the_contract(finished):
    expected = {
        "config.yaml",
        "environment.json",
        "split.json",
        "status.json",
        "history.csv",
        "metrics.json",
        "per_image.csv",
        "per_image.parquet",
        "cases",
        "checkpoints",
        "figures",
    }
    assert {path.name for path in finished.path.iterdir()} == expected
    assert {path.name for path in finished.checkpoints.iterdir()} == {"last.ckpt", "last-previous.ckpt", "best.ckpt"}
    kinds = ("confusion", "predictions", "reliability")
    figures = {"curves", *(f"{kind}_{part}" for kind in kinds for part in ("val", "test"))}
    assert {path.stem for path in finished.figures.iterdir()} == figures
    assert finished.path.parent.name == "tests"
    assert not [path for path in finished.path.rglob("*") if "=" in path.name]


def test_status_and_environment_say_what_happened(finished):
    assert json.loads(finished.status_file.read_text())["state"] == "finished"
    environment = json.loads(finished.environment_file.read_text())
    assert environment["packages"]["torch"] == torch.__version__
    assert "callback=ema" in environment["overrides"]


def test_config_is_resolved(finished):
    assert "${" not in finished.config_file.read_text()
    assert OmegaConf.load(finished.config_file).model.num_classes == 5


def test_history_has_one_row_per_epoch(finished):
    history = read_history(finished.history_file)
    assert [row["epoch"] for row in history] == [0, 1]
    assert [row["step"] for row in history] == [8, 16]
    for key in (
        "train/loss",
        "train/dice",
        "train/accuracy",
        "val/loss",
        "val/dice",
        "val/iou_tumor",
        "lr",
        "seconds",
    ):
        assert all(np.isfinite(row[key]) for row in history), key


def test_checkpoints_hold_only_tensors_and_plain_containers(finished):
    for name in ("best", "last"):
        content = torch.load(finished.checkpoint(name), weights_only=True)
        assert content["unet_exp"]["class_names"] == ["tumor", "stroma", "inflammatory", "necrosis", "other"]
        assert not [key for key in content["state_dict"] if "_orig_mod" in key]


def test_split_is_kept_with_its_hash(finished):
    split = json.loads(finished.split_file.read_text())
    assert len(split["train"]) == 3
    assert len(split["test"]) == 2
    assert len(split["hash"]) == 16


def test_reported_scores_are_those_of_the_best_epoch(finished):
    metrics, history = finished.metrics(), read_history(finished.history_file)
    best = max(history, key=lambda row: row["val/dice"])
    assert metrics["best_epoch"] == best["epoch"] + 1
    assert metrics["val"]["dice"] == pytest.approx(best["val/dice"], abs=1e-6)
    assert metrics["val"]["loss"] == pytest.approx(best["val/loss"], abs=1e-5)


def test_scores_follow_from_the_table_of_images(finished):
    table = rows(finished.per_image_file)
    assert [row["part"] for row in table] == ["val", "val", "test", "test"]
    dice = [float(row["dice"]) for row in table if row["part"] == "test"]
    assert finished.metrics()["test"]["image_dice"] == pytest.approx(np.mean(dice), abs=1e-6)
    assert {row["institution"] for row in table} == {"BH", "A1", "OL", "GM"}


@pytest.mark.slow
def test_two_runs_never_share_a_folder(bcss_root, tmp_path):
    settings = tiny(bcss_root, tmp_path, "trainer=debug", "trainer.limit_val_batches=1", "test_after_training=false")
    first, second = run(settings), run(settings)
    assert first.path != second.path
    assert second.path.name == f"{first.path.name}-2"
    assert torch.equal(*(torch.cat([v.flatten().float() for v in weights(f).values()]) for f in (first, second)))


def weights(folder):
    return torch.load(folder.checkpoint("last"), weights_only=True)["state_dict"]


@pytest.mark.slow
def test_the_seed_decides_the_weights(bcss_root, tmp_path):
    settings = tiny(bcss_root, tmp_path, "trainer=debug", "test_after_training=false")
    first, second = run([*settings, "seed=1"]), run([*settings, "seed=2"])
    assert first.path.name != second.path.name
    assert any(not torch.equal(a, b) for a, b in zip(weights(first).values(), weights(second).values(), strict=True))


@pytest.mark.parametrize(("data", "least"), [("bcss", 0.85), ("isic2017", 0.9)])
def test_it_learns(data, least, tmp_path):
    root = fake.MAKERS[data](tmp_path / "data")
    settings = tiny(
        root, tmp_path / "out", "trainer.max_epochs=12", "optim.lr=0.01", "model.base_channels=8", data=data
    )
    if data == "isic2017":
        settings += ["loader.batch_size=2", "trainer.max_epochs=25"]
    metrics = run(settings).metrics()
    assert metrics["val"]["dice"] > least
    assert metrics["test"]["dice"] > least


@pytest.mark.parametrize(
    "model", [m if m == "unet" else pytest.param(m, marks=pytest.mark.slow) for m in options("model")]
)
def test_every_model_trains_with_deep_supervision_on_both_kinds_of_data(model, bcss_root, isic_root, tmp_path):
    for data, root in (("bcss", bcss_root), ("isic2017", isic_root)):
        settings = [
            f"model={model}",
            "model.depth=4",
            "trainer=debug",
            f"supervision={'none' if model == 'smp_unet' else 'deep'}",
            "loader.batch_size=2",
        ]
        settings += ["data.patch_size=64"] if data == "bcss" else []
        with skipping_without_its_library():
            run(tiny(root, tmp_path, *settings, data=data), {"model": model, "data": data, "loss": "dice_ce"})


@pytest.mark.slow
@pytest.mark.parametrize("loss", options("loss"))
def test_every_loss_trains(loss, bcss_root, isic_root, tmp_path):
    if loss == "cross_entropy_han":
        pytest.skip("its three weights belong to a dataset of three classes")
    for data, root in (("bcss", bcss_root), ("isic2017", isic_root)):
        run(
            tiny(root, tmp_path, f"loss={loss}", "trainer=debug", data=data),
            {"model": "unet", "data": data, "loss": loss},
        )


@pytest.mark.parametrize(
    "experiment", [e if e == "demo" else pytest.param(e, marks=pytest.mark.slow) for e in options("experiment")]
)
def test_every_experiment_runs(experiment, tmp_path):
    """In two steps, although experiments set their own number of epochs."""
    chosen = [f"experiment={experiment}", "trainer=debug"]
    config = compose_config("train", chosen)
    settings = [f"output_folder={tmp_path}", "model.base_channels=4", "loader.batch_size=2", "loader.num_workers=0"]
    settings += ["budget=none"] if config.budget else []  # those of studies are tried in tests/study
    if "patch_size" in config.data:
        size = 252 if config.model.get("padding") == "valid" else 32  # legal without padding: 16k + 60
        settings += [f"data.patch_size={size}", f"data.window_size={max(size, 64)}", "trainer.limit_val_batches=1"]
        root = fake.bcss(tmp_path / "data")
    else:
        settings += ["data.image_size=32"]
        root = fake.isic(tmp_path / "data", year=config.data.year)
    if not config.data.root.endswith("_demo"):
        settings += [f"data.root={root}"]
    folder = run([*chosen, *settings], {"model": "m", "data": "d", "loss": "l"})
    assert folder.path.parent.name == experiment
    assert read_history(folder.history_file)[-1]["step"] == 2


def test_wrong_monitor_is_explained_before_anything_is_made(bcss_root, tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'val/dice'"):
        run(tiny(bcss_root, tmp_path / "out", "monitor=val/dicee"))
    assert not (tmp_path / "out").exists()


def test_illegal_patch_of_the_unpadded_network_is_explained(bcss_root, tmp_path):
    with pytest.raises(ConfigError, match="188"):
        run(tiny(bcss_root, tmp_path / "out", "model.padding=valid", "model.depth=4", "data.patch_size=128"))
    assert not (tmp_path / "out").exists()


def test_unknown_label_code_stops_before_anything_is_made(tmp_path):
    root = fake.bcss(tmp_path / "data")
    mask = next((root / "masks").glob("*A2*"))
    codes = np.asarray(Image.open(mask)).copy()
    codes[0, 0] = 99
    Image.fromarray(codes).save(mask)
    with pytest.raises(DataError, match=rf"{mask.name}: .*99"):
        run(tiny(root, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_wrong_learning_rate_is_explained_before_anything_is_made(bcss_root, tmp_path):
    with pytest.raises(ConfigError, match="optim, scheduler: Invalid learning rate: -1"):
        run(tiny(bcss_root, tmp_path / "out", "optim.lr=-1"))
    assert not (tmp_path / "out").exists()


def test_without_validation_the_last_checkpoint_is_scored(bcss_root, tmp_path):
    folder = run(tiny(bcss_root, tmp_path, "trainer=debug", "trainer.limit_val_batches=0", "test_after_training=false"))
    assert folder.metrics()["checkpoint"] == "last"


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["trainer.precision=bf16-mixed"],
        ["trainer.accumulate_grad_batches=2"],
        ["callback=[ema,early_stopping]"],
        ["trainer.check_val_every_n_epoch=2"],
        ["trainer.precision=64-true"],
        ["data.score_mpp=0.25"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_variants_of_training_run(overrides, bcss_root, tmp_path):
    metrics = run(tiny(bcss_root, tmp_path, *overrides, "test_after_training=false")).metrics()
    assert 0 < metrics["val"]["dice"] < 1


def test_missing_gpu_is_explained(bcss_root, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="choose trainer=cpu"):
        run(tiny(bcss_root, tmp_path / "out", "trainer.accelerator=gpu"))
    assert not (tmp_path / "out").exists()


def test_output_folder_that_cannot_be_written_is_explained(bcss_root, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot make the run folder"):
        run(tiny(bcss_root, tmp_path / "file"))


def test_failure_in_training_is_recorded(bcss_root, tmp_path, monkeypatch):
    from unet_exp.task import SegmentationTask

    def explode(*_):
        raise RuntimeError("cosmic ray")

    monkeypatch.setattr(SegmentationTask, "training_step", explode)
    with pytest.raises(RuntimeError, match="cosmic ray"):
        run(tiny(bcss_root, tmp_path))
    (status,) = tmp_path.glob("*/*/status.json")
    content = json.loads(status.read_text())
    assert content["state"] == "failed"
    assert "cosmic ray" in content["reason"]


@pytest.mark.slow
def test_resume_continues_and_gives_the_same_as_one_go(bcss_root, tmp_path):
    whole = run(tiny(bcss_root, tmp_path / "whole", "trainer.max_epochs=4", "scheduler=exponential", "callback=ema"))
    settings = tiny(bcss_root, tmp_path / "parts", "scheduler=exponential", "callback=ema")
    half = run([*settings, "trainer.max_epochs=2"])
    resumed = run([*settings, "trainer.max_epochs=4", f"resume={half.path}"])
    assert resumed.path == half.path
    history, expected = read_history(resumed.history_file), read_history(whole.history_file)
    assert [row["epoch"] for row in history] == [0, 1, 2, 3]
    for key in ("train/loss", "val/dice", "lr"):
        assert [row[key] for row in history] == pytest.approx([row[key] for row in expected], abs=1e-7)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name


def test_resume_refuses_another_model_and_names_both(finished, bcss_root, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(finished.path, copy)
    with pytest.raises(UserError) as caught:
        run(tiny(bcss_root, tmp_path, "model=resunet", f"resume={copy}"))
    assert "unet_exp.model.unet.UNet" in str(caught.value)
    assert "unet_exp.model.resunet.ResUNet" in str(caught.value)
    with pytest.raises(UserError, match=r"data\.patch_size: 32 in the run, 16 now"):
        run(tiny(bcss_root, tmp_path, "supervision.weights=[1.0,0.5]", "data.patch_size=16", f"resume={copy}"))


def test_resume_refuses_a_damaged_checkpoint_and_names_it(bcss_root, tmp_path):
    settings = tiny(bcss_root, tmp_path, "trainer=debug", "test_after_training=false")
    folder = run(settings)
    folder.last_checkpoint.write_bytes(folder.last_checkpoint.read_bytes()[:500])
    with pytest.raises(UserError, match=r"last\.ckpt is damaged"):
        run([*settings, f"resume={folder.path}"])
    assert json.loads(folder.status_file.read_text())["state"] == "finished"  # untouched


def test_resume_refuses_other_images(tmp_path):
    root = fake.bcss(tmp_path / "data")
    settings = tiny(root, tmp_path / "out", "trainer=debug", "test_after_training=false")
    folder = run(settings)
    for kind in ("images", "masks"):
        next((root / kind).glob("*AR*")).unlink()
    with pytest.raises(UserError, match="was trained on another split of the data"):
        run([*settings, f"resume={folder.path}"])


def test_resume_of_something_else_is_explained(bcss_root, tmp_path):
    with pytest.raises(UserError, match="is not a run folder: it does not exist"):
        run(tiny(bcss_root, tmp_path, f"resume={tmp_path / 'nothing'}"))


@pytest.mark.slow
def test_damaged_image_ends_with_one_clear_message_before_anything_is_made(tmp_path, run_module):
    root = fake.bcss(tmp_path / "data")
    image = next((root / "images").glob("*BH*"))
    image.write_bytes(image.read_bytes()[:300])
    done = run_module("unet_exp.train", *tiny(root, tmp_path / "out"))
    assert done.returncode == 1
    assert f"\nerror: 1 fault in the files of {root}:\n  {image}: " in f"\n{done.stderr}"
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_mask_damaged_after_it_was_verified_ends_with_one_clear_message(workers, tmp_path, run_module):
    """It is read in a worker process, in the middle of training."""
    root = fake.isic(tmp_path / "data", year=2017)
    overrides = tiny(root, tmp_path / "out", f"loader.num_workers={workers}", data="isic2017")
    config = compose_config("train", overrides)
    open_collection(build_datamodule(check_train_config(config)).source, Path(config.store_folder))
    mask = next((root / "ISIC-2017_Validation_Part1_GroundTruth").iterdir())
    stat = mask.stat()
    mask.write_bytes(mask.read_bytes()[:60].ljust(stat.st_size, b"x"))
    os.utime(mask, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as a failing disk does it: nobody notices
    done = run_module("unet_exp.train", *overrides)
    assert done.returncode == 1
    assert f"error: {mask}: " in done.stderr
    assert "Traceback" not in done.stderr
    (status,) = (tmp_path / "out").glob("*/*/status.json")
    content = json.loads(status.read_text())
    assert content["state"] == "failed"
    assert str(mask) in content["reason"]
