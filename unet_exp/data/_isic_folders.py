"""The official folders of the ISIC challenges, Task 1; each is a zip file of the same name."""

from collections.abc import Mapping
from dataclasses import dataclass

from unet_exp.data._case import Part


@dataclass(frozen=True)
class PartFolders:
    """The two folders of one part.

    Args:
        images: Name of the folder of photographs.
        masks: Name of the folder of masks.
        count: Number of photographs, and of masks.
    """

    images: str
    masks: str
    count: int


def _folders(images: str, masks: str, parts: Mapping[Part, tuple[str, int]]) -> dict[Part, PartFolders]:
    return {part: PartFolders(images.format(name), masks.format(name), count) for part, (name, count) in parts.items()}


FOLDERS: Mapping[int, Mapping[Part, PartFolders]] = {
    2016: _folders(
        "ISBI2016_ISIC_Part1_{}_Data",
        "ISBI2016_ISIC_Part1_{}_GroundTruth",
        {"train": ("Training", 900), "test": ("Test", 379)},
    ),
    2017: _folders(
        "ISIC-2017_{}_Data",
        "ISIC-2017_{}_Part1_GroundTruth",
        {"train": ("Training", 2000), "val": ("Validation", 150), "test": ("Test_v2", 600)},
    ),
    2018: _folders(
        "ISIC2018_Task1-2_{}_Input",
        "ISIC2018_Task1_{}_GroundTruth",
        {"train": ("Training", 2594), "val": ("Validation", 100), "test": ("Test", 1000)},
    ),
}
"""By year and part. 2016 has no validation part."""
