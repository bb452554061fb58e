"""LiTS: the liver and its tumours in CT volumes of the abdomen (Bilic et al. 2023).

Dataset features: 131 contrast-enhanced CT volumes with masks, 42 to 1,026 slices of mostly 512 x 512 px, 0.56 to
1.0 mm per pixel and 0.45 to 6.0 mm per slice, from seven hospitals; codes 0 (background), 1 (liver), 2 (lesion).
Some volumes show no lesion. The masks of the 70 test volumes are not published.

Dataset format: ``volume-<number>.nii`` and ``segmentation-<number>.nii``, also as ``.nii.gz``, in one folder or in
those of the two training batches, at any depth; ``test-volume-<number>.nii`` files are skipped.

Bilic et al., "The Liver Tumor Segmentation Benchmark (LiTS)", Medical Image Analysis 84, 2023,
https://arxiv.org/abs/1901.04056.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from unet_exp.bounds import PositiveInt
from unet_exp.data._case import Case, ClassSpec
from unet_exp.data._finding import Scan
from unet_exp.data._pairing import NamedFile, pair_by_name
from unet_exp.data._source import missing_data_error
from unet_exp.data._volume_source import VolumeSource
from unet_exp.errors import ConfigError

_NAME = re.compile(r"(?P<subject>volume|segmentation)-(?P<number>\d+)\.nii(\.gz)?")


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """What is to be segmented.

    Args:
        num_classes: Output channels of the network.
        classes: The classes, see `ImageSource`.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - read by the configuration check

    num_classes: PositiveInt
    classes: dict[str, ClassSpec]


@dataclass(kw_only=True)
class LiTS(VolumeSource):
    """The volumes under `root` that have a mask; one patient each.

    Scores: `image_dice` is the challenge's "Dice per case", the mean over volumes; `global_dice` takes all voxels
    together. With one scored class, a volume without lesion in which none is predicted counts 1.

    Args:
        task: `lesion`; `liver`, its lesions included; `joint`: background, liver and lesion as three classes.
        tasks: What each task means; `classes` and `num_classes` are taken from here.
    """

    how_to_get: ClassVar[str] = (
        "LiTS is given to registered participants, under a licence that you accept: register at "
        "https://competitions.codalab.org/competitions/17094 and take Training Batch 1 and 2."
    )

    task: Literal["lesion", "liver", "joint"]
    tasks: dict[Literal["lesion", "liver", "joint"], TaskSpec]

    def __post_init__(self) -> None:
        super().__post_init__()
        specs = {name: t if isinstance(t, TaskSpec) else TaskSpec(**t) for name, t in self.tasks.items()}
        wanted = specs[self.task].classes if self.task in specs else {}
        if self.classes != {n: c if isinstance(c, ClassSpec) else ClassSpec(**c) for n, c in wanted.items()}:
            raise ConfigError(
                [
                    f"data.classes: {', '.join(self.classes)} are not the classes of data.task={self.task} "
                    f"({', '.join(wanted) or 'none in data.tasks'}). Change data.task or data.tasks.{self.task}, "
                    "and leave data.classes alone."
                ]
            )

    def scan(self) -> Scan:
        """One case per pair of volume and mask.

        Raises:
            DataError: If there is neither a volume nor a mask.
        """
        volumes, masks = list(self._files("volume")), list(self._files("segmentation"))
        if not volumes and not masks:
            raise missing_data_error(
                self.root, "volume-*.nii and segmentation-*.nii, at any depth,", self.how_to_get, "lesion_demo"
            )
        pairing = pair_by_name(volumes, masks, images_in=self.root, masks_in=self.root)
        cases = [
            Case(id=f"volume-{number}", image=image, mask=mask, patient=number, institution="", part="train")
            for number, (image, mask) in pairing.pairs.items()
        ]
        return Scan(cases, pairing.findings)

    def _files(self, subject: str) -> Iterator[NamedFile]:
        for path in sorted(Path(self.root).rglob("*.nii*")):
            match = _NAME.fullmatch(path.name)
            if match and match["subject"] == subject and path.is_file():
                yield str(int(match["number"])), path
