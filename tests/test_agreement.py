"""Our table of images against other scorers: the published rules of the ISIC challenge, and MONAI's metrics."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.runs import run, tiny
from tests.test_aggregate import cases, source
from unet_exp import evaluate
from unet_exp.build import build_datamodule, build_task
from unet_exp.distance import boundary_scores
from unet_exp.errors import DataError
from unet_exp.evaluation import load_weights
from unet_exp.metric import confusion_matrix, summary
from unet_exp.per_image import case_rows, write_table

SIZE = (12, 16)
NAN = float("nan")


def mask(*boxes):
    """Rectangles (top, bottom, left, right) in an empty picture."""
    picture = np.zeros(SIZE, bool)
    for top, bottom, left, right in boxes:
        picture[top:bottom, left:right] = True
    return picture


SQUARE, SHIFTED, WHOLE = (2, 8, 2, 8), (2, 8, 4, 10), (0, 12, 0, 16)
CORNERS = {  # prediction, truth
    "both empty": (mask(), mask()),
    "missed": (mask(), mask(SQUARE)),
    "false alarm": (mask(SQUARE), mask()),
    "perfect": (mask(SQUARE), mask(SQUARE)),
    "shifted": (mask(SHIFTED), mask(SQUARE)),
    "disjoint": (mask((0, 2, 0, 2)), mask((9, 12, 9, 16))),
    "iou of exactly 0.65": (mask((0, 1, 0, 13)), mask((0, 1, 0, 13), (1, 2, 0, 7))),
    "iou just below 0.65": (mask((0, 1, 0, 9)), mask((0, 1, 0, 14))),
    "whole picture": (mask(WHOLE), mask(WHOLE)),
    "one pixel": (mask((3, 4, 3, 4)), mask((3, 4, 3, 4))),
    "at the border": (mask((0, 6, 0, 6)), mask((0, 7, 0, 6))),
}


def random_pairs(count=40):
    generator = np.random.default_rng(0)
    truth = generator.random((count, *SIZE)) < generator.uniform(0, 1, (count, 1, 1))
    errors = generator.random(truth.shape) < generator.uniform(0, 0.4, (count, 1, 1))
    return list(zip(truth ^ errors, truth, strict=True))


PAIRS = [*CORNERS.values(), *random_pairs()]


def matrices(pairs):
    tensors = [[torch.from_numpy(one.astype(np.uint8)) for one in pair] for pair in pairs]
    return torch.stack([confusion_matrix(*pair, num_classes=2, ignore_index=255) for pair in tensors])


def table(pairs, folder):
    """per_image.csv as it is read again."""
    write_table(folder, case_rows("test", cases(len(pairs)), matrices(pairs), source()))
    return list(csv.DictReader((folder / "per_image.csv").open()))


# The ISIC challenge


class WrongSizeError(Exception):
    pass


def isic_scores(prediction_file, truth_file):
    """The rules of github.com/ImageMarkup/isic-challenge-scoring, written anew from their description."""
    prediction, truth = (np.asarray(Image.open(file).convert("L")) for file in (prediction_file, truth_file))
    if prediction.shape != truth.shape:
        raise WrongSizeError
    found, present = prediction > 128, truth > 128
    tp, fp = int((found & present).sum()), int((found & ~present).sum())
    fn, tn = int((~found & present).sum()), int((~found & ~present).sum())
    wrong = fp + fn
    jaccard = 1.0 if tp + wrong == 0 else tp / (tp + wrong)
    return {
        "iou": jaccard,
        "dice": 1.0 if tp + wrong == 0 else 2 * tp / (2 * tp + wrong),
        "jaccard_065": jaccard if jaccard >= 0.65 else 0.0,
        "accuracy": (tp + tn) / (tp + tn + wrong),
        "recall_lesion": tp / (tp + fn) if tp + fn else None,  # the challenge gives 1 there, we leave it out
    }


def save(picture, file):
    Image.fromarray(np.where(picture, 255, 0).astype(np.uint8)).save(file)
    return file


@pytest.mark.parametrize("number", range(len(PAIRS)), ids=[*CORNERS, *(f"random {i}" for i in range(40))])
def test_the_isic_scorer_gives_the_same_row(number, tmp_path):
    prediction, truth = PAIRS[number]
    (row,) = table([(prediction, truth)], tmp_path)
    expected = isic_scores(save(prediction, tmp_path / "p.png"), save(truth, tmp_path / "t.png"))
    for name, value in expected.items():
        assert row[name] == "" if value is None else float(row[name]) == pytest.approx(value, abs=1e-12)


def test_the_isic_scorer_gives_the_same_means(tmp_path):
    rows = [isic_scores(save(p, tmp_path / "p.png"), save(t, tmp_path / "t.png")) for p, t in PAIRS]
    scores = summary(matrices(PAIRS), class_names=["background", "lesion"], foreground=[1], headline="per_image")
    for ours, theirs in (("dice", "dice"), ("iou", "iou"), ("accuracy", "accuracy")):
        assert scores[ours] == pytest.approx(np.mean([row[theirs] for row in rows]), abs=1e-12)
    thresholded = np.mean([row["jaccard_065"] for row in rows])
    assert scores["image_thresholded_iou"] == pytest.approx(thresholded, abs=1e-12)
    assert thresholded < scores["iou"]


@pytest.fixture(scope="module")
def isic_run(isic_root, tmp_path_factory):
    overrides = tiny(isic_root, tmp_path_factory.mktemp("outputs"), "optim.lr=0.02", data="isic2017")
    return run(overrides)


def test_the_isic_scorer_agrees_on_files_of_a_run(isic_run, isic_root, tmp_path):
    """Predictions saved as the challenge wants them, at the size of the photographs, scored against its own files."""
    datamodule = build_datamodule(isic_run.config())
    task = build_task(isic_run.config(), datamodule.source, {}).eval()
    load_weights(task, isic_run.checkpoint("best"))
    rows = {row["image"]: row for row in csv.DictReader(isic_run.per_image_file.open()) if row["part"] == "test"}
    cases_of_test = datamodule.split.cases("test")
    scored = []
    for case, sample in zip(cases_of_test, datamodule.evaluation_dataset(cases_of_test), strict=False):
        truth_file = next(isic_root.rglob(f"{case.id}_segmentation.png"))
        with torch.no_grad():
            logits = task.resize(task(sample["image"][None]), Image.open(truth_file).size[::-1])
        scored.append(isic_scores(save(task.classify(logits)[0].numpy() == 1, tmp_path / "p.png"), truth_file))
        assert all(float(rows[case.id][name]) == pytest.approx(scored[-1][name], abs=1e-9) for name in scored[-1])
    metrics = isic_run.metrics()["test"]
    assert len(scored) == len(rows) == metrics["images"] == 3
    assert metrics["dice"] == pytest.approx(np.mean([one["dice"] for one in scored]), abs=1e-9)
    assert metrics["image_thresholded_iou"] == pytest.approx(np.mean([one["jaccard_065"] for one in scored]), abs=1e-9)


def test_a_mask_of_another_size_is_an_error_for_both(isic_run, isic_root, tmp_path):
    truth_file = next(isic_root.rglob("*_segmentation.png"))
    with pytest.raises(WrongSizeError):
        isic_scores(save(mask(), tmp_path / "p.png"), truth_file)
    with pytest.raises(ValueError, match="same shape"):
        confusion_matrix(torch.zeros(3, 4).long(), torch.zeros(4, 3).long(), num_classes=2, ignore_index=255)
    datamodule = build_datamodule(isic_run.config())
    case = datamodule.split.cases("test")[0]
    wrong = type(case)(**{**vars(case), "mask": tmp_path / "p.png"})
    with pytest.raises(DataError, match="They must have the same size"):
        datamodule.source.read_full(wrong)


# MONAI


def one_hot(pictures):
    return torch.stack([torch.from_numpy(p)[None] for p in pictures]).float()


def monai_dice(pairs, **options):
    metrics = pytest.importorskip("monai.metrics")
    metric = metrics.DiceMetric(include_background=True, reduction="none", **options)
    return metric(*(one_hot(pictures) for pictures in zip(*pairs, strict=True)))[:, 0].double().numpy()


def test_monai_that_does_not_ignore_empty_pictures_gives_our_dice(tmp_path):
    ours = [float(row["dice"]) for row in table(PAIRS, tmp_path)]
    np.testing.assert_allclose(ours, monai_dice(PAIRS, ignore_empty=False), atol=1e-6)


@pytest.mark.parametrize(
    ("corner", "ours", "monai"),
    [
        pytest.param("both empty", None, NAN, id="both empty: none, none"),
        pytest.param("false alarm", 0.0, NAN, id="false alarm: 0, MONAI leaves it out"),
        pytest.param("missed", 0.0, 0.0, id="missed: 0, 0"),
        pytest.param("perfect", 1.0, 1.0, id="perfect: 1, 1"),
    ],
)
def test_monai_that_ignores_empty_pictures_differs_where_we_count_false_alarms(corner, ours, monai, tmp_path):
    """Our column `dice_<class>` has no score only where the class is in neither."""
    (row,) = table([CORNERS[corner]], tmp_path)
    assert (float(row["dice_lesion"]) if row["dice_lesion"] else None) == ours
    np.testing.assert_equal(monai_dice([CORNERS[corner]], ignore_empty=True), [monai])


def test_monai_that_ignores_empty_pictures_agrees_wherever_the_class_is_there(tmp_path):
    pairs = [pair for pair in PAIRS if pair[1].any()]
    ours = [float(row["dice_lesion"]) for row in table(pairs, tmp_path)]
    np.testing.assert_allclose(ours, monai_dice(pairs, ignore_empty=True), atol=1e-6)


def test_monai_agrees_on_the_classes_of_a_mosaic():
    """Three classes, absent ones included; our mean over the images that hold a class is MONAI's `mean_batch`."""
    metrics = pytest.importorskip("monai.metrics")
    generator = np.random.default_rng(1)
    truth = generator.integers(3, size=(8, 3, 4)).repeat(4, 1).repeat(4, 2)
    truth[:3][truth[:3] == 2] = 0
    prediction = np.where(generator.random(truth.shape) < 0.3, generator.integers(3, size=truth.shape), truth)
    prediction[0][prediction[0] == 2] = 0  # class 2 in neither; a false alarm in the next two
    pairs = [torch.from_numpy(ids) for ids in (prediction, truth)]
    found = torch.stack([confusion_matrix(p, t, num_classes=3, ignore_index=255) for p, t in zip(*pairs, strict=True)])
    scores = summary(found, class_names=["a", "b", "c"], foreground=[0, 1, 2], headline="per_image")
    hot = [torch.nn.functional.one_hot(ids, 3).movedim(-1, 1) for ids in pairs]
    metric = metrics.DiceMetric(include_background=True, reduction="none", ignore_empty=False)
    theirs = metric(*hot).double()
    theirs[0, 2] = torch.nan  # MONAI gives an absent class 1, we leave it out
    expected = theirs.nanmean(0).tolist()
    assert [scores[f"dice_{name}"] for name in "abc"] == pytest.approx(expected, abs=1e-6)
    assert scores["image_dice"] == pytest.approx(float(theirs.nanmean(1).mean()), abs=1e-6)
    assert scores["image_absent"] == 1


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy", "ignore:.*the (ground truth|prediction) of class")
@pytest.mark.parametrize("number", range(len(PAIRS)), ids=[*CORNERS, *(f"random {i}" for i in range(40))])
def test_monai_gives_the_same_distances_where_it_gives_any(number):
    metrics = pytest.importorskip("monai.metrics")
    prediction, truth = PAIRS[number]
    pair = [one_hot([picture]) for picture in (prediction, truth)]
    hd95 = float(metrics.HausdorffDistanceMetric(include_background=True, percentile=95)(*pair, spacing=0.5))
    surface = float(metrics.SurfaceDiceMetric([1.0], include_background=True)(*pair, spacing=0.5))
    ours = boundary_scores(prediction, truth, tolerance=1.0, spacing=0.5)
    if prediction.any() and truth.any():
        assert (ours.hd95, ours.surface_dice) == pytest.approx((hd95, surface), rel=1e-5)
    elif prediction.any() or truth.any():
        assert not np.isfinite(hd95)  # infinite or NaN, which a mean would drop or drown in
        assert ours == (10.0, 0.0)  # the diagonal of 12 x 16 pixels of 0.5
    else:
        assert np.isnan([hd95, surface]).all()
        assert ours == (0.0, 1.0)


# Counts of a multiclass set


def test_absent_and_missed_classes_are_counted_by_class(bcss_root, tmp_path):
    folder = run(tiny(bcss_root, tmp_path / "outputs"))
    evaluate.main([f"run={folder.path}", "split=test", f"output={tmp_path / 'out'}"])
    part = json.loads((tmp_path / "out" / "metrics.json").read_text())["test"]
    rows = list(csv.DictReader((tmp_path / "out" / "per_image.csv").open()))
    names = list(part["absent"])
    assert names == ["tumor", "stroma", "inflammatory", "necrosis", "other"]
    for name in names:
        counts = [[int(row[f"{kind}_{name}"]) for kind in ("tp", "fp", "fn")] for row in rows]
        assert part["absent"][name] == sum(one == [0, 0, 0] for one in counts)
        assert part["missed"][name] == sum(tp + fp == 0 < fn for tp, fp, fn in counts)
        assert part["false_alarm"][name] == sum(tp + fn == 0 < fp for tp, fp, fn in counts)
    assert sum(part["missed"].values()) > 0
    assert part["image_absent"] == sum(part["absent"].values())
