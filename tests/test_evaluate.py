"""``python -m unet_exp.evaluate``: the same numbers as in training, other data, clear refusals."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import binary_erosion, distance_transform_edt

from tests import fake
from tests.runs import run, tiny
from unet_exp import evaluate
from unet_exp.build import build_datamodule, build_task
from unet_exp.errors import ConfigError
from unet_exp.evaluation import load_weights
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


def assert_same_scores(again, before):
    """Numbers, intervals, counts and bins; nothing is left out."""
    assert flat(again) == pytest.approx(flat(before), abs=1e-6)


def flat(content, path=""):
    if isinstance(content, dict | list):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        return {name: leaf for key, value in items for name, leaf in flat(value, f"{path}/{key}").items()}
    return {path: content}


@pytest.mark.parametrize("part", ["val", "test"])
def test_numbers_equal_those_of_training(bcss_run, part):
    evaluate.main([f"run={bcss_run.path}", f"split={part}"])
    folder = bcss_run.evaluation / part
    again = json.loads((folder / "metrics.json").read_text())[part]
    assert_same_scores(again, bcss_run.metrics()[part])
    table = list(csv.DictReader((folder / "per_image.csv").open()))
    before = [row for row in csv.DictReader(bcss_run.per_image_file.open()) if row["part"] == part]
    assert table == before
    figures = {f"{name}_{part}.png" for name in ("confusion", "predictions", "reliability")}
    assert {p.name for p in (folder / "figures").iterdir()} == figures


def test_a_part_is_described_in_full(isic_run):
    metrics = isic_run.metrics()
    part = metrics["test"]
    assert part["bootstrap"]["draws"] == 10_000
    low, high = part["intervals"]["dice"]
    assert low <= part["dice"] <= high
    assert sum(map(sum, part["confusion"])) == sum(one["count"] for one in part["calibration"]["bins"]) > 0
    at_half = next(row for row in part["thresholds"] if row["threshold"] == 0.5)
    assert at_half["dice"] == pytest.approx(part["image_dice"], abs=1e-6)
    assert at_half["global_dice"] == pytest.approx(part["global_dice"], abs=1e-6)
    assert metrics["conventions"]["hd95"].startswith("in px, a pixel is 1 wide; per image, MONAI's definition")
    aggregates = {"image_hd95", "image_surface_dice", "image_thresholded_iou", "accuracy", "iou", "global_dice"}
    for name in aggregates:
        low, high = part["intervals"][name]
        assert low <= part[name] <= high
    for name in ("ece", "brier"):
        low, high = part["intervals"][name]
        assert 0 < low < high < 1
    for row, ends in zip(part["thresholds"], part["threshold_intervals"], strict=True):
        assert all(
            ends[name] is None or ends[name][0] is None or ends[name][0] <= row[name]
            for name in row.keys() - {"threshold"}
        )
    assert metrics["cost"]["parameters"] == metrics["parameters"]
    assert metrics["cost"]["images_per_second"] > 0
    assert metrics["cost"]["peak_memory_mb"] > 10


def test_distances_are_those_of_the_predicted_masks(isic_run):
    """A second prediction of every case, and SciPy's distance transform of the whole masks."""
    datamodule = build_datamodule(isic_run.config())
    datamodule.prepare_data()
    task = build_task(isic_run.config(), datamodule.source, {}).eval()
    load_weights(task, isic_run.checkpoint("best"))
    rows = {row["image"]: row for row in csv.DictReader(isic_run.per_image_file.open())}
    cases = datamodule.split.cases("test")
    for case, sample in zip(cases, datamodule.evaluation_dataset(cases), strict=False):
        with torch.no_grad():
            logits = task.resize(task(sample["image"][None]), sample["mask"].shape)
        masks = [task.classify(logits)[0].numpy() == 1, sample["mask"].numpy() == 1]
        present = [mask.any() for mask in masks]
        expected = np.hypot(*masks[0].shape) if any(present) else 0
        if all(present):
            edges = [mask & ~binary_erosion(mask) for mask in masks]
            directed = [distance_transform_edt(~b)[a] for a, b in (edges, edges[::-1])]
            expected = max(np.percentile(distances, 95) for distances in directed)
        assert float(rows[case.id]["hd95"]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["isic", "bcss"])
