import csv
import itertools
import re

import cv2
import numpy as np
import pytest
from PIL import Image

from unet_exp.data._demo_lesion import make_lesion_demo
from unet_exp.data._demo_tissue import ROIS_PER_INSTITUTION, make_tissue_demo

TRAIN = ("A2", "AR", "D8", "A7", "AO", "AN")
TEST = ("OL", "LL", "E2", "EW", "GM", "S3")
CLASSES = {"tumor": (1, 19, 20), "stroma": (2,), "inflammatory": (3, 10, 11), "necrosis": (4,)}
IGNORED = (0, 7)
FEW_ROIS = {"A2": 1, "OL": 1}
FEW_LESIONS = {"Training": 3, "Validation": 1, "Test_v2": 1}


@pytest.fixture(scope="session")
def tissue(tmp_path_factory):
    root = tmp_path_factory.mktemp("tissue")
    make_tissue_demo(root)
    return root


@pytest.fixture(scope="session")
def lesions(tmp_path_factory):
    root = tmp_path_factory.mktemp("lesions")
    make_lesion_demo(root)
    return root


def read(path):
    return np.asarray(Image.open(path))


def classes(codes):
    """Class of every pixel: 4 is other, -1 is ignored."""
    result = np.full(codes.shape, 4)
    for number, members in enumerate(CLASSES.values()):
        result[np.isin(codes, members)] = number
    result[np.isin(codes, IGNORED)] = -1
    return result


def load_tissue(root, institutions):
    names = [path.name for path in sorted((root / "images").iterdir()) if path.name.split("-")[1] in institutions]
    return [(read(root / "images" / name), classes(read(root / "masks" / name))) for name in names]


def load_lesions(root, part):
    folder = root / f"ISIC-2017_{part}_Part1_GroundTruth"
    pairs = []
    for path in sorted((root / f"ISIC-2017_{part}_Data").glob("*.jpg")):
        pairs.append((read(path), (read(folder / f"{path.stem}_segmentation.png") > 0).astype(int)))
    return pairs


