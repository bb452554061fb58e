"""Stains of histological sections: optical density, unmixing into dyes, and normalisation to a fixed look."""

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from unet_exp.data._case import Image

Density = NDArray[np.float32]
"""(H, W, 3) optical density, or amounts of three dyes."""
Vector = NDArray[np.floating]
Matrix = NDArray[np.floating]

RGB_FROM_HED: Matrix = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""What haematoxylin, eosin and DAB (rows) absorb of red, green and blue: Ruifrok & Johnston, Anal. Quant. Cytol.
Histol. 23 (2001), 291-299."""
HED_FROM_RGB: Matrix = np.linalg.inv(RGB_FROM_HED)

_SAMPLE_PIXELS = 1_000_000
_BAND_PIXELS = 1_000_000
_FEWEST_TISSUE_PIXELS = 100

# Macenko et al. 2009: an empty slide has 240 grey levels; density below 0.15 is no tissue; extremes are percentiles.
_WHITE = 240.0
_TISSUE_DENSITY = 0.15
_ANGLE_PERCENTILES = (1.0, 99.0)
_AMOUNT_PERCENTILE = 99.0
_SMALLEST_ANGLE = 0.05
"""Radians between the two dyes below which a picture is taken to hold only one."""
_TARGET_DYES: Matrix = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
_TARGET_AMOUNTS: Vector = np.array([1.9705, 1.0308])
"""Haematoxylin and eosin, and their 99th percentiles, of the reference in the implementation by Macenko's group
(M. Veta's `normalizeStaining`), in use in most others."""

# Reinhard et al. 2001: RGB to cone responses, and their logarithms to the decorrelated space lαβ.
_LMS_FROM_RGB: Matrix = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_LAB_FROM_LMS: Matrix = np.diag([3**-0.5, 6**-0.5, 2**-0.5]) @ np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]])
_RGB_FROM_LMS: Matrix = np.linalg.inv(_LMS_FROM_RGB)
_LMS_FROM_LAB: Matrix = np.linalg.inv(_LAB_FROM_LMS)
_TARGET_MEAN: Vector = np.array([8.74108109, -0.12440419, 0.0444982])
_TARGET_DEVIATION: Vector = np.array([0.6135447, 0.10989545, 0.0286032])
"""Of TCGA-A2-A3XS-DX1, the slide to which the published BCSS pictures are normalised (Amgad et al. 2019;
HistomicsTK's `cnorm`)."""
_SMALLEST_DEVIATION = 1e-3


def optical_density(image: Image) -> Density:
    """How much light is absorbed: -ln(I / 255), where I is at least one grey level.

    Args:
        image: (H, W, 3) RGB.
    """
    return np.asarray(cv2.LUT(image, _density_table(255.0, 0.0)), np.float32)


def from_optical_density(density: Density, white: float = 255.0) -> Image:
    """The picture (H, W, 3) of a density (H, W, 3) on a slide with `white` grey levels."""
    return np.asarray(cv2.convertScaleAbs(cv2.exp(-density), alpha=white), np.uint8)


def rgb_to_hed(image: Image) -> Density:
    """Amounts of haematoxylin, eosin and DAB (H, W, 3) in natural optical density; they may be below zero."""
    return np.asarray(cv2.transform(optical_density(image), HED_FROM_RGB.T), np.float32)


def hed_to_rgb(hed: Density) -> Image:
    """The picture (H, W, 3) of amounts of haematoxylin, eosin and DAB (H, W, 3)."""
    return from_optical_density(np.asarray(cv2.transform(hed, RGB_FROM_HED.T), np.float32))


def normalize_stain(image: Image, method: Literal["macenko", "reinhard"]) -> Image:
    """Bring the colours of a histological picture to a fixed look.

    `macenko` (Macenko et al., ISBI 2009, 1107-1110) finds the two dyes of the picture in the plane of its optical
    densities and replaces them, and their strength, by fixed ones. `reinhard` (Reinhard et al., IEEE Computer
    Graphics and Applications 21(5), 2001, 34-41) gives the tissue a fixed mean and deviation in the space lαβ.
    What they need is estimated from about a million evenly spaced pixels. Of those only tissue counts: what absorbs
    in all three channels for `macenko`, as published, and in any of them for `reinhard`. A picture without tissue,
    or whose tissue has one colour only, is returned as it is.

    Args:
        image: (H, W, 3) RGB. It may be large: beyond input and output, memory for a million pixels is used.
        method: The method.

    Returns:
        (H, W, 3).
    """
    sample = _evenly_spaced(image)
    density = cv2.LUT(sample, _density_table(_WHITE, 1.0))
    absorbs = density >= _TISSUE_DENSITY
    tissue = absorbs.all(-1) if method == "macenko" else absorbs.any(-1)
    if np.count_nonzero(tissue) < _FEWEST_TISSUE_PIXELS:
        return image
    convert = _macenko(density[tissue]) if method == "macenko" else _reinhard(sample[tissue])
    return image if convert is None else _in_bands(image, convert)


