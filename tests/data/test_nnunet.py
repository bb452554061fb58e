"""nnU-Net's raw format: classes from dataset.json, its splits, images in their own pixels, clear refusals."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from tests import fake
from tests.data.test_nnunet_json import describe
from tests.runs import run, tiny
from unet_exp.build import build_datamodule
from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.data._collection import examine_collection
from unet_exp.data.nnunet import NNUNet
from unet_exp.errors import ConfigError, DataError, UserError

TRAINING = [f"Tr_{number:03d}" for number in range(6)]


@cache  # composing takes longer than most of what is tested here
def _composed(*overrides: str) -> DictConfig:
    common = ["data=nnunet", "augmentation=none", "loader.num_workers=0", "loader.batch_size=4"]
    return compose_config("train", [*common, *overrides])


def config(root: Path, *overrides: str) -> dict:
    return check_train_config(OmegaConf.merge(_composed(*overrides), {"data": {"root": str(root)}}))


def source(root: Path, *overrides: str) -> NNUNet:
    return build_datamodule(config(root, *overrides)).source


def refused(root: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        source(root, *overrides).cases()
    return str(caught.value)


@pytest.fixture
def root(tmp_path) -> Path:
    return fake.nnunet(tmp_path / "nnUNet_raw" / "Dataset123_Glands")


# Classes


def test_classes_come_from_dataset_json(root):
    plain = config(root)
    assert plain["model"]["num_classes"] == plain["data"]["num_classes"] == 3
    assert list(plain["data"]["classes"]) == ["background", "gland", "tumor"]  # kept in the run's config.yaml
    found = source(root)
    assert found.scored_classes == [1, 2]
    assert found.palette == [(0, 0, 0), (230, 159, 0), (86, 180, 233)]
    assert found.label_map.apply(np.array([[0, 1, 2, 3]]), Path("x")).tolist() == [[0, 1, 2, 255]]


def test_labels_are_ordered_by_their_codes(root):
    describe(root, labels={"tumor": 2, "gland": [1], "background": 0})
    found = source(root)
    assert found.class_names == ["background", "gland", "tumor"]
    assert list(found.ignore_codes) == []
    with pytest.raises(DataError, match="unknown label code 3"):
        found.read_labels(found.cases()[0])


def test_two_classes_may_be_told_apart_by_one_logit(root):
    describe(root, labels={"background": 0, "gland": 1})
    assert source(root).num_classes == 2
    assert source(root, "data.num_classes=1").num_classes == 1
    with pytest.raises(ConfigError, match="5 outputs do not fit 2"):
        source(root, "data.num_classes=5")


def test_many_classes_have_different_colours(root):
    describe(root, labels={"background": 0, **{f"class {number}": number for number in range(1, 60)}})
    palette = source(root).palette
    assert len(set(palette)) == 60
    assert len({color for color in palette if max(color) < 128}) == 1  # only the background is dark


def test_the_number_of_classes_is_known_without_torch(root):
    code = (
        f"import sys; sys.argv = ['train', '--cfg', 'job', '--resolve', 'data=nnunet', 'data.root={root}']\n"
        "from unet_exp.train import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'lightning', 'albumentations', 'cv2', 'numpy'} & sys.modules.keys()\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "num_classes: 3" in done.stdout


def test_choices_can_be_checked_before_there_is_data(tmp_path):
    assert config(tmp_path / "nowhere")["data"]["num_classes"] == 2


def test_a_finished_run_refuses_data_with_other_labels(root):
    plain = config(root)
    describe(root, labels={"background": 0, "stroma": 1, "tumor": 2, "ignore": 3})
    with pytest.raises(ConfigError, match=r"(?s)data.classes.*gland.*are not the labels of .*dataset.json.*stroma"):
        build_datamodule(plain).source.cases()


def test_a_dataset_json_that_cannot_be_used_stops_before_anything_is_read(root):
    describe(root, file_ending=".nii.gz")
    assert "file_ending '.nii.gz' is not supported" in refused(root)


# Files


def findings(root: Path, *overrides: str) -> list[tuple[str, str]]:
    found = examine_collection(source(root, *overrides), root.parent / "store").findings
    return [(finding.kind, finding.file.name) for finding in found]


def test_all_parts_are_found(root):
    (root / "imagesTr" / ".DS_Store").touch()
    (root / "labelsTr" / "._Tr_000.png").touch()
    cases = source(root).cases()
    assert [(case.id, case.part) for case in cases] == [
        *((name, "train") for name in TRAINING),
        ("Ts_000", "test"),
        ("Ts_001", "test"),
    ]
    assert findings(root) == []


def test_test_images_without_masks_are_left_alone(root):
    for path in (root / "labelsTs").iterdir():
        path.unlink()
    (root / "labelsTs").rmdir()
    assert {case.part for case in source(root).cases()} == {"train"}


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda root: (root / "imagesTr" / "Tr_002_0000.png").unlink(), ("missing_image", "Tr_002.png")),
        (lambda root: (root / "labelsTr" / "Tr_002.png").unlink(), ("missing_mask", "Tr_002_0000.png")),
        (lambda root: describe(root, numTraining=5), ("wrong_count", "dataset.json")),
        (lambda root: second_channel(root), ("bad_name", "Tr_002_0001.png")),
        (lambda root: rename(root), ("bad_name", "Tr-2.png")),
        (lambda root: sixteen_bits(root / "imagesTr" / "Tr_002_0000.png"), ("too_many_bits", "Tr_002_0000.png")),
        (lambda root: sixteen_bits(root / "labelsTr" / "Tr_002.png"), ("sixteen_bit_mask", "Tr_002.png")),
        (lambda root: unknown_code(root / "labelsTr" / "Tr_002.png"), ("unknown_code", "Tr_002.png")),
    ],
)
def test_one_odd_file_is_one_finding(root, spoil, expected):
    spoil(root)
    found = findings(root)
    assert expected in found
    assert len(found) == (2 if expected[1] == "Tr-2.png" else 1)  # its mask has lost its image


def second_channel(root: Path) -> None:
    Image.new("L", (50, 46)).save(root / "imagesTr" / "Tr_002_0001.png")


def rename(root: Path) -> None:
    (root / "imagesTr" / "Tr_002_0000.png").rename(root / "imagesTr" / "Tr-2.png")


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.asarray(Image.open(path).convert("L")).astype(np.uint16) % 4).save(path)


def unknown_code(path: Path) -> None:
    codes = np.asarray(Image.open(path)).copy()
    codes[0, 0] = 9
    Image.fromarray(codes).save(path)


def test_masks_with_16_bits_are_read(root):
    dataset = source(root)
    case = dataset.cases()[2]
    before = dataset.read_labels(case)
    codes = np.asarray(Image.open(root / "labelsTr" / "Tr_002.png"))
    Image.fromarray(codes.astype(np.uint16)).save(root / "labelsTr" / "Tr_002.png")
    assert (dataset.read_labels(case) == before).all()


@pytest.mark.parametrize("ending", [".bmp", ".tif"])
def test_other_file_types(root, ending):
    for folder in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        for path in (root / folder).iterdir():
            Image.open(path).save(path.with_suffix(ending))
            path.unlink()
    describe(root, file_ending=ending)
    examined = examine_collection(source(root), root.parent / "store")
    assert len(examined.cases) == 8
    assert examined.findings == []


def test_grey_images_become_three_channels(root):
    for path in (root / "imagesTr").iterdir():
        Image.open(path).convert("L").save(path)
    describe(root, channel_names={"0": "grey"})
    dataset = source(root)
    image, _ = dataset.read_full(dataset.cases()[0])
    assert image.shape[2] == 3
    assert (image == image[..., :1]).all()


# Native pixels


def test_images_are_stored_and_scored_as_they_are(root):
    module = build_datamodule(config(root, "data.patch_size=24"))
    for case in module.collection.cases:
        stored, codes = module.collection.store[case.id], np.asarray(Image.open(case.mask))
        assert (stored.image == np.asarray(Image.open(case.image))).all()
        assert (stored.labels == np.where(codes == 3, 255, codes)).all()
    for sample in (sample for batch in module.val_dataloader() for sample in batch):
        assert sample["image"].shape[1:] == sample["mask"].shape


def test_a_patch_is_a_crop_of_a_file(root):
    module = build_datamodule(config(root, "data.patch_size=24"))
    images = [np.asarray(Image.open(case.image)) for case in module.split.train]
    for index in range(8):
        patch = module.train_dataset[0, index]["image"].permute(1, 2, 0).numpy()
        windows = [np.lib.stride_tricks.sliding_window_view(image, patch.shape)[:, :, 0] for image in images]
        assert any((window == patch).all((-3, -2, -1)).any() for window in windows)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["data.mpp=0.5"], "data.mpp, data.score_mpp: give both or neither"),
        (["+data.context_mpp=[2.0]"], "data.context_mpp: coarser resolutions need data.mpp"),
    ],
)
def test_resolutions_need_each_other(root, overrides, expected):
    with pytest.raises(ConfigError, match=expected):
        source(root, *overrides)


def test_a_resolution_cannot_be_had_where_pixels_have_no_size(root):
    module = build_datamodule(config(root, "data.mpp=0.5", "data.score_mpp=0.5"))
    with pytest.raises(DataError, match="resolution in µm per pixel is unknown"):
        _ = module.collection


# Training


def test_it_trains_and_is_scored(root, tmp_path):
    folds = [{"train": TRAINING[:3], "val": TRAINING[3:]}]
    (root / "splits_final.json").write_text(json.dumps(folds))
    small = [o for o in tiny(root, tmp_path / "outputs", data="nnunet") if "image_size" not in o]
    settings = ["data.patch_size=24", "data.patches_per_epoch=32", "data.split.scheme=official", "trainer.max_epochs=1"]
    finished = run([*small, *settings], {"model": "unet", "data": "nnunet", "loss": "dice_ce"})
    assert finished.config()["data"]["classes"]["tumor"]["codes"] == [2]
    assert finished.split()["val"] == TRAINING[3:]
    metrics = finished.metrics()
    assert metrics["val"]["images"] == 3
    assert {"dice_gland", "dice_tumor"} <= metrics["val"].keys()
    assert "dice_background" not in metrics["val"]
    assert metrics["test"]["images"] == 2
