"""BCSS: breast cancer semantic segmentation (Amgad et al. 2019).

Dataset features: 151 regions of H&E slides of 151 patients from 21 institutions at 0.25 µm per pixel, 1,000 to
12,000 px a side, 22 label codes. Code 0 (outside the region) is "don't care", never a class.

Dataset format: ``images`` (or ``rgbs_colorNormalized``) and ``masks``, files of one name
``TCGA-<institution>-<patient>-DX1_xmin<px>_ymin<px>_MPP-<µm per px>.png``.

Amgad et al., "Structured crowdsourcing enables convolutional segmentation of histology images",
Bioinformatics 35(18), 2019, https://doi.org/10.1093/bioinformatics/btz083. Data: CC0 1.0.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from unet_exp.data._case import Case, Part
from unet_exp.data._source import PatchSource, missing_data_error
from unet_exp.errors import DataError

TEST_INSTITUTIONS = frozenset({"OL", "LL", "E2", "EW", "GM", "S3"})
"""Amgad et al. 2019."""
VALIDATION_INSTITUTIONS = frozenset({"BH", "C8", "A8", "A1", "E9"})
"""As in kaiko-ai/eva; the paper names no validation part."""

_IMAGE_FOLDERS = ("images", "rgbs_colorNormalized")
_NAME = re.compile(
    r"(?P<patient>TCGA-(?P<institution>[A-Z0-9]{2})-[A-Z0-9]{4})-DX\d+"
    r"_xmin(?P<xmin>\d+)_ymin(?P<ymin>\d+)_(?:MPP-(?P<mpp>\d+\.?\d*)|MAG-(?P<magnification>\d+\.?\d*))"
)
_MPP_AT_40X = 0.25


@dataclass(kw_only=True)
class BCSS(PatchSource):
    """The BCSS regions under `root`, either as the download script or as the Drive release lays them out."""

    def cases(self) -> list[Case]:
        """One case per mask that has an image.

        Raises:
            DataError: If there is none, a mask has no image, or a name does not follow the pattern.
        """
        folder = self._folder()
        masks = sorted(folder.glob("masks/*.png"))
        image_folder = next((folder / n for n in _IMAGE_FOLDERS if (folder / n).is_dir()), None)
        if not masks or image_folder is None:
            raise missing_data_error(
                self.root,
                "masks/*.png beside images/ or rgbs_colorNormalized/",
                "BCSS is free (CC0): https://github.com/PathologyDataScience/BCSS has a download script and a "
                "Google Drive folder.",
                "bcss_demo",
            )
        without_image = [mask.name for mask in masks if not (image_folder / mask.name).is_file()]
        if without_image:
            raise DataError(
                f"{len(without_image)} of {len(masks)} masks have no image of the same name in {image_folder}: "
                f"{', '.join(without_image[:5])}. Download the images or remove these masks."
            )
        return [_parse(image_folder / mask.name, mask) for mask in masks]

    def _folder(self) -> Path:
        """`root`, or the one folder of the Drive release inside it."""
        folder = Path(self.root)
        inner = folder / "0_Public-data-Amgad2019_0.25MPP"
        return inner if inner.is_dir() else folder


def _parse(image: Path, mask: Path) -> Case:
    match = _NAME.match(mask.name)
    if match is None:
        raise DataError(
            f"{mask}: the name does not follow TCGA-XX-YYYY-DX1_xmin0_ymin0_MPP-0.2500.png, from which institution, "
            "patient and resolution are read. Rename or remove the file."
        )
    return Case(
        id=mask.stem,
        image=image,
        mask=mask,
        patient=match["patient"],
        institution=match["institution"],
        part=_official_part(match["institution"]),
        mpp=_resolution(match),
    )


def _official_part(institution: str) -> Part:
    if institution in TEST_INSTITUTIONS:
        return "test"
    return "val" if institution in VALIDATION_INSTITUTIONS else "train"


def _resolution(match: re.Match[str]) -> float | None:
    if match["mpp"]:
        return float(match["mpp"])
    # MAG-40.00 names a magnification; MAG-0 is the scanner's own, which is not known here.
    magnification = float(match["magnification"])
    return _MPP_AT_40X * 40 / magnification if magnification else None