def colour_bin(image):
    red, green, blue = (image[..., channel].astype(int) // 16 for channel in range(3))
    return (red * 16 + green) * 16 + blue


def colour_likelihood(pairs, num_classes):
    """Smoothed histogram of colours of every class: all that a per-pixel classifier can know."""
    counts = np.full((num_classes, 16**3), 0.01)
    for image, target in pairs:
        for number in range(num_classes):
            counts[number] += np.bincount(colour_bin(image[target == number]), minlength=16**3)
    return counts


def dice(confusion):
    return 2 * np.diag(confusion) / (confusion.sum(0) + confusion.sum(1))


def files_of(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_tissue_has_the_official_layout_and_names(tissue):
    images = sorted(path.name for path in (tissue / "images").iterdir())
    assert images == sorted(path.name for path in (tissue / "masks").iterdir())
    assert len(images) == sum(ROIS_PER_INSTITUTION.values()) == 25
    pattern = re.compile(r"TCGA-([A-Z0-9]{2})-[A-Z0-9]{4}-DX1_xmin\d+_ymin\d+_MPP-1\.0000\.png")
    matches = [pattern.fullmatch(name) for name in images]
    assert all(matches)
    assert {match[1] for match in matches} == set(ROIS_PER_INSTITUTION)
    assert len({name[:12] for name in images}) == len(images)


def test_tissue_masks_are_grey_bytes_of_the_image_size(tissue):
    for path in (tissue / "masks").iterdir():
        image, mask = Image.open(tissue / "images" / path.name), Image.open(path)
        assert (image.mode, mask.mode) == ("RGB", "L")
        assert image.size == mask.size
        assert 320 <= min(mask.size) <= max(mask.size) <= 448


def test_tissue_meta_files_are_the_official_tables(tissue):
    with (tissue / "meta" / "gtruth_codes.tsv").open(newline="") as file:
        codes = list(csv.DictReader(file, delimiter="\t"))
    assert [int(row["GT_code"]) for row in codes] == list(range(22))
    assert (codes[0]["label"], codes[20]["label"]) == ("outside_roi", "dcis")
    with (tissue / "meta" / "roiBounds.csv").open(newline="") as file:
        bounds = {row[""]: row for row in csv.DictReader(file)}
    for path in (tissue / "masks").iterdir():
        row = bounds[path.name.split("_")[0]]
        width, height = Image.open(path).size
        assert f"_xmin{row['xmin']}_ymin{row['ymin']}_" in path.name
        # Base magnification is 0.25 µm per pixel, the demo 1 µm.
        assert int(row["xmax"]) - int(row["xmin"]) == 4 * width
        assert int(row["ymax"]) - int(row["ymin"]) == 4 * height
        assert row["mask_link"] == ""


def test_tissue_exercises_the_grouping_of_codes(tissue):
    codes = set()
    for path in (tissue / "masks").iterdir():
        codes |= set(np.unique(read(path)).tolist())
    assert codes == {0, 1, 2, 3, 4, 6, 7, 9, 10, 11, 13, 18, 19, 20}


def test_every_institution_has_every_class(tissue):
    for institution in ROIS_PER_INSTITUTION:
        targets = [target for _, target in load_tissue(tissue, (institution,))]
        shares = np.bincount(np.concatenate([target[target >= 0] for target in targets]), minlength=5)
        assert (shares / shares.sum()).min() > 0.02, institution


def test_no_class_is_rare_in_the_test_institutions(tissue):
    labelled = np.concatenate([target[target >= 0] for _, target in load_tissue(tissue, TEST)])
    assert (np.bincount(labelled, minlength=5) / len(labelled)).min() > 0.04


def test_outside_the_annotated_polygon_there_still_is_tissue(tissue):
    for path in (tissue / "masks").iterdir():
        outside = read(path) == 0
        assert 0.02 < outside.mean() < 0.35
        assert read(tissue / "images" / path.name)[outside].std() > 10


@pytest.mark.parametrize("balanced", [False, True])
def test_colour_alone_does_not_tell_the_tissues_apart(tissue, balanced):
    likelihood = colour_likelihood(load_tissue(tissue, TRAIN), 5)
    if balanced:
        likelihood /= likelihood.sum(axis=1, keepdims=True)
    confusion = np.zeros((5, 5))
    for image, target in load_tissue(tissue, TEST):
        predicted = likelihood.argmax(axis=0)[colour_bin(image)]
        labelled = target >= 0
        np.add.at(confusion, (target[labelled], predicted[labelled]), 1)
    assert dice(confusion).mean() < 0.55


def test_institutions_differ_in_stain(tissue):
    mean = {name: load_tissue(tissue, (name,))[0][0].mean(axis=(0, 1)) for name in TRAIN}
    distances = [np.abs(mean[one] - mean[two]).max() for one, two in itertools.combinations(TRAIN, 2)]
    assert min(distances) > 3


def test_lesions_have_the_official_layout_and_names(lesions):
    for part, count in (("Training", 60), ("Validation", 16), ("Test_v2", 24)):
        images = lesions / f"ISIC-2017_{part}_Data"
        masks = lesions / f"ISIC-2017_{part}_Part1_GroundTruth"
        names = sorted(path.stem for path in images.glob("*.jpg"))
        assert len(names) == count
        assert all(re.fullmatch(r"ISIC_\d{7}", name) for name in names)
        assert sorted(path.name for path in masks.iterdir()) == [f"{name}_segmentation.png" for name in names]
        assert len(list(images.glob("ISIC_*_superpixels.png"))) == 2


def test_lesion_masks_are_binary_at_the_image_size(lesions):
    sizes = set()
    for path in lesions.rglob("*_segmentation.png"):
        mask = Image.open(path)
        folder = path.parent.parent / path.parent.name.replace("_Part1_GroundTruth", "_Data")
        assert mask.mode == "L"
        assert mask.size == Image.open(folder / path.name.replace("_segmentation.png", ".jpg")).size
        assert np.unique(np.asarray(mask)).tolist() == [0, 255]
        assert 0.01 < (np.asarray(mask) > 0).mean() < 0.8
        sizes.add(mask.size)
    assert len(sizes) > 20


@pytest.mark.parametrize("balanced", [False, True])
def test_colour_alone_does_not_find_a_lesion(lesions, balanced):
    likelihood = colour_likelihood(load_lesions(lesions, "Training"), 2)
    if balanced:
        likelihood /= likelihood.sum(axis=1, keepdims=True)
    scores = []
    for image, target in load_lesions(lesions, "Test_v2"):
        predicted = likelihood.argmax(axis=0)[colour_bin(image)]
        scores.append(2 * (predicted & target).sum() / (predicted.sum() + target.sum()))
    assert np.mean(scores) < 0.75


def test_brightness_alone_does_not_find_a_lesion(lesions):
    scores = []
    for image, target in load_lesions(lesions, "Test_v2"):
        grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 2)
        threshold, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        predicted = grey < threshold
        scores.append(2 * (predicted & (target > 0)).sum() / (predicted.sum() + target.sum()))
    assert np.mean(scores) < 0.75


@pytest.mark.parametrize(
    ("make", "few"),
    [
        (lambda root, seed: make_tissue_demo(root, seed=seed, rois_per_institution=FEW_ROIS), 6),
        (lambda root, seed: make_lesion_demo(root, seed=seed, images_per_part=FEW_LESIONS), 14),
    ],
    ids=["tissue", "lesions"],
)
def test_the_same_seed_makes_the_same_bytes(tmp_path, make, few):
    roots = [tmp_path / name for name in ("one", "again", "other")]
    for root, seed in zip(roots, (3, 3, 4), strict=True):
        root.mkdir()
        make(root, seed)
    one, again, other = (files_of(root) for root in roots)
    assert len(one) == few
    assert one == again
    assert one != other
