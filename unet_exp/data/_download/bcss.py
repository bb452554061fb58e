"""BCSS from its two sources: images from the authors' slide server (Girder), masks from figshare.

Amgad et al., "Structured crowdsourcing enables convolutional segmentation of histology images",
Bioinformatics 35(18), 2019, https://doi.org/10.1093/bioinformatics/btz083. Data: CC0 1.0.
"""

import functools
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from unet_exp.data._download._bcss_regions import Region, find_item, read_regions
from unet_exp.data._download._content import check_image
from unet_exp.data._download._fetch import FailedFile, RemoteFile, failure, fetch_files, try_files
from unet_exp.data._download._folder import disk_error, locked
from unet_exp.data._download._girder import Girder, Item
from unet_exp.data._download._settings import DownloadSettings
from unet_exp.data._image import read_codes, resize_labels
from unet_exp.errors import DataError

GIRDER_URL = "https://demo.kitware.com/histomicstk/api/v1"
GIRDER_FOLDER = "5bbdeba3e629140048d017bb"
ROI_BOUNDS_URL = "https://raw.githubusercontent.com/PathologyDataScience/BCSS/master/meta/roiBounds.csv"
DRIVE_FOLDER = "https://drive.google.com/drive/folders/1zqbdkQF8i5cEmZOGmbdQm-EP8dRYtvss"
"""The authors' own copy, for when the server is down (https://github.com/PathologyDataScience/BCSS/issues/17)."""

_RELEASE_FOLDER = "0_Public-data-Amgad2019_0.25MPP"
_IMAGE_FOLDERS = ("images", "rgbs_colorNormalized")
_REGION_COUNT = 151
_ASPECT_TOLERANCE = 0.02


def download_bcss(
    root: Path,
    settings: DownloadSettings,
    *,
    girder_url: str = GIRDER_URL,
    girder_folder: str = GIRDER_FOLDER,
    girder_api_key: str | None = None,
    roi_bounds_url: str = ROI_BOUNDS_URL,
    mpp: float = 0.25,
) -> None:
    """Fetch the images and masks of BCSS that are missing in `root/images` and `root/masks`.

    Args:
        root: The dataset's folder. `root/meta/roiBounds.csv` is used if it is there, else it is fetched.
        settings: How patient to be.
        girder_url: The slide server's API.
        girder_folder: The server's name for the folder of slides.
        girder_api_key: For a server that does not let anonymous users read.
        roi_bounds_url: Table of the regions.
        mpp: Micrometres per pixel of the images.

    Raises:
        DataError: If anything is still missing; lists every file with its reason.
    """
    table = root / "meta" / "roiBounds.csv"
    if _is_complete(root, table, mpp):
        return
    scratch = root / ".download"
    with locked(root):
        if _is_complete(root, table, mpp):
            return
        _refuse_mixture(root, mpp)
        fetch_files([RemoteFile(url=roi_bounds_url, path=table, check=_check_table)], settings, title="BCSS table")
        regions = _missing(root, read_regions(table), mpp)
        server = Girder(girder_url, girder_api_key, settings, scratch)
        failed = _fetch_images(root, regions, mpp, server, girder_folder)
        failed += _fetch_masks(root, regions, mpp, scratch, settings)
        if failed:
            raise DataError(f"{failure(failed, 2 * len(regions))}\n{_by_hand(root)}")
        shutil.rmtree(scratch, ignore_errors=True)


def _check_table(path: Path) -> None:
    read_regions(path)


def _is_complete(root: Path, table: Path, mpp: float) -> bool:
    if table.is_file():
        return not _missing(root, read_regions(table), mpp)
    return len(_pairs(root, mpp)) >= _REGION_COUNT


def _pairs(root: Path, mpp: float) -> set[str]:
    """Names of the regions of which image and mask are there, as downloaded here or as in the Drive release."""
    names: set[str] = set()
    for base in (root, root / _RELEASE_FOLDER):
        masks = {path.name for path in base.glob(f"masks/TCGA-*_MPP-{mpp:.4f}.png")}
        names |= {name for name in masks if any((base / folder / name).is_file() for folder in _IMAGE_FOLDERS)}
    return names


def _missing(root: Path, regions: Sequence[Region], mpp: float) -> list[Region]:
    present = _pairs(root, mpp)
    return [region for region in regions if region.file_name(mpp) not in present]


