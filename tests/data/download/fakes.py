"""The slide server, the mask store and the lesion bucket, with the real addresses, answers and file layouts."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.data.download import server as faults
from tests.data.download.conftest import encoded, png, zipped
from tests.data.download.server import Request, Server

BASE_MPP = 0.252
REGIONS = [("TCGA-A1-A0SK", 400, 300), ("TCGA-OL-A66P", 300, 410), ("TCGA-BH-A0BG", 350, 350)]
XMIN, YMIN = 100, 50


@dataclass
class FakeBCSS:
    """What a download is told, and what it should bring.

    Args:
        server: Runs.
        arguments: For `download_bcss`.
        names: Of the files, by patient.
        masks: Codes at base magnification, by patient.
    """

    server: Server
    arguments: dict[str, str]
    names: dict[str, str]
    masks: dict[str, np.ndarray]

    def region(self, patient: str):
        return self.server.resources[f"/api/v1/item/id{patient[-4:]}/tiles/region"]


def region_size(width: int, height: int, mm: float) -> tuple[int, int]:
    """As the slide server computes it: fractions of a pixel are cut off."""
    scale = BASE_MPP / 1000 / mm
    return int(width * scale), int(height * scale)


def bcss(server: Server, mpp: float = 0.25) -> FakeBCSS:
    """Girder and figshare with three slides."""
    rows, items, names, masks = [",xmin,ymin,xmax,ymax,mask_link"], [], {}, {}
    for number, (patient, width, height) in enumerate(REGIONS):
        key = f"id{patient[-4:]}"
        items.append({"_id": key, "name": f"{patient}-01Z-00-DX1.A44D70FA.svs", "folderId": "f", "size": 1})
        slide = {"sizeX": 2000, "sizeY": 2000, "levels": 9, "magnification": 40.0, "mm_x": BASE_MPP / 1000}
        server.add(f"/api/v1/item/{key}/tiles", json.dumps(slide).encode(), etag=None)
        server.add(f"/api/v1/item/{key}/tiles/region", _region, etag=None, ranges=False)
        codes = np.random.default_rng(number).integers(0, 22, (height, width), np.uint8)
        server.add(f"/files/{number}", b"", faults=[faults.redirect(f"/s3/{number}")] * 20)
        server.add(f"/s3/{number}", encoded(codes))
        rows.append(f"{patient}-DX1,{XMIN},{YMIN},{XMIN + width},{YMIN + height},{server.url}/files/{number}")
        names[patient] = f"{patient}-DX1_xmin{XMIN}_ymin{YMIN}_MPP-{mpp:.4f}.png"
        masks[patient] = codes
    server.add("/api/v1/item", json.dumps(items).encode(), etag=None)
    table = server.add("/roiBounds.csv", "\n".join(rows).encode())
    arguments = {"girder_url": f"{server.url}/api/v1", "girder_folder": "f", "roi_bounds_url": table}
    return FakeBCSS(server, arguments, names, masks)


def _region(request: Request) -> bytes:
    query = request.query
    assert query["encoding"] == "PNG"
    width, height = (int(query[b]) - int(query[a]) for a, b in (("left", "right"), ("top", "bottom")))
    return png(*region_size(width, height, float(query["mm_x"])))


def isic(server: Server, year: int, folders, *, top: bool) -> dict[str, bytes]:
    """The bucket of one year; its zip files by folder.

    Args:
        server: Runs.
        year: 2016, 2017 or 2018.
        folders: The official folders with the number of their files.
        top: Whether the members lie in a folder inside the zip file.
    """
    archives = {}
    for folder in folders:
        ending = "_Segmentation.png" if year == 2016 and "png" in folder.ending else folder.ending
        prefix = f"{folder.name}/" if top else ""
        members = {f"{prefix}ISIC_{i:07d}{ending}": f"{folder.name}{i}".encode() for i in range(folder.count)}
        members |= {f"{prefix}ISIC_0000000_superpixels.png": b"s", f"{prefix}LICENSE.txt": b"l"}
        archives[folder.name] = zipped(members)
        server.add(f"/{year}/{folder.name}.zip", archives[folder.name])
    return archives


def files(folder: Path) -> set[str]:
    """Names of what a user sees in a folder."""
    return {path.name for path in folder.glob("[!.]*")}
