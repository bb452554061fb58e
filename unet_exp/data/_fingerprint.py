"""What a picture looks like, in a few kilobytes: small parts of it that another photograph of the same thing shows too.

Other hashes of pictures compare them as a whole. They find copies, but not a second photograph of a lesion, nearer or
turned, and they take any two dark spots in the middle of pale skin for one. Keypoints with their surroundings, found
again in the same arrangement, do both: Lowe, "Distinctive image features from scale-invariant keypoints", 2004,
https://doi.org/10.1023/B:VISI.0000029664.99615.94. The 128 numbers of a keypoint are kept as one bit each, as in Zhou
et al., "Scalar quantization for large scale image search", 2012, https://doi.org/10.1145/2393347.2393377.
"""

import base64
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 256
"""Longest side in pixels of the picture in which keypoints are sought."""
_KEYPOINTS = 200
_CANDIDATES = 600
_LOWEST_CONTRAST = 0.01
"""A quarter of the usual: a pale lesion has no strong edges."""
_CONTRAST_LIMIT, _CONTRAST_TILES = 3.0, (4, 4)
_VERSION = f"1, OpenCV {cv2.__version__}:"
_BYTES = 18
"""Of a keypoint: column, row, and 128 bits."""


class Keypoints(NamedTuple):
    """P keypoints of a picture.

    Args:
        places: Column and row, the longest side being `SIDE`, (P, 2) float32.
        bits: Surroundings, (P, 2) uint64.
        mirrored: Surroundings as they are in the mirrored picture, (P, 2) uint64.
    """

    places: NDArray[np.float32]
    bits: NDArray[np.uint64]
    mirrored: NDArray[np.uint64]


def fingerprint(image: NDArray[np.integer]) -> str:
    """The keypoints of a picture as text of about 5 kB.

    Args:
        image: (H, W, 3), 8 bits per channel, of any size.
    """
    places, descriptors = _find(_normalized(image))
    columns_rows = places.round().clip(0, SIDE - 1).astype(np.uint8)
    bits = np.packbits(descriptors > np.median(descriptors, axis=1, keepdims=True), axis=1)
    return _VERSION + base64.b64encode(np.hstack([columns_rows, bits]).tobytes()).decode()


def is_current(text: str | None) -> bool:
    """Whether a fingerprint was taken, and by this version, so that it may be compared with others."""
    return text is not None and text.startswith(_VERSION)


def read_fingerprint(text: str) -> Keypoints:
    """The keypoints in the text that `fingerprint` gave."""
    content = np.frombuffer(base64.b64decode(text.removeprefix(_VERSION)), np.uint8).reshape(-1, _BYTES)
    bits = content[:, 2:]
    mirrored = np.packbits(np.unpackbits(bits, axis=1)[:, _MIRROR], axis=1)
    return Keypoints(content[:, :2].astype(np.float32), _as_words(bits), _as_words(mirrored))


def _as_words(bits: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(bits).view(np.uint64)


def _normalized(image: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Grey, its longest side `SIDE`, of even contrast: lighting and colours differ between photographs."""
    factor = SIDE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    # Before the conversion: a region of a slide has hundreds of megabytes.
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    grey = cv2.cvtColor(resized, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.createCLAHE(_CONTRAST_LIMIT, _CONTRAST_TILES).apply(grey), np.uint8)


def _find(grey: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Places (P, 2) and descriptors (P, 128) of the strongest keypoints, in an order that is always the same."""
    detector = cv2.SIFT.create(nfeatures=_CANDIDATES, contrastThreshold=_LOWEST_CONTRAST)
    found, descriptors = detector.detectAndCompute(grey, None)
    if descriptors is None:
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32)
    strongest = sorted(range(len(found)), key=lambda i: (-found[i].response, found[i].pt, found[i].angle))
    chosen = strongest[:_KEYPOINTS]
    places = np.array([found[i].pt for i in chosen], np.float32).reshape(-1, 2)
    return places, np.asarray(descriptors[chosen], np.float32)


def _mirror() -> NDArray[np.intp]:
    """Where each of the 4 x 4 cells x 8 directions of a descriptor comes from when the picture is mirrored.

    Cells are in the frame of the keypoint's own direction: mirrored, the rows change places, and angles their sign.
    """
    rows, columns, directions = np.meshgrid(np.arange(4), np.arange(4), np.arange(8), indexing="ij")
    return np.asarray((((3 - rows) * 4 + columns) * 8 + -directions % 8).reshape(-1), np.intp)


_MIRROR = _mirror()