def _refuse_mixture(root: Path, mpp: float) -> None:
    """Regions of two resolutions or two colour treatments in one folder would count twice, or differ unseen."""
    if (root / _RELEASE_FOLDER).is_dir() or (root / _IMAGE_FOLDERS[1]).is_dir():
        raise DataError(
            f"{root} holds a part of the authors' Drive release, whose colours are normalised. Complete it from "
            f"{DRIVE_FOLDER}, or choose another data.root to download to."
        )
    other = [path.name for path in root.glob("images/TCGA-*.png") if f"_MPP-{mpp:.4f}" not in path.name]
    if other:
        raise DataError(
            f"{root / 'images'} holds regions of another resolution than {mpp} µm per pixel, e.g. {other[0]}. "
            "Choose another data.root."
        )


def _by_hand(root: Path) -> str:
    return (
        f"If the server stays away: the authors keep a copy at {DRIVE_FOLDER}. Download its folder {_RELEASE_FOLDER} "
        f"and unpack it to {root.resolve()}, so that masks/ and rgbs_colorNormalized/ lie in it."
    )


def _fetch_images(root: Path, regions: Sequence[Region], mpp: float, server: Girder, folder: str) -> list[FailedFile]:
    """Fetch the regions' images; those that failed."""
    paths = {region: root / _IMAGE_FOLDERS[0] / region.file_name(mpp) for region in regions}
    paths = {region: path for region, path in paths.items() if not path.is_file()}
    if not paths:
        return []
    failed: list[FailedFile] = []
    items: dict[Region, Item] = {}
    try:
        listed = server.items(folder)
    except DataError as error:
        raise DataError(f"{error}\n{_by_hand(root)}") from None
    for region, path in paths.items():
        try:
            items[region] = find_item(region, listed)
        except DataError as error:
            failed.append(FailedFile(path, str(error)))
    slides, reasons = server.slides(list(items.values()))
    files: list[RemoteFile] = []
    for region, item in items.items():
        try:
            if item.id in reasons:
                raise DataError(f"the size of its slide is unknown: {reasons[item.id]}")
            size, tolerance = region.size_at(mpp, slides[item.id])
        except DataError as error:
            failed.append(FailedFile(paths[region], str(error)))
            continue
        check = functools.partial(check_image, size=size, tolerance=tolerance)
        files.append(server.region(item, paths[region], check, region.query(mpp)))
    return failed + try_files(files, server.settings, title="BCSS images")


def _fetch_masks(
    root: Path, regions: Sequence[Region], mpp: float, scratch: Path, settings: DownloadSettings
) -> list[FailedFile]:
    """Fetch the regions' masks and store them at the size of their images; those that failed."""
    names = [(region, region.file_name(mpp)) for region in regions]
    names = [(region, name) for region, name in names if not (root / "masks" / name).is_file()]
    files = [RemoteFile(url=r.mask_link, path=scratch / "masks" / name, check=check_image) for r, name in names]
    failed = try_files(files, settings, title="BCSS masks")
    for region, name in names:
        original, image = scratch / "masks" / name, root / _IMAGE_FOLDERS[0] / name
        if original.is_file() and image.is_file():
            try:
                _store_mask(original, image, root / "masks" / name, region)
            except DataError as error:
                failed.append(FailedFile(root / "masks" / name, str(error)))
    return failed


def _store_mask(original: Path, image: Path, path: Path, region: Region) -> None:
    """Write a mask at the size of its image, in one step."""
    codes = read_codes(original)
    if codes.max() > np.iinfo(np.uint8).max:
        raise DataError(f"the mask at {region.mask_link} has the code {codes.max()}; codes are at most 255")
    height, width = codes.shape
    aspect = (region.xmax - region.xmin) / (region.ymax - region.ymin)
    if not math.isclose(width / height, aspect, rel_tol=_ASPECT_TOLERANCE):
        raise DataError(
            f"the mask at {region.mask_link} is {width}x{height} px, which is not the shape of the region "
            f"({region.xmax - region.xmin}x{region.ymax - region.ymin}); is it another region's?"
        )
    try:
        with Image.open(image) as file:
            size = file.height, file.width
    except OSError as error:
        raise DataError(f"its image {image} cannot be read ({error}); remove it to get it anew") from None
    resized = resize_labels(np.asarray(codes, np.uint8), size)
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(resized).save(part, format="PNG")
        part.replace(path)
        original.unlink()
    except OSError as error:
        raise disk_error(path.parent, error) from None
