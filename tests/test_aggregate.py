"""Intervals, counts of failures and conventions of a part; the table of images."""

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy import stats

from unet_exp.aggregate import boundary_statistics, cluster_column, count_failures, describe_part
from unet_exp.boundary import BoundaryRule
from unet_exp.calibration import BINS, CalibrationLayout, calibration_row
from unet_exp.data._case import Case
from unet_exp.evaluation_settings import EvaluationSettings
from unet_exp.metric import confusion_matrix, summary
from unet_exp.observation import Details
from unet_exp.per_image import case_rows, write_table
from unet_exp.statistics.bootstrap import bootstrap
from unet_exp.statistics.counts import CaseCounts

FEW = EvaluationSettings(draws=200)


def source(scored=(1,), names=("background", "lesion"), headline="per_image"):
    return SimpleNamespace(
        class_names=list(names), scored_classes=list(scored), headline=headline, classes=dict.fromkeys(names)
    )


def cases(count, patients=None):
    patients = patients or [f"p{i}" for i in range(count)]
    return [
        Case(id=f"c{i}", image=Path("x"), mask=Path("y"), patient=patients[i], institution="", part="test")
        for i in range(count)
    ]


def matrices(count=12, classes=2, seed=0):
    return torch.randint(1, 400, (count, classes, classes), generator=torch.Generator().manual_seed(seed))


def matrix(prediction, truth):
    return confusion_matrix(torch.tensor(prediction), torch.tensor(truth), num_classes=2, ignore_index=255)


@pytest.mark.parametrize(
    ("headline", "scored", "classes"), [("per_image", (1,), 2), ("global", (0, 1, 2), 3)], ids=["isic", "bcss"]
)
def test_every_score_of_the_summary_has_an_interval_around_it(headline, scored, classes):
    names = tuple("abc"[:classes])
    data, found = source(scored, names, headline), matrices(classes=classes) + 500 * torch.eye(classes).long()
    described = describe_part(cases(12), found, None, data, FEW)
    scores = summary(found, class_names=names, foreground=scored, headline=headline)
    counted = {name for name in scores if name.endswith("absent")} | {"images"}
    assert scores.keys() - counted <= described["intervals"].keys()
    for name in scores.keys() - counted:
        low, high = described["intervals"][name]
        assert low < scores[name] < high
    assert described["confusion"] == found.sum(0).tolist()


def test_intervals_are_those_of_the_stored_table():
    """A report computes them again from per_image.csv."""
    data, found, who = source(), matrices(), cases(12, [f"p{i // 2}" for i in range(12)])
    described = describe_part(who, found, None, data, FEW)
    rows = case_rows("test", who, found, data)
    counts = CaseCounts.from_rows(rows, data.class_names, data.scored_classes, cluster="patient")
    again = bootstrap(counts, ["image_dice", "global_iou_lesion"], draws=200)
    for name, interval in again.items():
        assert described["intervals"][name] == pytest.approx([interval.low, interval.high], abs=1e-12)
    assert described["bootstrap"]["clusters"] == 6
    assert described["bootstrap"]["cluster_by"] == "patient"


def test_patients_with_several_images_are_drawn_as_a_whole():
    several, single = cases(4, ["p", "p", "q", "q"]), cases(4)
    assert cluster_column(several, "auto") == "patient"
    assert cluster_column(single, "auto") == "image"
    assert cluster_column(several, "image") == "image"
    assert cluster_column(single, "institution") == "institution"


def test_failures_are_counted_by_kind():
    found = torch.stack(
        [
            matrix([0, 0], [0, 0]),  # absent
            matrix([0, 0], [0, 1]),  # missed
            matrix([0, 0], [1, 1]),  # missed
            matrix([1, 0], [0, 0]),  # false alarm
            matrix([1, 1], [0, 1]),  # found
            matrix([1, 1], [255, 255]),  # without labels: none of these
        ]
    )
    expected = {"absent": {"lesion": 1}, "missed": {"lesion": 2}, "false_alarm": {"lesion": 1}}
    assert count_failures(found, source()) == expected


def test_boundary_means_leave_out_only_unlabelled_images():
    boundary = np.array([[2.0, 1.0], [50.0, 0.0], [np.nan, np.nan]])
    means = boundary_statistics(boundary[:, None], [""])
    assert means["image_hd95"].value() == 26
    assert means["image_surface_dice"].value() == 0.5


