"""Who is timed: ours first, which is the reference, then the floor and the peers that are installed."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import _ours as ours
from benchmarks import _peers as peers
from benchmarks._regions import CODES, write_arrays, write_bcss, write_photographs
from benchmarks._timing import Batches, Contestant

PHOTOGRAPH_SIZE = (767, 1022)
"""Height and width of most photographs of ISIC."""
IMAGE_SIDE = 256
"""Side that they are resized to."""
_STATISTICS = [0.70, 0.55, 0.69], [0.18, 0.20, 0.16]
"""Mean and deviation of the channels."""


@dataclass(frozen=True)
class Workload:
    """How much data is generated, and where.

    Args:
        folder: Where it is kept.
        regions: Number of large regions.
        side: Side of a region in pixels.
        photographs: Number of photographs.
    """

    folder: Path
    regions: int
    side: int
    photographs: int

    def write_regions(self) -> Path:
        """Folder of the regions."""
        return write_bcss(self.folder / "bcss", self.regions, self.side)

    def write_photographs(self) -> Path:
        """Folder of the photographs."""
        return write_photographs(self.folder / "photographs", self.photographs, PHOTOGRAPH_SIZE)


def crop_contestants(workload: Workload) -> list[Contestant]:
    """Random crops of large regions."""
    regions = workload.write_regions()
    pictures = sorted((regions / "images").iterdir()), sorted((regions / "masks").iterdir())
    images, masks = (write_arrays(workload.folder / "npy" / files[0].parent.name, files) for files in pictures)

    def own(augmentation: str) -> Callable[[], Batches]:
        return lambda: ours.endless(ours.region_module(regions, augmentation=augmentation))

    def usual(read: peers.Read, *, normalize: bool = True) -> Callable[[], Batches]:
        transform = peers.usual_transforms(statistics=_STATISTICS if normalize else None)
        sizes = [(workload.side, workload.side)] * workload.regions
        return lambda: peers.endless(peers.RandomCrops(read, sizes, transform))

    mapped = peers.memmap_reader(images, masks)
    return [
        _contestant("ours, `color`", own("color")),
        _contestant("ours, `color`, normalised on the CPU", lambda: ours.normalized_crops(regions)),
        *(_contestant(f"ours, `{name}`", own(name)) for name in ("none", "light", "histology", "nnunet_like")),
        _contestant("floor: crops copied out of the map", lambda: peers.bare_copies(images, masks)),
        _contestant("np.memmap + albumentations, uint8", usual(mapped, normalize=False)),
        _contestant("np.memmap + albumentations, normalised", usual(mapped)),
        _contestant("PNG opened per crop + albumentations, normalised", usual(peers.png_reader(*pictures))),
        *_monai_contestants(images, masks),
        *_nnunet_contestants(workload.folder / "nnunet", images, masks),
    ]


def photograph_contestants(workload: Workload) -> list[Contestant]:
    """Whole images, each once per epoch."""
    root = workload.write_photographs()
    pictures = sorted((root / "images").iterdir()), sorted((root / "masks").iterdir())
    small = workload.folder / f"npy{IMAGE_SIDE}"
    arrays = [write_arrays(small / files[0].parent.name, files, side=IMAGE_SIDE) for files in pictures]

    def own(augmentation: str) -> Callable[[], Batches]:
        return lambda: ours.endless(ours.photograph_module(root, augmentation=augmentation, side=IMAGE_SIDE))

    def usual(read: peers.ReadWhole, *, resize: int | None = None) -> Callable[[], Batches]:
        transform = peers.usual_transforms(resize=resize)
        return lambda: peers.endless(peers.WholeImages(read, workload.photographs, transform))

    return [
        _contestant("ours, `color`", own("color")),
        *(_contestant(f"ours, `{name}`", own(name)) for name in ("none", "light", "dermoscopy")),
        _contestant("arrays in memory + albumentations, uint8", usual(peers.arrays_in_memory(*arrays))),
        _contestant(
            "JPEG opened and resized per sample + albumentations, uint8",
            usual(peers.decoded_photographs(*pictures), resize=IMAGE_SIDE),
        ),
    ]


def _contestant(name: str, start: Callable[[], Batches]) -> Contestant:
    return Contestant(name, start, ours.BATCH_SIZE)


def _monai_contestants(images: list[Path], masks: list[Path]) -> list[Contestant]:
    if not _installed("monai"):
        return []
    from benchmarks._monai import cached_crops, tuned_crops

    mean, std = _STATISTICS
    return [
        _contestant(
            "MONAI CacheDataset as shipped",
            lambda: cached_crops(images, masks, mean=mean, std=std, copy_cache=True),
        ),
        _contestant(
            "MONAI CacheDataset, copy_cache=False",
            lambda: cached_crops(images, masks, mean=mean, std=std, copy_cache=False),
        ),
        _contestant("MONAI CacheDataset, tuned", lambda: tuned_crops(images, masks, mean=mean, std=std)),
    ]


def _nnunet_contestants(folder: Path, images: list[Path], masks: list[Path]) -> list[Contestant]:
    if not _installed("nnunetv2"):
        return []
    from benchmarks._nnunet import crops, preprocess

    prepared = preprocess(folder, images, masks)
    labels = {"background": 0, **{f"class_{code}": code for code in CODES if code}}
    return [
        _contestant("nnU-Net's loader and augmentation", lambda: crops(prepared, labels, augment=True)),
        _contestant("nnU-Net's loader without augmentation", lambda: crops(prepared, labels, augment=False)),
    ]


def _installed(package: str) -> bool:
    found = importlib.util.find_spec(package) is not None
    if not found:
        print(f"{package} is not installed and left out, see benchmarks/README.md", file=sys.stderr)
    return found
