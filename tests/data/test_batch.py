"""Batches hold exactly the samples, and shortcuts on the way to them change nothing."""

import albumentations
import numpy as np
import pytest
import torch

from unet_exp.data._batch import make_batch
from unet_exp.data._dataset import PatchDataset
from unet_exp.data._patches import PatchPicker
from unet_exp.data._store import StoredCase

IGNORED = 255


def samples(count):
    """Views of larger arrays, as crops are."""
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (40, 50, 3), np.uint8), rng.integers(0, 256, (40, 50), np.uint8)
    return [
        {"image": image[i : i + 16, 2 * i : 2 * i + 20], "mask": mask[i : i + 16, 2 * i : 2 * i + 20]}
        for i in range(count)
    ]


def test_a_batch_is_the_stacked_samples():
    batch = make_batch(iter(samples(5)), 5)
    for name in ("image", "mask"):
        stacked = torch.stack([torch.from_numpy(sample[name].copy()) for sample in samples(5)])
        assert torch.equal(batch[name], stacked.movedim(-1, 1) if name == "image" else stacked)
        assert batch[name].dtype == torch.uint8
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)


def dataset(min_valid_fraction, patch_size=24):
    """Few labels in corners, so that patches are refused."""
    rng = np.random.default_rng(3)
    cases = []
    for side in (60, 90):
        labels = np.full((side, side), IGNORED, np.uint8)
        labels[side // 2 :, : side // 2] = rng.choice([0, 1, IGNORED], (side - side // 2, side // 2))
        image = rng.integers(0, 256, (side, side, 3), np.uint8)
        pixels = np.array([(labels == k).sum() for k in (0, 1)])
        places = tuple(np.argwhere(labels == k).astype(np.int32) for k in (0, 1))
        cases.append(StoredCase(image, labels, pixels, places))
    picker = PatchPicker(cases, patch_size=patch_size, balance="none", foreground=0.33, foreground_classes=[0, 1])
    return PatchDataset(
        cases,
        picker=picker,
        patch_size=patch_size,
        length=100,
        min_valid_fraction=min_valid_fraction,
        ignore_index=IGNORED,
        augmentation=albumentations.Compose([]),
        seed=0,
    )


def place_by_counting_everything(patches, generator, min_valid_fraction, size):
    """The rule as the docstring of `min_valid_fraction` has it, without shortcuts."""
    best, best_fraction = None, 0.0
    for _ in range(20):
        case, top, left = patches._picker.pick(generator)
        fraction = (patches._cases[case].labels[top : top + size, left : left + size] != IGNORED).mean()
        if fraction > best_fraction:
            best, best_fraction = (case, top, left), fraction
        if fraction >= min_valid_fraction and fraction > 0:
            return case, top, left
    return best or patches._picker.pick_labelled(generator)


@pytest.mark.parametrize("size", [24, 23])
@pytest.mark.parametrize("min_valid_fraction", [0.0, 0.25, 0.6, 1.0])
def test_counting_no_further_than_needed_draws_the_same_patches(min_valid_fraction, size):
    patches = dataset(min_valid_fraction, size)
    for seed in range(200):
        expected = place_by_counting_everything(patches, np.random.default_rng(seed), min_valid_fraction, size)
        assert patches.place(0, np.random.default_rng(seed)) == expected


def test_a_sample_is_the_same_alone_and_in_a_batch():
    patches = dataset(0.25)
    keys = [(0, 3), (1, 3), (0, 7)]
    batch = patches.__getitems__(keys)
    for position, key in enumerate(keys):
        for name, tensor in patches[key].items():
            assert torch.equal(tensor, batch[name][position])
