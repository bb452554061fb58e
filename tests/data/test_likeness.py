"""Which pictures are alike: copies and other shots are, different lesions with the same ruler are not."""

import cv2
import numpy as np
import pytest

from tests.conftest import REAL_DATA
from unet_exp.data import _likeness, _likeness_file
from unet_exp.data._fingerprint import fingerprint, is_current, read_fingerprint
from unet_exp.data._image import read_image
from unet_exp.data._likeness import FEWEST_SHARED, alike_groups, alike_pairs, shared_keypoints
from unet_exp.data._likeness_file import LikenessFile

HEIGHT, WIDTH = 240, 320


def lesion(seed: int, *, ruler: bool = False) -> np.ndarray:
    """A pigmented lesion on skin with texture of its own, (240, 320, 3); perhaps with a ruler that others have too."""
    rng = np.random.default_rng(seed)
    picture = np.full((HEIGHT, WIDTH, 3), (214, 170, 150), np.float32)
    centre = np.array([WIDTH, HEIGHT]) / 2 + rng.normal(0, 12, 2)
    for _ in range(90):
        place = centre + rng.normal(0, (45, 35))
        tint = rng.uniform(0.35, 0.9)
        colour = (150 * tint, 90 * tint, 60 * tint)
        size = tuple(int(side) for side in rng.integers(2, 14, 2))
        cv2.ellipse(picture, tuple(place.astype(int).tolist()), size, float(rng.uniform(0, 180)), 0, 360, colour, -1)
    picture = cv2.GaussianBlur(picture, (0, 0), 1.2)
    picture += cv2.GaussianBlur(rng.normal(0, 14, picture.shape[:2]), (0, 0), 1.5)[..., None]
    if ruler:
        cv2.line(picture, (60, 215), (260, 215), (20, 20, 20), 2)
        for tick in range(60, 261, 8):
            cv2.line(picture, (tick, 215), (tick, 203 if tick % 40 else 195), (20, 20, 20), 1)
    return picture.clip(0, 255).astype(np.uint8)


def keypoints(picture):
    return read_fingerprint(fingerprint(np.ascontiguousarray(picture)))


def moved(picture, *, zoom=1.0, turn=0.0, shift=(0.0, 0.0)):
    matrix = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), turn, zoom)
    matrix[:, 2] += shift
    return cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)


def compressed(picture, quality):
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


OTHER_SHOTS = {
    "jpeg": lambda p: compressed(p, 25),
    "half the size": lambda p: cv2.resize(p, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA),
    "stretched": lambda p: cv2.resize(p, (256, 256), interpolation=cv2.INTER_AREA),
    "darker": lambda p: (255 * (p / 255.0) ** 1.6).astype(np.uint8),
    "colder": lambda p: (p * (0.8, 0.95, 1.0)).astype(np.uint8),
    "nearer": lambda p: moved(p, zoom=1.35),
    "farther": lambda p: moved(p, zoom=0.7),
    "turned a little": lambda p: moved(p, turn=23),
    "beside": lambda p: moved(p, shift=(40, -25)),
    "all at once": lambda p: compressed(moved(p[:, ::-1], zoom=1.2, turn=-15, shift=(10, 12)), 50),
}


@pytest.mark.parametrize("change", OTHER_SHOTS.values(), ids=OTHER_SHOTS)
def test_another_shot_of_the_same_lesion_is_alike(change):
    for seed in range(3):
        picture = lesion(seed)
        assert shared_keypoints(keypoints(picture), keypoints(change(picture))) >= FEWEST_SHARED


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_all_eight_symmetries_are_alike(quarters, mirror):
    picture = lesion(5)
    other = np.rot90(picture[:, ::-1] if mirror else picture, quarters)
    assert shared_keypoints(keypoints(picture), keypoints(other)) > 60
    assert shared_keypoints(keypoints(other), keypoints(picture)) > 60


def test_the_surroundings_in_a_mirrored_picture_are_known_without_mirroring_it():
    """Reference: the keypoints found in the mirrored picture itself."""
    picture = lesion(1)
    here, there = keypoints(picture), keypoints(picture[:, ::-1])
    places = np.array([255, 0], np.float32) + there.places * (-1, 1)
    near = np.abs(here.places[:, None] - places[None]).max(-1) <= 1
    assert near.any(1).sum() > 100

    def median_distance(bits):
        distances = np.bitwise_count(bits[:, None] ^ there.bits[None]).sum(-1)
        return np.median(np.where(near, distances, 128).min(1)[near.any(1)])

    assert median_distance(here.mirrored) <= 6
    assert median_distance(here.bits) > 30


