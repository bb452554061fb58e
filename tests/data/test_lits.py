"""LiTS: which files, which classes, and a training whose Dice is that of whole volumes."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion, distance_transform_edt

from tests import fake
from tests.data.volumes import canonical, config, source, windowed
from tests.runs import run, tiny
from unet_exp.build import build_datamodule, build_task
from unet_exp.errors import ConfigError, DataError
from unet_exp.evaluation import load_weights


@pytest.fixture(scope="module")
def lits_root(tmp_path_factory) -> Path:
    return fake.lits(tmp_path_factory.mktemp("lits"))


# Which files


def test_folders_at_any_depth_and_no_test_volumes(lits_root):
    cases = source(lits_root).cases()
    assert [case.id for case in cases] == [f"volume-{number}" for number in range(7)]
    assert len({case.patient for case in cases}) == 7
    assert {case.image.parent.name for case in cases} == {"Training Batch 1", "Training Batch 2"}
    assert {case.image.name.removeprefix("volume") for case in cases} == {
        case.mask.name.removeprefix("segmentation") for case in cases
    }


def test_what_is_stored_is_what_nibabel_reads(lits_root):
    module = build_datamodule(config(lits_root))
    for case in module.collection.cases:
        stored = module.collection.store[case.id]
        assert (stored.image[..., 0] == windowed(canonical(case.image))).all()
        assert (stored.labels == (canonical(case.mask) == 2)).all()
        assert stored.image.dtype == stored.labels.dtype == np.uint8
    assert module.collection.store.entries["volume-1"].mpp is None


# Tasks and settings


@pytest.mark.parametrize(
    ("task", "num_classes", "names", "scored", "ids"),
    [
        ("lesion", 1, ["background", "lesion"], [1], [0, 0, 1]),
        ("liver", 1, ["background", "liver"], [1], [0, 1, 1]),
        ("joint", 3, ["background", "liver", "lesion"], [1, 2], [0, 1, 2]),
    ],
)
def test_a_task_decides_the_classes(lits_root, task, num_classes, names, scored, ids):
    plain = config(lits_root, f"data.task={task}")
    assert plain["model"]["num_classes"] == plain["data"]["num_classes"] == num_classes
    lits = source(lits_root, f"data.task={task}")
    assert (lits.class_names, lits.scored_classes) == (names, scored)
    assert lits.label_map.apply(np.array([[0, 1, 2]]), Path("x")).tolist() == [ids]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.task=tumor", "data.task: Input should be 'lesion', 'liver' or 'joint', got 'tumor'."),
        ("data.slices=4", "data.slices: must be odd"),
        ("data.in_channels=3", "data.in_channels: 3 channels cannot hold 5 slices"),
        ("data.window=[200,-200]", "data.window: the first value must be below the second"),
        ("data.window=[200]", "data.window: Value should have at least 2 items"),
        ("data.mean=[0.1,0.2]", "data.mean, data.std: need 5 values each"),
        ("~data.tasks.joint", ""),
    ],
)
def test_mistakes_are_explained(lits_root, override, expected):
    if not expected:
        assert source(lits_root, override).task == "lesion"  # a task that is not chosen may be missing
        return
    with pytest.raises(ConfigError) as caught:
        source(lits_root, override)
    (mistake,) = caught.value.mistakes
    assert expected in mistake


def test_classes_of_another_task_are_refused(lits_root):
    """As they come from a finished run whose task is changed without its classes."""
    plain = config(lits_root)
    plain["data"]["task"] = "liver"
    with pytest.raises(ConfigError, match=r"data.classes: background, lesion are not the classes of data.task=liver"):
        build_datamodule(plain)


def test_how_to_get_it_is_told(tmp_path):
    with pytest.raises(DataError, match="codalab"):
        source(tmp_path / "nowhere").cases()


# Training


@pytest.fixture(scope="module")
def finished(lits_root, tmp_path_factory):
    small = [o for o in tiny(lits_root, tmp_path_factory.mktemp("outputs"), data="lits") if "image_size" not in o]
    split = ["data.split.validation_fraction=0.4", "data.split.test_fraction=0.2", "data.split.seed=6"]
    settings = ["data.patch_size=32", "data.patches_per_epoch=96", "data.foreground=0.8", "augmentation=light"]
    overrides = [*small, *settings, *split, "trainer.max_epochs=3", "optim.lr=0.02", "callback=none"]
    return run(overrides, {"model": "unet", "data": "lits", "loss": "dice_ce"})


@torch.no_grad()
def independent_prediction(task, case_image: Path) -> np.ndarray:
    """Foreground (Z, H, W): nibabel and numpy in, one slice at a time through the bare network."""
    grey = windowed(canonical(case_image)).astype(np.float32) / 255
    stacks = np.stack([np.take(grey, np.clip(range(z - 2, z + 3), 0, len(grey) - 1), 0) for z in range(len(grey))])
    task.network.eval()
    return (task.network(torch.from_numpy((stacks - 0.4) / 0.3).float()) > 0)[:, 0].numpy()


def test_dice_is_that_of_whole_volumes(finished):
    plain = finished.config()
    module = build_datamodule(plain)
    task = build_task(plain, module.source, {})
    load_weights(task, finished.checkpoint("best"))
    rows = {row["image"]: row for row in csv.DictReader(finished.per_image_file.open())}
    dice, hits, sizes = {}, {"val": 0, "test": 0}, {"val": 0, "test": 0}
    for part in ("val", "test"):
        for case in module.split.cases(part):
            truth, prediction = canonical(case.mask) == 2, independent_prediction(task, case.image)
            both, size = (truth & prediction).sum(), truth.sum() + prediction.sum()
            hits[part], sizes[part] = hits[part] + both, sizes[part] + size
            dice[part, case.id] = 2 * both / size if size else 1.0
            assert float(rows[case.id]["dice"]) == pytest.approx(dice[part, case.id], abs=1e-9)
            assert int(rows[case.id]["labelled_pixels"]) == truth.size
    assert len(dice) == len(rows) >= 4
    metrics = finished.metrics()
    for part in ("val", "test"):
        mean = np.mean([value for (where, _), value in dice.items() if where == part])
        assert metrics[part]["dice"] == metrics[part]["image_dice"] == pytest.approx(mean, abs=1e-6)
        assert metrics[part]["global_dice"] == pytest.approx(2 * hits[part] / sizes[part], abs=1e-6)
    assert metrics["val"]["images"] == len(module.split.val)
    assert max(value for value in dice.values() if value < 1) > 0.3  # something was learned: the comparison tells
    assert any(case == "volume-2" for _, case in dice)  # without lesion


def test_surfaces_are_compared_in_millimetres(finished):
    """The whole volume at once: SciPy's distance transform with the voxels of the file."""
    plain = finished.config()
    module = build_datamodule(plain)
    task = build_task(plain, module.source, {})
    load_weights(task, finished.checkpoint("best"))
    rows = {row["image"]: row for row in csv.DictReader(finished.per_image_file.open())}
    compared = {"val": [], "test": []}
    for part in ("val", "test"):
        for case in module.split.cases(part):
            number = int(case.id.removeprefix("volume-"))
            spacing = (1.0 + number, 0.7, 0.75)  # as tests.fake writes them
            masks = [independent_prediction(task, case.image), canonical(case.mask) == 2]
            there = [mask.any() for mask in masks]
            expected = np.linalg.norm(np.multiply(masks[0].shape, spacing)) if any(there) else 0.0
            if all(there):
                edges = [mask & ~binary_erosion(mask) for mask in masks]
                directed = [distance_transform_edt(~b, sampling=spacing)[a] for a, b in (edges, edges[::-1])]
                expected = max(np.percentile(distances, 95) for distances in directed)
                within = np.mean(np.concatenate(directed) <= 2)
                assert float(rows[case.id]["surface_dice"]) == pytest.approx(within, abs=1e-9)
            assert float(rows[case.id]["hd95"]) == pytest.approx(expected, abs=1e-6)
            compared[part].append(expected)
    metrics = finished.metrics()
    assert metrics["conventions"]["hd95"].startswith("in mm, with the voxel sizes of the file's header; per volume")
    for part, values in compared.items():
        assert metrics[part]["image_hd95"] == pytest.approx(np.mean(values), abs=1e-6)
        low, high = metrics[part]["intervals"]["image_hd95"]
        assert low is None or low <= np.mean(values) <= high


def test_a_run_draws_a_slice_of_each_volume(finished):
    assert {path.name for path in finished.figures.iterdir()} >= {"predictions_val.png", "confusion_val.png"}
    assert json.loads(finished.status_file.read_text())["state"] == "finished"


def test_the_slice_with_most_foreground_is_drawn():
    from unet_exp.evaluation import _fullest_slice, _middle_as_grey

    labels = np.zeros((5, 4, 4), np.uint8)
    assert _fullest_slice(labels, [2]) == 2
    labels[1], labels[3, 0], labels[4, 0, 0] = 1, 2, 2
    assert _fullest_slice(labels, [2]) == 3
    channels = torch.arange(5, dtype=torch.uint8)[:, None, None].expand(5, 3, 2)
    assert (_middle_as_grey(channels) == np.full((3, 2, 3), 2)).all()