def isic_scorer(prediction, truth):
    """The published rules: 1 if there is nothing to find and nothing claimed; IoU below 0.65 counts as 0."""
    hits, alarms, misses = ((prediction & truth).sum(), (prediction & ~truth).sum(), (~prediction & truth).sum())
    if hits + alarms + misses == 0:
        return 1.0, 1.0, 1.0
    jaccard = hits / (hits + alarms + misses)
    return 2 * hits / (2 * hits + alarms + misses), jaccard, jaccard if jaccard >= 0.65 else 0.0


def test_rows_agree_with_the_rules_of_the_isic_scorer():
    generator = np.random.default_rng(0)
    truth = generator.random((30, 20, 20)) < 0.5
    prediction = truth ^ (generator.random(truth.shape) < generator.uniform(0, 0.4, (30, 1, 1)))
    truth[:3], prediction[1:4] = False, False  # both empty; nothing to find; missed
    prediction[0] = False
    found = torch.stack([matrix(p.astype(int), t.astype(int)) for p, t in zip(prediction, truth, strict=True)])
    rows = case_rows("test", cases(30), found, source())
    for row, p, t in zip(rows, prediction, truth, strict=True):
        assert (row["dice"], row["iou"], row["jaccard_065"]) == pytest.approx(isic_scorer(p, t), abs=1e-12)
    thresholded = [row["jaccard_065"] for row in rows]
    assert 0 < sum(value == 0 for value in thresholded) < 30
    scores = summary(found, class_names=["background", "lesion"], foreground=[1], headline="per_image")
    assert scores["image_thresholded_iou"] == pytest.approx(np.mean(thresholded), abs=1e-12)


def test_counts_give_the_scores_of_a_class():
    rows = case_rows("val", cases(12), matrices(), source(), torch.tensor([[[3.0, 0.5]]] * 12))
    for row in rows:
        hits, alarms, misses = (row[f"{kind}_lesion"] for kind in ("tp", "fp", "fn"))
        assert row["precision_lesion"] == hits / (hits + alarms)
        assert row["recall_lesion"] == hits / (hits + misses)
        assert row["dice_lesion"] == pytest.approx(2 * hits / (2 * hits + alarms + misses))
        assert (row["hd95"], row["surface_dice"]) == (3, 0.5)


def test_an_absent_class_has_no_precision_recall_or_dice():
    (row,) = case_rows("val", cases(1), matrix([0, 0], [0, 0])[None], source())
    assert [row[f"{name}_lesion"] for name in ("precision", "recall", "dice", "iou")] == [None] * 4
    assert (row["dice"], row["tp_lesion"]) == (1, 0)


def test_csv_and_parquet_hold_the_same_table(tmp_path):
    found = torch.cat([matrices(3), torch.zeros(1, 2, 2, dtype=torch.int64)])
    boundary = torch.full((4, 1, 2), torch.nan)  # a column without a single number
    write_table(tmp_path, case_rows("test", cases(4), found, source(), boundary))
    table = pq.read_table(tmp_path / "per_image.parquet")
    with (tmp_path / "per_image.csv").open(newline="") as file:
        text = list(csv.DictReader(file))
    assert table.to_pylist()[3]["dice"] is None
    assert [{k: "" if v is None else str(v) for k, v in row.items()} for row in table.to_pylist()] == text
    types = {name: str(table.schema.field(name).type) for name in ("image", "tp_lesion", "dice", "hd95")}
    assert types == {"image": "string", "tp_lesion": "int64", "dice": "double", "hd95": "double"}


def measured(count=30):
    """Calibration and boundaries of images of different difficulty, and their pixels."""
    generator = torch.Generator().manual_seed(3)
    pixels, rows = [], []
    for i in range(count):
        logits = 2 * torch.randn(1, 12, 12, generator=generator)
        target = (torch.rand(12, 12, generator=generator) < (logits[0] * (i % 7) / 6).sigmoid()).long()
        rows.append(calibration_row(logits, target, ignore_index=255))
        pixels.append((logits[0].double().sigmoid().numpy().ravel(), target.numpy().ravel()))
    boundary = torch.from_numpy(np.random.default_rng(0).gamma(2, 3, (count, 1, 2)))
    return Details(CalibrationLayout(1), torch.stack(rows), boundary, BoundaryRule((1,), 2.0, "px")), pixels