def test_different_lesions_are_not_alike_even_with_the_same_ruler():
    pictures = [keypoints(lesion(seed, ruler=True)) for seed in range(12)]
    shared = [shared_keypoints(a, b) for n, a in enumerate(pictures) for b in pictures[n + 1 :]]
    assert max(shared) < FEWEST_SHARED


def test_the_ruler_alone_would_have_made_them_alike(monkeypatch):
    """So that the test above can tell: counted with those on one line, the ticks are enough."""
    monkeypatch.setattr(_likeness, "_beside_any_line", len)
    pictures = [keypoints(lesion(seed, ruler=True)) for seed in range(12)]
    shared = [shared_keypoints(a, b) for n, a in enumerate(pictures) for b in pictures[n + 1 :]]
    assert max(shared) >= FEWEST_SHARED


@pytest.mark.parametrize("shape", [(1, 1, 3), (4, 5, 3), (40, 2, 3), (300, 300, 3)])
def test_a_picture_without_anything_in_it_is_like_no_other(shape):
    empty = keypoints(np.full(shape, 200, np.uint8))
    assert shared_keypoints(empty, empty) == 0
    assert alike_groups([empty, keypoints(lesion(0)), empty]) == [0, 1, 2]


def test_groups_are_found_among_many_and_chained(monkeypatch):
    """More pictures than are all compared with each other; a is like b, and b like c."""
    monkeypatch.setattr(_likeness, "_NEIGHBOURS", {False: 6, True: 3})
    pictures = [lesion(seed) for seed in range(40)]
    pictures += [moved(pictures[7], zoom=1.3), np.rot90(pictures[7]), pictures[21][:, ::-1]]
    numbers = alike_groups([keypoints(picture) for picture in pictures], jobs=2)
    together = {number: [n for n, other in enumerate(numbers) if other == number] for number in numbers}
    assert sorted(members for members in together.values() if len(members) > 1) == [[7, 40, 41], [21, 42]]


@pytest.mark.slow
def test_the_answer_is_always_the_same():
    pictures = [lesion(seed) for seed in range(25)] + [moved(lesion(3), turn=10)]
    first, again = (alike_pairs([keypoints(p) for p in pictures], jobs=jobs) for jobs in (1, 3))
    assert first == again == [(3, 25)]


def test_a_fingerprint_of_another_version_is_not_compared():
    assert is_current(fingerprint(lesion(0)))
    assert not is_current(None)
    assert not is_current("0, OpenCV 4.5:AAAA")


def names_and_looks():
    looks = {f"p{seed}": fingerprint(lesion(seed)) for seed in range(4)}
    return {**looks, "copy": fingerprint(compressed(lesion(2), 40)), "unreadable": None}


def test_the_comparison_is_made_once(tmp_path, monkeypatch):
    looks, file = names_and_looks(), tmp_path / "catalog" / "alike.json"
    expected = {**{name: name for name in looks}, "p2": "copy"}
    assert LikenessFile(file).compare(looks) == expected

    def refuse(*_, **__):
        raise AssertionError("compared again")

    monkeypatch.setattr(_likeness_file, "alike_groups", refuse)
    assert LikenessFile(file).compare(dict(reversed(looks.items()))) == expected
    with pytest.raises(AssertionError, match="compared again"):
        LikenessFile(file).compare({**looks, "new": fingerprint(lesion(9))})


def test_a_damaged_file_counts_as_empty(tmp_path):
    looks, file = names_and_looks(), tmp_path / "alike.json"
    first = LikenessFile(file).compare(looks)
    file.write_bytes(file.read_bytes()[:-9])
    assert LikenessFile(file).compare(looks) == first


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="compared again the next time"):
        LikenessFile(tmp_path / "file" / "alike.json").compare(names_and_looks())


SHOTS = "0000223 0014818, 0000222 0014846, 0012756 0013184, 0000392 0010475, 0000419 0010465, 0000436 0010573"
"""Of one lesion each: recoloured, nearer by half, turned by 23 degrees."""
RESEMBLING = "0000039 0014836, 0000501 0014836, 0012787 0012901, 0014150 0014431, 0000013 0000126, 0000274 0000277"
"""Different lesions: dark spots in the middle, the same ruler, the same round field of view."""


@pytest.mark.skipif(not (REAL_DATA / "isic2017").is_dir(), reason="needs the ISIC 2017 training images")
@pytest.mark.parametrize(("pairs", "alike"), [(SHOTS, True), (RESEMBLING, False)], ids=["shots", "resembling"])
def test_real_lesions(pairs, alike):
    folder = REAL_DATA / "isic2017" / "ISIC-2017_Training_Data"
    for pair in pairs.split(", "):
        first, second = (keypoints(read_image(folder / f"ISIC_{name}.jpg")) for name in pair.split())
        assert (shared_keypoints(first, second) >= FEWEST_SHARED) == alike, pair
