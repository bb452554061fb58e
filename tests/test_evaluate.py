"""``python -m unet_exp.evaluate``: the same numbers as in training, other data, clear refusals."""

import csv
import json
import shutil

import pytest
import torch
from PIL import Image

from tests import fake
from tests.runs import run, tiny
from unet_exp import evaluate
from unet_exp.errors import ConfigError
from unet_exp.run.overrides import apply_overrides


@pytest.fixture(scope="module")
def bcss_run(bcss_root, tmp_path_factory):
    return run(tiny(bcss_root, tmp_path_factory.mktemp("outputs")))


@pytest.fixture(scope="module")
def isic_run(isic_root, tmp_path_factory):
    return run(tiny(isic_root, tmp_path_factory.mktemp("outputs"), data="isic2017"))


def fails(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as caught:
        evaluate.main([str(argument) for argument in arguments])
    assert caught.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert "Traceback (most recent call last):" not in lines
    (start,) = (number for number, line in enumerate(lines) if line.startswith("error: "))
    return "\n".join(lines[start:])


@pytest.mark.parametrize("part", ["val", "test"])
def test_numbers_equal_those_of_training(bcss_run, part):
    evaluate.main([f"run={bcss_run.path}", f"split={part}"])
    folder = bcss_run.evaluation / part
    again = json.loads((folder / "metrics.json").read_text())[part]
    assert again == pytest.approx(bcss_run.metrics()[part], abs=1e-6)
    table = list(csv.DictReader((folder / "per_image.csv").open()))
    before = [row for row in csv.DictReader(bcss_run.per_image_file.open()) if row["part"] == part]
    assert table == before
    assert {p.name for p in (folder / "figures").iterdir()} == {f"confusion_{part}.png", f"predictions_{part}.png"}


def test_the_last_checkpoint_has_a_folder_of_its_own(bcss_run):
    evaluate.main([f"run={bcss_run.path}", "split=val", "checkpoint=last"])
    assert (bcss_run.evaluation / "val-last" / "metrics.json").is_file()


def test_data_that_has_moved_is_found_by_its_new_root(bcss_run, bcss_root, tmp_path):
    shutil.copytree(bcss_root, tmp_path / "moved")
    output = tmp_path / "results"
    evaluate.main([f"run={bcss_run.path}", f"data.root={tmp_path / 'moved'}", f"output={output}"])
    assert json.loads((output / "metrics.json").read_text())["test"] == pytest.approx(
        bcss_run.metrics()["test"], abs=1e-6
    )


def test_another_dataset_of_the_same_task(isic_run, tmp_path):
    root = fake.ph2(tmp_path / "ph2")
    evaluate.main([f"run={isic_run.path}", "data=ph2", f"data.root={root}", f"output={tmp_path / 'out'}"])
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["test"]["images"] == 5


def test_another_dataset_keeps_the_resolution_of_the_run(isic_run):
    config = apply_overrides(isic_run.config(), ["data=ph2", "data.root=/x"])
    assert config["data"]["image_size"] == 32
    assert config["data"]["_target_"].endswith("PH2")
    assert apply_overrides(isic_run.config(), ["data=ph2", "data.image_size=64"])["data"]["image_size"] == 64


def test_dataset_with_other_classes_is_refused(isic_run, bcss_root, capsys):
    message = fails(capsys, f"run={isic_run.path}", "data=bcss", f"data.root={bcss_root}")
    assert "background, lesion (1 outputs)" in message
    assert "tumor" in message


def test_images_trained_on_are_refused(isic_run, capsys):
    message = fails(capsys, f"run={isic_run.path}", "data.split.scheme=holdout", "split=val")
    assert "were trained on by this run" in message


def test_training_images_are_scored_when_asked_for_and_marked(bcss_run):
    evaluate.main([f"run={bcss_run.path}", "split=train", "allow_train_images=true"])
    folder = bcss_run.evaluation / "train-with_train_images"
    assert json.loads((folder / "metrics.json").read_text())["images_trained_on"] == 3
    with (folder / "per_image.csv").open(newline="") as file:
        assert {row["trained_on"] for row in csv.DictReader(file)} == {"True"}


def test_training_images_are_refused(bcss_run, capsys):
    assert "3 of the 3 train images" in fails(capsys, f"run={bcss_run.path}", "split=train")


def test_pictures_trained_on_are_known_under_another_name(isic_run, isic_root, tmp_path, capsys):
    """Another dataset, other names, another file type: the same pixels."""
    root = tmp_path / "data"
    for sub in ("images", "masks"):
        (root / sub).mkdir(parents=True)
    split = isic_run.split()
    for number, name in enumerate([*split["train"][:2], split["test"][0]]):
        image = next(isic_root.rglob(f"{name}.jpg"))
        Image.open(image).save(root / "images" / f"patient{number}.png")
        Image.open(next(isic_root.rglob(f"{name}_segmentation.png"))).save(root / "masks" / f"patient{number}.png")
    arguments = ["data=folder", f"data.root={root}", "data.split.scheme=kfold", "data.split.folds=2", "split=train"]
    arguments += ["data.split.fold=1"]
    message = fails(capsys, f"run={isic_run.path}", *arguments)
    assert "were trained on by this run, e.g. patient" in message


def test_the_checkpoint_knows_its_split(bcss_run):
    saved = torch.load(bcss_run.checkpoint("best"), weights_only=True)["unet_exp"]["split"]
    assert saved == bcss_run.split()
    assert len(saved["contents"]) == 7


def test_allow_train_images_must_be_a_truth_value(bcss_run, capsys):
    message = fails(capsys, f"run={bcss_run.path}", "allow_train_images=perhaps")
    assert "allow_train_images: must be true or false, got 'perhaps'" in message


def test_empty_part_is_explained(bcss_run, tmp_path, capsys):
    root = fake.bcss(tmp_path / "few", institutions=("A2", "AR", "BH"))
    assert "there is no test case in this split (official: 2 train, 1 val, 0 test)" in fails(
        capsys, f"run={bcss_run.path}", f"data.root={root}"
    )


def test_damaged_checkpoint_is_named(bcss_run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(bcss_run.path, copy)
    checkpoint = copy / "checkpoints" / "best.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert f"{checkpoint} is damaged and cannot be loaded" in fails(capsys, f"run={copy}")
    torch.save({"state_dict": {}}, checkpoint)
    assert "cannot be loaded into this network" in fails(capsys, f"run={copy}")
    checkpoint.unlink()
    assert "does not exist (checkpoints there: last)" in fails(capsys, f"run={copy}")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "run: which run shall be scored?"),
        (["run=nowhere"], "nowhere is not a run folder: it does not exist"),
        (["run={run}", "split=holdout"], "split: must be train, val or test"),
        (["run={run}", "data.rooot=/x"], "data.rooot: the run's configuration has no such key"),
        (["run={run}", "data=nothing"], "Could not find 'data/nothing'"),
        (["run={run}", "loader.batch_size=0"], "loader.batch_size: Input should be greater than 0"),
        (["run={run}", "checkpoint=first"], "first.ckpt does not exist"),
        (["run={run}", "data.root=/nowhere"], "No data found"),
        (["run={run}", "=3"], "mistake in the configuration"),
    ],
)
def test_mistakes_are_explained(bcss_run, capsys, arguments, expected):
    assert expected in fails(capsys, *(argument.format(run=bcss_run.path) for argument in arguments))


def test_overrides_can_exchange_the_trainer(bcss_run):
    config = apply_overrides(bcss_run.config(), ["trainer=debug", "trainer.precision=bf16-mixed", "seed=4"])
    assert config["trainer"]["limit_test_batches"] == 2
    assert config["trainer"]["precision"] == "bf16-mixed"
    assert config["seed"] == 4
    assert config["data"] == bcss_run.config()["data"]


def test_an_unknown_option_of_a_group_lists_the_known_ones(bcss_run):
    with pytest.raises(ConfigError, match="lesion_demo"):
        apply_overrides(bcss_run.config(), ["data=nothing"])
