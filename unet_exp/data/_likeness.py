"""Which pictures of a dataset show the same thing: copies, turned, mirrored or recoloured, and other shots of it.

Two pictures are alike if enough keypoints of one are found in the other in the same arrangement, that is after one
affine change of coordinates. Keypoints along one line do not count: the same ruler lies on hundreds of lesions.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from unet_exp.data._fingerprint import Keypoints
from unet_exp.data._progress import progress

FEWEST_SHARED = 8
"""Keypoints beside any one line that two alike pictures have in common. Among the 2,000 training images of ISIC 2017
the 35 pairs with at least so many are shots of one lesion each, by eye; pairs of different lesions have up to 7."""
_FARTHEST = 36
"""Bits of 128 in which a keypoint may differ from itself in another picture."""
_TOLERANCE = 5.0
"""Pixels by which a keypoint may lie beside its place, the longest side being `SIDE`."""
_LINE = 6.0
"""Pixels around a line in which keypoints count as lying on it."""
_LARGEST_CHANGE = 2.5
"""Of size, between two pictures, and between the two directions of one."""

_MIRROR_IMAGE = np.array([-1, 1], np.float32)
_TABLES, _WORD = 64, 32
_COMMON = 16
"""A word that more pictures have says nothing about any of them."""
_NEIGHBOURS = {False: 48, True: 8}
"""Pictures that are compared in earnest with each one, as they are and mirrored. Another shot is seldom mirrored, and a
mirrored copy stands out."""
_BLOCK = 256
_Candidate = tuple[int, int, bool]
"""Two pictures, the smaller number first, and whether one is taken mirrored."""


def alike_groups(pictures: Sequence[Keypoints], *, jobs: int = 1) -> list[int]:
    """Number of the group of each picture; alike pictures, and what is alike to one of them, are one group.

    Args:
        pictures: Keypoints of every picture. The result depends on nothing else.
        jobs: Pairs compared at the same time.
    """
    pairs = alike_pairs(pictures, jobs=jobs)
    size = (len(pictures), len(pictures))
    rows, columns = np.array(pairs, np.intp).reshape(-1, 2).T
    graph = sparse.coo_matrix((np.ones(len(pairs)), (rows, columns)), size)
    return [int(group) for group in sparse.csgraph.connected_components(graph, directed=False)[1]]


def alike_pairs(pictures: Sequence[Keypoints], *, jobs: int = 1) -> list[tuple[int, int]]:
    """All pairs of alike pictures that are found, the smaller number first, in order."""
    candidates = sorted(_candidates(pictures))

    def judge(candidate: _Candidate) -> bool:
        first, second, mirrored = candidate
        return _shared(pictures[first], pictures[second], mirrored=mirrored) >= FEWEST_SHARED

    with ThreadPoolExecutor(jobs) as threads, progress("Comparing", len(candidates), "pairs") as bar:
        found = set()
        for (first, second, _), alike in zip(candidates, threads.map(judge, candidates), strict=True):
            bar.advance(1)
            if alike:
                found.add((first, second))
    return sorted(found)


def shared_keypoints(a: Keypoints, b: Keypoints) -> int:
    """Keypoints beside any one line that two pictures show in the same arrangement, one perhaps mirrored."""
    return max(_shared(a, b, mirrored=mirrored) for mirrored in (False, True))


def _shared(a: Keypoints, b: Keypoints, *, mirrored: bool) -> int:
    places, bits = (b.places * _MIRROR_IMAGE, b.mirrored) if mirrored else (b.places, b.bits)
    if min(len(a.bits), len(bits)) < FEWEST_SHARED:
        return 0
    distances = sum(np.bitwise_count(a.bits[:, None, word] ^ bits[None, :, word]) for word in range(bits.shape[1]))
    nearest, back = distances.argmin(1), distances.argmin(0)
    own = np.arange(len(nearest))
    found_again = (back[nearest] == own) & (distances[own, nearest] <= _FARTHEST)
    if np.count_nonzero(found_again) < FEWEST_SHARED:
        return 0
    first, second = a.places[found_again], places[nearest[found_again]]
    change, fits = cv2.estimateAffine2D(first, second, method=cv2.RANSAC, ransacReprojThreshold=_TOLERANCE)
    if change is None or not _is_plausible(change):
        return 0
    return _beside_any_line(np.unique(first[fits[:, 0] == 1], axis=0))


def _is_plausible(change: NDArray[np.float64]) -> bool:
    """Whether a photographer could have caused a change of coordinates (2, 3): neither much larger nor much skewed."""
    large, small = np.linalg.svd(change[:, :2], compute_uv=False)
    return bool(small * _LARGEST_CHANGE > max(1.0, large) and large < _LARGEST_CHANGE)


def _beside_any_line(points: NDArray[np.float32]) -> int:
    """Points (P, 2) that remain if those near one line are taken away, the line that takes most."""
    if len(points) < FEWEST_SHARED:
        return 0
    first, second = np.array(list(combinations(range(len(points)), 2))).T
    along = points[second] - points[first]
    across = np.stack([along[:, 1], -along[:, 0]], axis=1) / np.linalg.norm(along, axis=1, keepdims=True)
    distances = np.abs(across @ points.T - (across * points[first]).sum(1, keepdims=True))
    return len(points) - int((distances < _LINE).sum(1).max())


def _candidates(pictures: Sequence[Keypoints]) -> set[_Candidate]:
    """Pairs worth comparing: pictures whose keypoints share the most rare words.

    A word is a fixed random choice of the bits of a keypoint (locality-sensitive hashing, Indyk and Motwani 1998,
    https://doi.org/10.1145/276698.276876).
    """
    count = len(pictures)
    if count <= _NEIGHBOURS[False] + 1:
        return {(*pair, mirrored) for pair in combinations(range(count), 2) for mirrored in (False, True)}
    plain, mirrored = _words(pictures)
    found: set[_Candidate] = set()
    for start in range(0, count, _BLOCK):
        for words, is_mirrored in ((plain, False), (mirrored, True)):
            votes = (words[start : start + _BLOCK] @ plain.T).toarray()
            found.update((*pair, is_mirrored) for pair in _best(votes, start, _NEIGHBOURS[is_mirrored]))
    return found


def _best(votes: NDArray[np.float32], start: int, count: int) -> Iterator[tuple[int, int]]:
    """For the pictures from `start` on, the `count` that have most words in common with each."""
    rows = np.arange(len(votes))
    votes[rows, start + rows] = 0
    order = np.argsort(-votes, axis=1, kind="stable")[:, :count]
    for row, others in enumerate(order):
        yield from ((min(start + row, int(o)), max(start + row, int(o))) for o in others if votes[row, o] > 0)


def _words(pictures: Sequence[Keypoints]) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """How often each picture, and each mirrored picture, has each word that several pictures share."""
    owners = np.repeat(np.arange(len(pictures)), [len(picture.bits) for picture in pictures])
    plain = _unpacked([picture.bits for picture in pictures])
    mirrored = _unpacked([picture.mirrored for picture in pictures])
    generator = np.random.default_rng(0)
    tables = []
    for _ in range(_TABLES):
        chosen = generator.choice(plain.shape[1], _WORD, replace=False)
        known, numbers = np.unique(_keys(plain, chosen), return_inverse=True)
        size = (len(pictures), len(known))
        table = sparse.csr_matrix((np.ones(len(owners), np.float32), (owners, numbers)), size)
        keys = _keys(mirrored, chosen)
        places = np.searchsorted(known, keys).clip(max=len(known) - 1)
        there = known[places] == keys
        turned = sparse.csr_matrix((np.ones(there.sum(), np.float32), (owners[there], places[there])), size)
        used = np.bincount(numbers, minlength=len(known))
        telling = np.flatnonzero(used <= _COMMON)
        tables.append((table[:, telling], turned[:, telling]))
    return sparse.hstack([t for t, _ in tables], "csr"), sparse.hstack([t for _, t in tables], "csr")


def _unpacked(words: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint8]:
    """(P, 128) bits of all pictures."""
    return np.unpackbits(np.concatenate(words).view(np.uint8).reshape(-1, 16), axis=1)


def _keys(bits: NDArray[np.uint8], chosen: NDArray[np.intp]) -> NDArray[np.uint32]:
    packed = np.packbits(bits[:, chosen], axis=1)
    return np.ascontiguousarray(packed).view(np.uint32).reshape(-1)
