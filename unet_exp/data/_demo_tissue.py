"""A generated stand-in for BCSS: H&E-like pictures of five tissue classes, in the official layout.

*Dataset features*: 25 regions of interest of 17 institutions, each with its own stain; 1 µm per pixel,
about 320 to 448 pixels a side; 14 of the 22 official codes.

*Dataset format*: as published, so the BCSS reader takes it without a special case: `images/`, `masks/`,
`meta/gtruth_codes.tsv`, `meta/roiBounds.csv`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from unet_exp.data._demo_common import ByteArray, Shape, to_bytes, write_png
from unet_exp.data._demo_layout import Code, annotated_area, excluded_blob, make_layout
from unet_exp.data._demo_stain import STAINS, photograph

OFFICIAL_CODES: tuple[str, ...] = (
    "outside_roi",
    "tumor",
    "stroma",
    "lymphocytic_infiltrate",
    "necrosis_or_debris",
    "glandular_secretions",
    "blood",
    "exclude",
    "metaplasia_NOS",
    "fat",
    "plasma_cells",
    "other_immune_infiltrate",
    "mucoid_material",
    "normal_acinus_or_duct",
    "lymphatics",
    "undetermined",
    "nerve",
    "skin_adnexa",
    "blood_vessel",
    "angioinvasion",
    "dcis",
    "other",
)

ROIS_PER_INSTITUTION: Mapping[str, int] = {
    **dict.fromkeys(("A2", "AR", "D8", "A7", "AO", "AN"), 2),  # trained on
    **dict.fromkeys(("BH", "C8", "A8", "A1", "E9"), 1),  # validated on
    **{"OL": 2, "LL": 1, "E2": 2, "EW": 1, "GM": 1, "S3": 1},  # tested on
}

_BASE_PIXELS = 4  # base magnification is 0.25 µm per pixel, and the ROI bounds are given in its pixels


def make_tissue_demo(
    root: Path, *, seed: int = 0, rois_per_institution: Mapping[str, int] = ROIS_PER_INSTITUTION
) -> None:
    """Write the tissue demo into `root`.

    Args:
        root: A fresh folder.
        seed: Another seed gives other tissue with the same stains.
        rois_per_institution: Number of regions of interest of each institution.
    """
    for folder in ("images", "masks", "meta"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    bounds = []
    cases = [name for name, count in rois_per_institution.items() for _ in range(count)]
    for index, institution in enumerate(cases):
        rng = np.random.default_rng([seed, index])
        image, mask = make_tissue_case(rng, institution)
        slide = f"TCGA-{institution}-X{index:03d}-DX1"
        left, top = (int(value) for value in rng.integers(1_000, 90_000, 2))
        bottom, right = (start + _BASE_PIXELS * size for start, size in zip((top, left), mask.shape, strict=True))
        bounds.append((slide, left, top, right, bottom, ""))
        name = f"{slide}_xmin{left}_ymin{top}_MPP-1.0000.png"
        write_png(root / "images" / name, image)
        write_png(root / "masks" / name, mask)
    codes = ((label, code) for code, label in enumerate(OFFICIAL_CODES))
    _write_table(root / "meta" / "gtruth_codes.tsv", ("label", "GT_code"), codes, "\t")
    columns = ("", "xmin", "ymin", "xmax", "ymax", "mask_link")
    _write_table(root / "meta" / "roiBounds.csv", columns, bounds, ",")


def make_tissue_case(rng: np.random.Generator, institution: str) -> tuple[ByteArray, ByteArray]:
    """Make one region of interest.

    Args:
        rng: Source of randomness.
        institution: Its code, which decides about the stain.

    Returns:
        RGB image (H, W, 3) and mask of official codes (H, W).
    """
    height, width = (int(size) for size in rng.integers(320, 449, 2))
    shape: Shape = (height, width)
    layout = make_layout(rng, shape)
    folds = excluded_blob(rng, shape)
    image = to_bytes(photograph(rng, STAINS[institution], layout, folds))
    mask = layout.codes.copy()
    mask[folds] = Code.EXCLUDE
    mask[~annotated_area(rng, shape)] = Code.OUTSIDE
    return image, mask


def _write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]], delimiter: str) -> None:
    """Write a table with the line ends of the official files."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
