"""ISIC challenges 2016, 2017 and 2018, Task 1: the border of one skin lesion per dermoscopic photograph.

Dataset features: 900/379 (2016), 2000/150/600 (2017), 2594/100/1000 (2018) photographs for training, validation
and test, 500 to 6,700 px a side; masks {0, 255}.

Dataset format: the folders of the official zip files side by side, images ``ISIC_0000000.jpg``, masks
``ISIC_0000000_segmentation.png`` (2016: ``_Segmentation``). ``_superpixels.png`` files are skipped.

Codella et al., "Skin lesion analysis toward melanoma detection", https://arxiv.org/abs/1710.05006 (2017) and
https://arxiv.org/abs/1902.03368 (2018); Gutman et al., https://arxiv.org/abs/1605.01397 (2016).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from unet_exp.data._case import Case, Part
from unet_exp.data._download._settings import DownloadSettings
from unet_exp.data._finding import Finding, Scan
from unet_exp.data._isic_folders import FOLDERS
from unet_exp.data._official import official_parts
from unet_exp.data._pairing import files_in, pair_by_name, same_name
from unet_exp.data._source import missing_data_error
from unet_exp.data._whole_source import WholeImageSource

_MASK_ENDING = "_segmentation.png"


@dataclass(kw_only=True)
class ISIC(WholeImageSource):
    """One year's official folders under `root`; parts that are not there are left out.

    Args:
        year: Year of the challenge.
        url: The challenge's server.
    """

    how_to_get: ClassVar[str] = (
        "ISIC is free: `python -m unet_exp.prepare data=isic<year>` downloads it, or unpack the Task 1 files from "
        "https://challenge.isic-archive.com/data/ yourself."
    )
    downloadable: ClassVar[bool] = True

    year: Literal[2016, 2017, 2018]
    url: str = "https://isic-challenge-data.s3.amazonaws.com/"

    @property
    def name(self) -> str:
        """Short name for folders and messages."""
        return f"isic{self.year}"

    def download(self, settings: DownloadSettings) -> None:
        """The official zip files, unpacked side by side."""
        from unet_exp.data._download.isic import download_isic

        download_isic(Path(self.root), self.year, settings, base_url=self.url)

    def scan(self) -> Scan:
        """One case per image of the official folders.

        Raises:
            DataError: If there is none.
        """
        scans = [self._scan_part(part) for part in FOLDERS[self.year]]
        cases = [case for scan in scans for case in scan.cases]
        findings = [finding for scan in scans for finding in scan.findings]
        if not cases and not findings:
            folders = FOLDERS[self.year]["train"]
            raise missing_data_error(
                self.root,
                f"the folders {folders.images}/ and {folders.masks}/",
                self.how_to_get.replace("<year>", str(self.year)),
                "lesion_demo",
            )
        return _without_repeated_names(Scan(cases, findings))

    def _scan_part(self, part: Part) -> Scan:
        folders = FOLDERS[self.year][part]
        image_folder, mask_folder = Path(self.root) / folders.images, Path(self.root) / folders.masks
        images = files_in(image_folder, [".jpg"])
        masks = [path for path in files_in(mask_folder, [".png"]) if path.name.lower().endswith(_MASK_ENDING)]
        if bool(images) != bool(masks):
            # One finding rather than hundreds: an archive of this part was not unpacked.
            return Scan([], [_half_part(image_folder, mask_folder, len(images), len(masks))])
        pairing = pair_by_name(
            ((path.stem, path) for path in images),
            ((path.name[: -len(_MASK_ENDING)], path) for path in masks),
            images_in=str(image_folder),
            masks_in=str(mask_folder),
        )
        cases = [
            Case(id=name, image=image, mask=mask, patient=name, institution="", part=part)
            for name, (image, mask) in pairing.pairs.items()
        ]
        return Scan(cases, [*pairing.findings, *self._list_findings(part, image_folder, cases)])

    def _list_findings(self, part: Part, folder: Path, cases: Sequence[Case]) -> Iterator[Finding]:
        """Where the folder differs from the official list of its part."""
        official = official_parts(self.name)
        for case in cases:
            listed = official.get(case.id)
            if listed not in (None, part):
                yield Finding(kind="other_part", file=case.image, detail=f"Officially it is a {listed} image.")
        expected = {name for name, listed in official.items() if listed == part}
        missing = sorted(expected - {case.id for case in cases})
        if cases and missing:
            detail = f"{len(missing)} of the {len(expected)} official {part} images are missing, e.g. {missing[0]}."
            yield Finding(kind="incomplete_part", file=folder, detail=detail)


def _half_part(image_folder: Path, mask_folder: Path, images: int, masks: int) -> Finding:
    if images:
        detail = f"It holds {images} images, but there are no masks in {mask_folder}."
        return Finding(kind="half_part", file=image_folder, detail=detail)
    detail = f"It holds {masks} masks, but there are no images in {image_folder}."
    return Finding(kind="half_part", file=mask_folder, detail=detail)


def _without_repeated_names(scan: Scan) -> Scan:
    """An image may be in one part only."""
    first: dict[str, Case] = {}
    repeated = [case for case in scan.cases if first.setdefault(case.id, case) is not case]
    findings = [same_name(case.image, first[case.id].image) for case in repeated]
    return Scan(list(first.values()), [*scan.findings, *findings])