def _macenko(tissue: Density) -> Callable[[Image], Image] | None:
    """The conversion for a picture with tissue of these densities (N, 3)."""
    density = tissue.astype(np.float64)
    dyes = _estimate_dyes(density)
    if dyes is None:
        return None
    unmix = np.linalg.pinv(dyes)  # (3, 2)
    amounts = np.percentile(density @ unmix, _AMOUNT_PERCENTILE, axis=0)
    if (amounts <= 0).any():
        return None
    matrix = (unmix @ np.diag(_TARGET_AMOUNTS / amounts) @ _TARGET_DYES).T

    def convert(band: Image) -> Image:
        density = cv2.LUT(band, _density_table(_WHITE, 1.0))
        return from_optical_density(np.asarray(cv2.transform(density, matrix), np.float32), _WHITE)

    return convert


def _estimate_dyes(density: Matrix) -> Matrix | None:
    """Absorption of haematoxylin and eosin (2, 3), unit vectors; None if there are not two dyes.

    Densities are mixtures of two vectors, so they fill an angle in the plane of the largest variation; its
    sides are the dyes.
    """
    _, vectors = np.linalg.eigh(np.cov(density.T))
    plane = vectors[:, :0:-1]  # (3, 2), the largest eigenvalue first
    plane = plane * np.where(plane.sum(0) < 0, -1.0, 1.0)
    projected = density @ plane
    angles = np.arctan2(projected[:, 1], projected[:, 0])
    low, high = np.percentile(angles, _ANGLE_PERCENTILES)
    if high - low < _SMALLEST_ANGLE:
        return None
    dyes = np.array([[np.cos(angle), np.sin(angle)] for angle in (low, high)]) @ plane.T
    return np.asarray(dyes if dyes[0, 0] > dyes[1, 0] else dyes[::-1])  # haematoxylin absorbs more red


def _reinhard(tissue: Image) -> Callable[[Image], Image] | None:
    """The conversion for a picture with these tissue pixels (N, 3)."""
    lab = _to_lab(tissue[None]).reshape(-1, 3).astype(np.float64)
    mean, deviation = lab.mean(0), lab.std(0)
    if (deviation < _SMALLEST_DEVIATION).any():
        return None
    scale = _TARGET_DEVIATION / deviation
    offset = _TARGET_MEAN - mean * scale
    # From lαβ to the logarithms of the cone responses at once.
    matrix = np.hstack([_LMS_FROM_LAB @ np.diag(scale), (_LMS_FROM_LAB @ offset)[:, None]])

    def convert(band: Image) -> Image:
        lms = cv2.exp(cv2.transform(_to_lab(band), matrix))
        return np.asarray(cv2.transform(lms, _RGB_FROM_LMS).round().clip(0, 255), np.uint8)

    return convert


def _to_lab(image: Image) -> Density:
    """Reinhard's lαβ (H, W, 3) of an image; black counts as one grey level."""
    lms = cv2.transform(np.maximum(image, 1).astype(np.float32), _LMS_FROM_RGB)
    return np.asarray(cv2.transform(cv2.log(lms), _LAB_FROM_LMS), np.float32)


def _density_table(white: float, shift: float) -> NDArray[np.float32]:
    """Optical density (256,) of every grey level; `shift` is added to the levels, and none counts below 1."""
    return np.asarray(-np.log(np.maximum(np.arange(256) + shift, 1.0) / white), np.float32)


def _evenly_spaced(image: Image) -> Image:
    """At most about a million pixels of a regular grid."""
    step = int(np.ceil(np.sqrt(image.shape[0] * image.shape[1] / _SAMPLE_PIXELS)))
    return np.ascontiguousarray(image[::step, ::step]) if step > 1 else image


def _in_bands(image: Image, convert: Callable[[Image], Image]) -> Image:
    """Convert a picture some rows at a time."""
    result = np.empty_like(image)
    rows = max(1, _BAND_PIXELS // image.shape[1])
    for top in range(0, len(image), rows):
        result[top : top + rows] = convert(image[top : top + rows])
    return result
