"""Stain unmixing against scikit-image, normalisation against plain references and known dyes."""

import tracemalloc

import numpy as np
import pytest
from skimage import color

from unet_exp.data import _stain
from unet_exp.data._demo_layout import make_layout
from unet_exp.data._demo_stain import STAINS, photograph
from unet_exp.data._stain import hed_to_rgb, normalize_stain, rgb_to_hed

METHODS = ["macenko", "reinhard"]
SCIKIT_UNIT = np.log(1e6)
"""scikit-image gives amounts in units of the optical density 6."""


def tissue(institution: str = "A2", seed: int = 0) -> np.ndarray:
    """The same generated tissue for every institution; only the stain differs."""
    layout = make_layout(np.random.default_rng(seed), (192, 224))
    picture = photograph(np.random.default_rng(seed + 1), STAINS[institution], layout, np.zeros((192, 224), bool))
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return tissue()


def colors() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (64, 64, 3)).astype(np.uint8)


def test_amounts_are_those_of_scikit_image():
    ours = rgb_to_hed(colors())
    theirs = color.rgb2hed(colors()) * SCIKIT_UNIT
    assert (ours < -0.1).any()  # scikit-image clips what is below zero
    assert np.abs(np.maximum(ours, 0) - theirs).max() < 1e-4


def test_pictures_are_those_of_scikit_image():
    amounts = np.random.default_rng(0).uniform(0, 2, (64, 64, 3)).astype(np.float32)
    theirs = color.hed2rgb(amounts / SCIKIT_UNIT) * 255
    assert np.abs(hed_to_rgb(amounts) - theirs).max() <= 0.51


def test_unmixing_and_mixing_gives_the_picture_back():
    assert np.array_equal(hed_to_rgb(rgb_to_hed(colors())), colors())
    black = np.zeros((2, 2, 3), np.uint8)
    assert hed_to_rgb(rgb_to_hed(black)).max() <= 1


def macenko_reference(image: np.ndarray) -> np.ndarray:
    """Macenko et al. 2009 step by step, on columns, with a singular value decomposition."""
    density = -np.log((image.reshape(-1, 3).T.astype(float) + 1) / 240)
    dense = density[:, (density >= 0.15).all(0)]
    plane = np.linalg.svd(dense - dense.mean(1, keepdims=True), full_matrices=False)[0][:, :2]
    plane = plane * np.sign(plane.sum(0))
    angles = np.angle(plane[:, 0] @ dense + 1j * (plane[:, 1] @ dense))
    vectors = [plane @ [np.cos(a), np.sin(a)] for a in np.percentile(angles, [1, 99])]
    dyes = np.array(sorted(vectors, key=lambda vector: -vector[0])).T
    amounts = np.linalg.lstsq(dyes, density, rcond=None)[0]
    strength = np.percentile(np.linalg.lstsq(dyes, dense, rcond=None)[0], 99, axis=1)
    target = np.array([[0.5626, 0.2159], [0.7201, 0.8012], [0.4062, 0.5581]])
    changed = target @ (amounts * (np.array([1.9705, 1.0308]) / strength)[:, None])
    return np.clip(240 * np.exp(-changed), 0, 255).T.reshape(image.shape)


def reinhard_reference(image: np.ndarray) -> np.ndarray:
    """Reinhard et al. 2001 with the matrices as printed, channel by channel."""
    pixels = np.maximum(image.reshape(-1, 3), 1).astype(float)
    dense = (-np.log((image.reshape(-1, 3) + 1.0) / 240) >= 0.15).any(1)
    to_lms = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
    long, medium, short = np.log(pixels @ to_lms.T).T
    lab = [
        (long + medium + short) / np.sqrt(3),
        (long + medium - 2 * short) / np.sqrt(6),
        (long - medium) / np.sqrt(2),
    ]
    targets = [(8.74108109, 0.6135447), (-0.12440419, 0.10989545), (0.0444982, 0.0286032)]
    lightness, yellow, red = (
        (c - c[dense].mean()) / c[dense].std() * deviation + mean
        for c, (mean, deviation) in zip(lab, targets, strict=True)
    )
    gray, warm, tilt = lightness / np.sqrt(3), yellow / np.sqrt(6), red / np.sqrt(2)
    lms = np.exp(np.stack([gray + warm + tilt, gray + warm - tilt, gray - 2 * warm], axis=-1))
    return np.clip(lms @ np.linalg.inv(to_lms).T, 0, 255).reshape(image.shape)