def test_one_two_and_three_processes_write_the_same_bytes(kind, request, tmp_path, run_module):
    """More images than fit into a batch, and a last batch that is not full."""
    folder = request.getfixturevalue(f"{kind}_run")
    settings = ["split=train", "allow_train_images=true", "statistics.method=bca", "inference.batch_size=4"]
    tables, scores = [], []
    for processes in (1, 2, 3):
        output = tmp_path / str(processes)
        ranks = ["trainer.strategy=ddp", f"trainer.devices={processes}"] if processes > 1 else []
        done = run_module("unet_exp.evaluate", f"run={folder.path}", f"output={output}", *settings, *ranks)
        assert done.returncode == 0, done.stderr
        tables.append((output / "per_image.csv").read_bytes())
        metrics = json.loads((output / "metrics.json").read_text())
        scores.append(json.dumps({name: metrics[name] for name in ("train", "conventions", "images_trained_on")}))
    assert tables[0] == tables[1] == tables[2]
    assert scores[0] == scores[1] == scores[2]


@pytest.mark.slow
def test_processes_close_their_connection_before_they_end(isic_run, tmp_path):
    """One that ends with an open connection may abort, and Lightning then kills the others at their work."""
    script = tmp_path / "evaluate_and_look.py"
    script.write_text(
        "import os\nfrom torch import distributed\nfrom unet_exp.evaluate import main\nmain()\n"
        "open(f'{os.environ.get(\"LOCAL_RANK\", 0)}-{distributed.is_initialized()}', 'w').close()\n"
    )
    arguments = [f"run={isic_run.path}", f"output={tmp_path / 'scores'}", "trainer.strategy=ddp", "trainer.devices=2"]
    subprocess.run([sys.executable, script, *arguments], cwd=tmp_path, check=True, timeout=300)
    assert {path.name for path in tmp_path.glob("?-*")} == {"0-False", "1-False"}


def test_chosen_cases_have_pictures_of_their_own(bcss_run):
    folder = bcss_run.path / "cases"
    entries = json.loads((folder / "cases.json").read_text())
    assert [(entry["part"], entry["label"]) for entry in entries] == [
        (part, label) for part in ("val", "test") for label in ("best", "worst")
    ]
    dice = {row["image"]: row["dice"] for row in csv.DictReader(bcss_run.per_image_file.open())}
    named = set()
    for entry in entries:
        assert entry["dice"] == float(dice[entry["id"]])
        assert list(entry["files"]) == ["image", "truth", "prediction", "error"]
        assert all(max(Image.open(folder / name).size) <= 512 for name in entry["files"].values())
        named |= set(entry["files"].values())
    assert {path.name for path in folder.iterdir()} == named | {"cases.json"}


def test_statistics_can_be_chosen(isic_run, tmp_path):
    arguments = [f"run={isic_run.path}", f"output={tmp_path / 'out'}", "statistics.surface_tolerance=500"]
    evaluate.main([*arguments, "statistics.draws=150", "statistics.level=0.8", "statistics.cluster_by=image"])
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    described = metrics["test"]["bootstrap"]
    assert (described["draws"], described["level"], described["cluster_by"]) == (150, 0.8, "image")
    before, now = (m["test"]["intervals"]["dice"] for m in (isic_run.metrics(), metrics))
    assert before[0] <= now[0] < now[1] <= before[1]
    with (tmp_path / "out" / "per_image.csv").open(newline="") as file:
        assert {float(row["surface_dice"]) for row in csv.DictReader(file)} <= {0.0, 1.0}
    assert metrics["cost"].keys() >= {"parameters", "gmacs", "train_seconds", "images_per_second", "peak_memory_mb"}


