"""MONAI's way: all images in memory after the deterministic transforms, the random ones applied to each sample."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from monai.data import CacheDataset, DataLoader, get_track_meta, set_track_meta
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    NormalizeIntensityd,
    RandFlipd,
    RandRotate90d,
    RandScaleIntensityd,
    RandScaleIntensityFixedMeand,
    RandSpatialCropd,
    ScaleIntensityRanged,
)

from benchmarks._ours import BATCH_SIZE, CROP

_BOTH = ("image", "mask")


def cached_crops(
    images: Sequence[Path], masks: Sequence[Path], *, mean: Sequence[float], std: Sequence[float], copy_cache: bool
) -> Iterator[Any]:
    """`CacheDataset` as its documentation has it: images are scaled to 0..1 once, as float32.

    Args:
        images: .npy files (H, W, 3).
        masks: .npy files (H, W).
        mean: Subtracted from each channel.
        std: Each channel is divided by it.
        copy_cache: MONAI's default True copies the whole image for each crop.
    """
    scale = ScaleIntensityRanged("image", 0, 255, 0, 1)
    return _batches(_files(images, masks), [*_load(), scale, *_random(), _normalize(mean, std)], copy_cache)


def tuned_crops(
    images: Sequence[Path], masks: Sequence[Path], *, mean: Sequence[float], std: Sequence[float]
) -> Iterator[Any]:
    """As fast as its options make it: bytes are cached, nothing is copied, scaled after cropping, no meta data."""
    scale = ScaleIntensityRanged("image", 0, 255, 0, 1)
    crop, *others = _random()
    steps = [*_load(), crop, scale, *others, _normalize(mean, std)]
    batches = _batches(_files(images, masks), steps, copy_cache=False)
    while True:
        before = get_track_meta()
        set_track_meta(False)
        try:
            batch = next(batches)
        finally:
            set_track_meta(before)
        yield batch


def _files(images: Sequence[Path], masks: Sequence[Path]) -> list[dict[str, str]]:
    return [{"image": str(image), "mask": str(mask)} for image, mask in zip(images, masks, strict=True)]


def _load() -> list[Any]:
    return [
        LoadImaged(_BOTH, reader="NumpyReader", dtype=None),
        EnsureChannelFirstd("image", channel_dim=-1),
        EnsureChannelFirstd("mask", channel_dim="no_channel"),
    ]


def _random() -> list[Any]:
    # MONAI has no colour jitter of its own (it wraps torchvision's); brightness and contrast stand in for it.
    return [
        RandSpatialCropd(_BOTH, roi_size=(CROP, CROP), random_size=False),
        RandFlipd(_BOTH, prob=0.5, spatial_axis=1),
        RandRotate90d(_BOTH, prob=0.75, max_k=3),
        RandScaleIntensityFixedMeand("image", factors=0.15, prob=0.8),
        RandScaleIntensityd("image", factors=0.15, prob=0.8),
    ]


def _normalize(mean: Sequence[float], std: Sequence[float]) -> Any:
    return NormalizeIntensityd("image", subtrahend=list(mean), divisor=list(std), channel_wise=True)


def _batches(files: list[dict[str, str]], steps: list[Any], copy_cache: bool) -> Iterator[Any]:
    dataset = CacheDataset(files, Compose(steps), copy_cache=copy_cache, progress=False)
    loader = DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True, num_workers=0)
    while True:
        yield from loader
