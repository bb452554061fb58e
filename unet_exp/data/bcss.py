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
from typing import ClassVar

from unet_exp.data._case import Case
from unet_exp.data._download._settings import DownloadSettings
from unet_exp.data._finding import Finding, Scan
from unet_exp.data._official import official_parts
from unet_exp.data._pairing import files_in, pair_by_name
from unet_exp.data._patch_source import PatchSource
from unet_exp.data._source import missing_data_error

_IMAGE_FOLDERS = ("images", "rgbs_colorNormalized")
_NAME = re.compile(
    r"(?P<patient>TCGA-(?P<institution>[A-Z0-9]{2})-[A-Z0-9]{4})-DX\d+"
    r"_xmin(?P<xmin>\d+)_ymin(?P<ymin>\d+)_(?:MPP-(?P<mpp>\d+\.?\d*)|MAG-(?P<magnification>\d+\.?\d*))"
)
_MPP_AT_40X = 0.25


@dataclass(kw_only=True)
class BCSS(PatchSource):
    """The BCSS regions under `root`, either as the download script or as the Drive release lays them out.

    Args:
        girder_url: The authors' slide server, which gives the images.
        girder_folder: Its name for the folder of slides.
        roi_bounds_url: Their table of the regions, which names the masks.
    """

    how_to_get: ClassVar[str] = (
        "BCSS is free (CC0): `python -m unet_exp.prepare data=bcss` downloads it. If its server is down, unpack the "
        "Google Drive release that https://github.com/PathologyDataScience/BCSS names."
    )
    downloadable: ClassVar[bool] = True

    girder_url: str = "https://demo.kitware.com/histomicstk/api/v1"
    girder_folder: str = "5bbdeba3e629140048d017bb"
    roi_bounds_url: str = "https://raw.githubusercontent.com/PathologyDataScience/BCSS/master/meta/roiBounds.csv"

    def download(self, settings: DownloadSettings) -> None:
        """Images from the slide server, masks from figshare."""
        from unet_exp.data._download.bcss import download_bcss

        download_bcss(
            Path(self.root),
            settings,
            girder_url=self.girder_url,
            girder_folder=self.girder_folder,
            roi_bounds_url=self.roi_bounds_url,
        )

    def scan(self) -> Scan:
        """One case per pair of mask and image.

        Raises:
            DataError: If there is neither a mask nor an image.
        """
        folder = self._folder()
        image_folder = next((folder / name for name in _IMAGE_FOLDERS if (folder / name).is_dir()), None)
        images = files_in(image_folder, [".png"]) if image_folder else []
        masks = files_in(folder / "masks", [".png"])
        if not images and not masks:
            # A folder of masks alone, as a download that was cut short leaves it.
            masks = [path for path in files_in(folder, [".png"]) if path.name.startswith("TCGA-")]
        if not images and not masks:
            raise missing_data_error(
                self.root,
                "masks/*.png beside images/ or rgbs_colorNormalized/",
                self.how_to_get,
                "bcss_demo",
            )
        pairing = pair_by_name(
            ((path.stem, path) for path in images),
            ((path.stem, path) for path in masks),
            images_in=str(image_folder or " or ".join(str(folder / name) for name in _IMAGE_FOLDERS)),
            masks_in=str(folder / "masks"),
        )
        read = [self._read_name(image, mask) for image, mask in pairing.pairs.values()]
        return Scan(
            [case for case in read if isinstance(case, Case)],
            [*pairing.findings, *(finding for finding in read if isinstance(finding, Finding))],
        )

    def _read_name(self, image: Path, mask: Path) -> Case | Finding:
        match = _NAME.match(mask.name)
        if match is None:
            pattern = "the name does not follow TCGA-XX-YYYY-DX1_xmin0_ymin0_MPP-0.2500.png."
            return Finding(kind="bad_name", file=mask, detail=pattern)
        mpp = _resolution(match)
        if mpp is None and self.mpp is not None:
            return Finding(
                kind="unknown_resolution", file=mask, detail="MAG-0 in the name does not say how large a pixel is."
            )
        return Case(
            id=mask.stem,
            image=image,
            mask=mask,
            patient=match["patient"],
            institution=match["institution"],
            part=official_parts("bcss").get(match["institution"], "train"),
            mpp=mpp,
        )

    def _folder(self) -> Path:
        """`root`, or the one folder of the Drive release inside it."""
        folder = Path(self.root)
        inner = folder / "0_Public-data-Amgad2019_0.25MPP"
        return inner if inner.is_dir() else folder


def _resolution(match: re.Match[str]) -> float | None:
    if match["mpp"]:
        return float(match["mpp"])
    # MAG-40.00 names a magnification; MAG-0 is the scanner's own, which is not known here.
    magnification = float(match["magnification"])
    return _MPP_AT_40X * 40 / magnification if magnification else None