def test_the_last_checkpoint_has_a_folder_of_its_own(bcss_run):
    evaluate.main([f"run={bcss_run.path}", "split=val", "checkpoint=last"])
    assert (bcss_run.evaluation / "val-last" / "metrics.json").is_file()


def test_data_that_has_moved_is_found_by_its_new_root(bcss_run, bcss_root, tmp_path):
    shutil.copytree(bcss_root, tmp_path / "moved")
    output = tmp_path / "results"
    evaluate.main([f"run={bcss_run.path}", f"data.root={tmp_path / 'moved'}", f"output={output}"])
    assert_same_scores(json.loads((output / "metrics.json").read_text())["test"], bcss_run.metrics()["test"])


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
        (["run=x", "statistics.draws=5"], "statistics.draws: Input should be greater than or equal to 100, got 5"),
        (["run=x", "statistics.drawz=500"], "Could not override 'statistics.drawz'. The keys of statistics are draws"),
        (["run=nowhere"], "nowhere is not a run folder: it does not exist"),
        (["run={run}", "split=holdout"], "split: must be train, val or test"),
        (["run={run}", "data.rooot=/x"], "data.rooot: the run's configuration has no such key"),
        (["run={run}", "data=nothing"], "Could not find 'data/nothing'"),
        (["run={run}", "loader.batch_size=0"], "loader.batch_size: Input should be greater than 0"),
        (["run={run}", "checkpoint=first"], "first.ckpt does not exist"),
        (["run={run}", "data.root=/nowhere"], "No data found"),
        (["run={run}", "=3"], "mistake in the configuration"),
        (["run=null"], "run: must be a name, or names in brackets: run=[a,b]; got None"),
        (["run=[]"], "run: must be a name"),
        (["run={{a:1}}"], "run: must be a name"),
        (["run=7"], "7 is not a run folder"),
        (["run={run}", "trainer=gpu"], "trainer: choose trainer=cpu or trainer=auto"),
        (["run={run}", "trainer.devices=0"], "trainer: choose trainer=cpu or trainer=auto"),
        (["run={run}", "model.base_channels=8"], "cannot be loaded into this network: size mismatch for network."),
        (["run={run}", "output={run}/config.yaml"], "config.yaml is a file, so no results can be written"),
        (["run={run}", "statistics.method=jackknife"], "statistics.method: Input should be 'percentile' or 'bca'"),
        (["run={run}", "data.classes.tumor.codes=[1,1]"], "code 1 belongs to both"),
    ],
)
def test_mistakes_are_explained_and_nothing_is_written(bcss_run, capsys, arguments, expected):
    if "trainer=gpu" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    before = sorted(bcss_run.path.rglob("*"))
    assert expected in fails(capsys, *(argument.format(run=bcss_run.path) for argument in arguments))
    assert sorted(bcss_run.path.rglob("*")) == before


def test_a_scoring_that_breaks_off_leaves_the_earlier_results(isic_run, tmp_path, monkeypatch):
    output = tmp_path / "out"
    evaluate.main([f"run={isic_run.path}", f"output={output}"])
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}

    def stop(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("unet_exp.scoring.draw_results", stop)
    with pytest.raises(SystemExit) as caught:
        evaluate.main([f"run={isic_run.path}", f"output={output}", "checkpoint=last"])
    assert caught.value.code == 130
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before


def test_overrides_can_exchange_the_trainer(bcss_run):
    config = apply_overrides(bcss_run.config(), ["trainer=debug", "trainer.precision=bf16-mixed", "seed=4"])
    assert config["trainer"]["limit_test_batches"] == 2
    assert config["trainer"]["precision"] == "bf16-mixed"
    assert config["seed"] == 4
    assert config["data"] == bcss_run.config()["data"]


def test_an_unknown_option_of_a_group_lists_the_known_ones(bcss_run):
    with pytest.raises(ConfigError, match="lesion_demo"):
        apply_overrides(bcss_run.config(), ["data=nothing"])