def expected_calibration_error(probability, target):
    """From the definition, over pixels."""
    confidence, right = np.maximum(probability, 1 - probability), (probability > 0.5) == target
    bins = np.ceil(confidence * BINS)
    return sum(abs(confidence[bins == b].sum() - right[bins == b].sum()) for b in np.unique(bins)) / len(target)


SCORERS = {
    "ece": expected_calibration_error,
    "brier": lambda probability, target: np.mean((probability - target) ** 2),
}


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("name", ["ece", "brier"])
def test_intervals_of_calibration_agree_with_scipy(name, method):
    """Images are drawn, and all pixels of the drawn ones are looked at again."""
    details, pixels = measured()

    def score(picks):
        return SCORERS[name](*(np.concatenate([pixels[i][part] for i in picks]) for part in (0, 1)))

    expected = stats.bootstrap(
        (np.arange(30),),
        score,
        n_resamples=4000,
        method=method,
        vectorized=False,
        random_state=np.random.default_rng(0),
    )
    settings = EvaluationSettings(draws=20_000, method=method)
    described = describe_part(cases(30), matrices(30), details, source(), settings)
    assert described["calibration"][name] == pytest.approx(score(np.arange(30)), abs=1e-12)
    tolerance = 0.12 * expected.standard_error  # of the ends, from 4,000 draws
    assert described["intervals"][name] == pytest.approx(list(expected.confidence_interval), abs=tolerance)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_intervals_of_distances_agree_with_scipy(method):
    details, _ = measured()
    values = details.boundary[:, 0, 0].numpy()
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=40_000, method=method, random_state=np.random.default_rng(0)
    )
    settings = EvaluationSettings(draws=40_000, method=method)
    described = describe_part(cases(30), matrices(30), details, source(), settings)
    assert described["image_hd95"] == pytest.approx(values.mean())
    ends = list(expected.confidence_interval)
    assert described["intervals"]["image_hd95"] == pytest.approx(ends, abs=0.05 * expected.standard_error)


def test_all_numbers_are_resampled_by_the_same_clusters():
    """Two patients: the mean of either alone, or of all, is all that a draw can give."""
    details, _ = measured(6)
    patients = ["p", "p", "p", "p", "q", "q"]
    described = describe_part(cases(6, patients), matrices(6), details, source(), FEW)
    values = details.boundary[:, 0, 0].numpy()
    ends = sorted([values[:4].mean(), values[4:].mean()])
    assert described["intervals"]["image_hd95"] == pytest.approx(ends)
    brier = sorted(
        describe_part(cases(n), matrices(n), Details(details.layout, rows), source(), FEW)["calibration"]["brier"]
        for n, rows in ((4, details.calibration[:4]), (2, details.calibration[4:]))
    )
    assert described["intervals"]["brier"] == pytest.approx(brier)


def test_every_score_at_a_threshold_has_an_interval_around_it():
    details, _ = measured()
    described = describe_part(cases(30), matrices(30), details, source(), FEW)
    for row, ends in zip(described["thresholds"], described["threshold_intervals"], strict=True):
        assert row.keys() == ends.keys()
        for name in row.keys() - {"threshold"}:
            assert ends[name][0] < row[name] < ends[name][1]
    assert not [name for name in described["intervals"] if "threshold" in name and name != "image_thresholded_iou"]


def test_several_structures_are_named_by_their_class():
    three = source((1, 2), ("background", "liver", "lesion"))
    boundary = torch.tensor([[[1.0, 0.9], [4.0, 0.5]], [[3.0, 0.7], [torch.nan, torch.nan]]], dtype=torch.float64)
    found = matrices(2, 3)
    rows = case_rows("test", cases(2), found, three, boundary)
    assert [(row["hd95_liver"], row["surface_dice_lesion"]) for row in rows] == [(1.0, 0.5), (3.0, None)]
    layout = CalibrationLayout(3)
    details = Details(layout, torch.ones(2, layout.width, dtype=torch.float64), boundary)
    described = describe_part(cases(2), found, details, three, FEW)
    assert (described["image_hd95_liver"], described["image_hd95_lesion"]) == (2.0, 4.0)
    assert described["intervals"]["image_hd95_liver"] == [1.0, 3.0]