@pytest.mark.parametrize("institution", ["A2", "AO", "E2"])
@pytest.mark.parametrize(
    ("method", "reference"), [("macenko", macenko_reference), ("reinhard", reinhard_reference)], ids=METHODS
)
def test_pictures_are_those_of_the_reference(method, reference, institution):
    image = tissue(institution)
    assert np.abs(normalize_stain(image, method) - reference(image)).max() <= 0.6


def test_known_dyes_are_found():
    """Pixels mixed from two dyes, many of them nearly pure, as nuclei and collagen are."""
    generator = np.random.default_rng(0)
    dyes = np.array([[0.60, 0.72, 0.34], [0.16, 0.86, 0.47]])
    dyes = dyes / np.linalg.norm(dyes, axis=1, keepdims=True)
    share = generator.beta(0.3, 0.3, 20_000)
    amounts = np.stack([share, 1 - share], axis=1) * generator.uniform(0.5, 2.0, (20_000, 1))
    found = _stain._estimate_dyes(amounts @ dyes + generator.normal(0, 0.005, (20_000, 3)))
    degrees = np.rad2deg(np.arccos((found * dyes).sum(1)))
    assert degrees.max() < 2


def distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(float) - second).mean())


@pytest.mark.parametrize(("method", "share"), [("macenko", 0.5), ("reinhard", 0.9)])
@pytest.mark.parametrize("pair", [("AR", "D8"), ("AO", "E2"), ("A2", "LL")])
def test_differently_stained_copies_come_closer(method, share, pair):
    """Macenko undoes another stain; Reinhard's three factors can only do so in part."""
    first, second = (tissue(institution) for institution in pair)
    after = distance(normalize_stain(first, method), normalize_stain(second, method))
    assert after < share * distance(first, second)


@pytest.mark.parametrize("method", METHODS)
def test_normalising_twice_changes_little(method, image):
    once = normalize_stain(image, method)
    assert distance(once, image) > 5
    assert distance(normalize_stain(once, method), once) < 0.5 * distance(once, image)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("level", [0, 120, 255])
def test_constant_pictures_are_returned_as_they_are(method, level):
    image = np.full((50, 60, 3), level, np.uint8)
    assert np.array_equal(normalize_stain(image, method), image)


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_slide_with_little_dirt_is_returned_as_it_is(method):
    image = np.full((100, 100, 3), 245, np.uint8)
    image[:3, :20] = np.random.default_rng(0).integers(50, 200, (3, 20, 3))
    assert np.array_equal(normalize_stain(image, method), image)


@pytest.mark.parametrize("method", METHODS)
def test_bands_and_subsample_do_not_show(method, image, monkeypatch):
    whole = normalize_stain(image, method)
    monkeypatch.setattr(_stain, "_BAND_PIXELS", 1000)
    assert np.array_equal(normalize_stain(image, method), whole)
    monkeypatch.setattr(_stain, "_SAMPLE_PIXELS", 6000)
    assert np.abs(normalize_stain(image, method).astype(float) - whole).mean() < 4


@pytest.mark.parametrize("method", METHODS)
def test_memory_does_not_grow_with_the_picture(method, image):
    large = np.tile(image, (14, 16, 1))  # 9.6 million pixels
    tracemalloc.start()
    try:
        normalize_stain(large, method)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < large.nbytes + 120 * 2**20
