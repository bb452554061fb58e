"""Samples of volumes: slices with their neighbours, where they are drawn, how they are changed."""

from pathlib import Path

import numpy as np
import pytest

from tests import fake
from tests.data.volumes import config
from tests.test_config import options
from unet_exp.build import build_datamodule
from unet_exp.data._preview import preview_samples
from unet_exp.data._slices import SlicePicker, slice_stack
from unet_exp.data._store import StoredCase
from unet_exp.errors import ConfigError
from unet_exp.instantiate import build


@pytest.fixture(scope="module")
def lits_root(tmp_path_factory) -> Path:
    return fake.lits(tmp_path_factory.mktemp("lits"))


def test_neighbours_are_channels_and_the_last_slice_is_repeated():
    levels = np.repeat(np.arange(6, dtype=np.uint8), 4).reshape(6, 2, 2, 1)
    assert [slice_stack(levels, center, 5)[0, 0].tolist() for center in (0, 1, 3, 5)] == [
        [0, 0, 0, 1, 2],
        [0, 0, 1, 2, 3],
        [1, 2, 3, 4, 5],
        [3, 4, 5, 5, 5],
    ]
    assert slice_stack(levels, 4, 1).shape == (2, 2, 1)


@pytest.mark.parametrize("slices", [1, 3, 7])
def test_a_sample_is_a_crop_of_neighbouring_slices(lits_root, slices):
    module = build_datamodule(
        config(lits_root, f"data.slices={slices}", "data.patch_size=16", "augmentation=none", "data.split.fold=0")
    )
    store, found = module.collection.store, 0
    images = [store[case.id] for case in module.split.train]
    for index in range(12):
        sample = module.train_dataset[0, index]
        assert sample["image"].shape == (slices, 16, 16)
        middle, truth = sample["image"][slices // 2].numpy(), sample["mask"].numpy()
        found += any(_holds(stored, middle, truth) for stored in images)
    assert found == 12


def _holds(stored: StoredCase, image: np.ndarray, labels: np.ndarray) -> bool:
    """Whether some slice holds this crop of image and class ids."""
    windows = np.lib.stride_tricks.sliding_window_view(stored.image[..., 0], image.shape, (1, 2))
    places = np.argwhere((windows == image).all((-2, -1)))
    return any((stored.labels[z, y : y + 16, x : x + 16] == labels).all() for z, y, x in places)


def test_slices_smaller_than_a_crop_are_padded_without_labels(lits_root):
    module = build_datamodule(config(lits_root, "data.patch_size=100", "augmentation=none"))
    sample = module.train_dataset[0, 0]
    assert sample["image"].shape == (5, 100, 100)
    labelled = sample["mask"].numpy() != 255
    rows, columns = labelled.any(1).sum(), labelled.any(0).sum()
    assert 40 <= rows <= 46
    assert columns == 44
    assert labelled[:rows, :columns].all()


def stored(labels: np.ndarray, num_classes: int = 3) -> StoredCase:
    locations = tuple(np.argwhere(labels == k).astype(np.int32) for k in range(num_classes))
    return StoredCase(labels[..., None], labels, np.bincount(labels.ravel(), minlength=num_classes), locations)


def test_a_share_of_the_crops_holds_each_foreground_class():
    common, rare = np.zeros((2, 30, 30, 30), np.uint8)
    common[:, :10], common[5, 20, 20] = 1, 2
    rare[29, 0, 29] = 2
    volumes = [stored(common), stored(rare), stored(np.zeros((30, 30, 30), np.uint8))]
    picker = SlicePicker(volumes, patch_size=8, foreground=1.0, foreground_classes=[1, 2])
    places = [picker.pick(np.random.default_rng(seed)) for seed in range(2000)]
    crops = [volumes[n].labels[z, y : y + 8, x : x + 8] for n, z, y, x in places]
    assert {crop.shape for crop in crops} == {(8, 8)}
    assert all((crop > 0).any() for crop in crops)
    lesions = [n for (n, *_), crop in zip(places, crops, strict=True) if (crop == 2).any()]
    assert np.mean([n == 1 for n in lesions]) == pytest.approx(0.5, abs=0.05)  # volumes alike, however many voxels
    assert len(lesions) / 2000 == pytest.approx(0.5, abs=0.05)  # classes alike
    assert len({place for place in places if place[0] == 0}) > 500


def test_without_balance_all_slices_are_alike():
    volumes = [stored(np.zeros((depth, 20, 9), np.uint8)) for depth in (3, 9)]
    picker = SlicePicker(volumes, patch_size=10, foreground=0.0, foreground_classes=[1])
    places = [picker.pick(np.random.default_rng(seed)) for seed in range(6000)]
    slices, counts = np.unique([place[:2] for place in places], axis=0, return_counts=True)
    assert len(slices) == 12
    assert counts == pytest.approx(500, rel=0.2)
    assert {place[2] for place in places} == set(range(11))
    assert {place[3] for place in places} == {0}  # narrower than a crop


def test_a_volume_without_lesion_can_be_previewed(lits_root):
    module = build_datamodule(config(lits_root, "data.patch_size=16"))
    light, empty = build(config(lits_root), "augmentation"), module.collection.store["volume-2"]
    (versions,) = preview_samples(module.source, [empty], light, versions=2, seed=0)
    assert [image.shape for image, _ in versions] == [(16, 16, 3)] * 3
    assert not any(labels.any() for _, labels in versions)


@pytest.mark.parametrize("name", options("augmentation"))
def test_an_augmentation_fits_five_slices_or_is_refused(lits_root, name):
    plain = config(lits_root, f"augmentation={name}", "data.patch_size=24")
    if name in ("light", "none"):
        dataset = build_datamodule(plain).train_dataset
        assert {tuple(dataset[0, index]["image"].shape) for index in range(30)} == {(5, 24, 24)}
        return
    with pytest.raises(ConfigError, match=r"augmentation: \w+ does not work on images with 5 channels") as caught:
        _ = build_datamodule(plain).train_dataset
    assert "augmentation=light" in str(caught.value)


def test_light_augmentation_moves_image_and_mask_alike(lits_root):
    module = build_datamodule(config(lits_root, "data.patch_size=24", "data.task=liver", "data.foreground=1"))
    for index in range(20):
        sample = module.train_dataset[0, index]
        assert ((sample["image"][2] > 60) == (sample["mask"] == 1)).all()
