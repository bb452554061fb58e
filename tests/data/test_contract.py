"""What every dataset of conf/data promises; a new one is tested by its yaml and a maker in tests/fake.py."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests import fake
from tests.test_config import options
from unet_exp.build import build_datamodule
from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.errors import DataError

DEMOS = ("bcss_demo", "lesion_demo")


def datamodule(name: str, root: Path, *overrides: str):
    fitting = {
        "ph2": ["data.split.scheme=kfold", "data.split.folds=3"],  # officially all of it is for testing
        "lits": ["augmentation=light"],  # slices have no colours
    }
    config = compose_config(
        "train",
        [
            f"data={name}",
            f"data.root={root}",
            "loader.num_workers=0",
            "loader.batch_size=2",
            *fitting.get(name, []),
            *overrides,
        ],
    )
    built = build_datamodule(check_train_config(config))
    built.prepare_data()
    return built


@pytest.fixture(scope="module", params=options("data"))
def dataset(request, tmp_path_factory):
    assert request.param in fake.MAKERS, f"add a maker of a tiny {request.param} to tests/fake.py"
    root = fake.MAKERS[request.param](tmp_path_factory.mktemp(request.param) / "data")
    return datamodule(request.param, root)


def test_training_batches_are_bytes_with_known_labels(dataset):
    batch = next(iter(dataset.train_dataloader()))
    height, width = dataset.source.sample_size
    assert batch["image"].shape == (2, dataset.source.in_channels, height, width)
    assert batch["image"].dtype == batch["mask"].dtype == torch.uint8
    assert batch["mask"].shape == (2, height, width)
    allowed = {*range(len(dataset.source.classes)), dataset.source.ignore_index}
    assert set(batch["mask"].unique().tolist()) <= allowed


def test_parts_share_no_patient_and_no_image(dataset):
    parts = [dataset.split.cases(part) for part in ("train", "val", "test")]
    assert parts[0]
    assert parts[1]
    patients = [{case.patient for case in part} for part in parts]
    images = [{case.image for case in part} for part in parts]
    for sets in (patients, images):
        assert not sets[0] & sets[1] | sets[0] & sets[2] | sets[1] & sets[2]


def test_whole_cases_are_served_in_order(dataset):
    samples = [sample for batch in dataset.val_dataloader() for sample in batch]
    views = [dataset.source.views(dataset.collection.store[case.id]) for case in dataset.split.val]
    expected = [(index, view) for index, count in enumerate(views) for view in range(count)]
    assert [(sample["index"], sample["view"]) for sample in samples] == expected
    assert all(len(sample["image"]) == dataset.source.in_channels and sample["mask"].ndim == 2 for sample in samples)


def test_every_class_has_its_own_colour(dataset):
    assert len(set(dataset.source.palette)) == len(dataset.source.classes)


@pytest.mark.parametrize("name", [name for name in options("data") if name not in DEMOS])
def test_missing_data_is_explained(name, tmp_path):
    with pytest.raises(DataError) as caught:
        _ = datamodule(name, tmp_path / "nowhere").split
    message = str(caught.value)
    assert str(tmp_path / "nowhere") in message
    assert "does not exist" in message
    assert "data.root=" in message
    assert "_demo" in message


def test_demo_data_is_made_once_and_shared_by_processes(tmp_path):
    from unet_exp.data._generated import generate_once

    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "file").write_text("x")

    for _ in range(2):
        generate_once(tmp_path / "demo", {"version": 1}, make)
    assert len(made) == 1
    generate_once(tmp_path / "demo", {"version": 2}, make)
    assert len(made) == 2
    assert (tmp_path / "demo" / "file").is_file()


def test_a_crash_while_generating_leaves_nothing(tmp_path):
    from unet_exp.data._generated import generate_once

    def crash(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        generate_once(tmp_path / "demo", {"version": 1}, crash)
    assert [p.name for p in tmp_path.iterdir()] == [".demo.lock"]


def test_generating_never_replaces_foreign_files(tmp_path):
    from unet_exp.data._generated import generate_once

    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.docx").write_text("do not lose me")
    with pytest.raises(DataError, match="left alone"):
        generate_once(tmp_path / "demo", {"version": 1}, lambda folder: None)


def test_patches_avoid_regions_without_labels(tmp_path):
    from PIL import Image

    root = fake.bcss(tmp_path)
    for mask in (root / "masks").glob("*A2*"):
        codes = np.asarray(Image.open(mask)).copy()
        codes[:, :45] = 0
        Image.fromarray(codes).save(mask)
    built = datamodule("bcss", root, "data.patch_size=24", "data.min_valid_fraction=0.5", "augmentation=none")
    dataset = built.train_dataset
    valid = [float((dataset[0, i]["mask"] != 255).float().mean()) for i in range(200)]
    assert min(valid) > 0.3
    assert np.mean(valid) > 0.6
