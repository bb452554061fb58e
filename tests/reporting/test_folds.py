"""Folds of one model and seed are one evaluation; a set that is not complete is never compared."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from tests.reporting.folders import FakeRun, write_run
from unet_exp.reporting.build import build_report
from unet_exp.reporting.cross_validation import cross_validation_hash, fold_problem
from unet_exp.reporting.runs import find_run_folders, read_runs
from unet_exp.reporting.sections import make_sections
from unet_exp.reporting.views import make_views
from unet_exp.statistics.paired import compare

FOLDS, SEEDS = 5, 3
LESION = {"classes": ("lesion",), "target": "unet_exp.data.isic.ISIC"}


def write_study(folder, models=None, *, seeds=SEEDS, skip=(), **changes):
    """Every fold and seed of each model but those to skip; gives the folders by model, seed and fold."""
    found = {}
    for model, quality in (models or {"unet": 0.80, "resunet": 0.88}).items():
        for seed in range(seeds):
            for fold in range(FOLDS):
                if (model, seed, fold) not in skip:
                    fake = FakeRun(model, seed, quality, images=23, fold=fold, **changes)
                    found[model, seed, fold] = write_run(folder / "runs", fake)
    return found


def sections_of(folder, settings):
    inventory = read_runs(find_run_folders([str(folder / "runs")]))
    return make_sections(inventory, settings), inventory


def rows_of(folders, model, seed):
    """The rows of per_image.csv of all folds."""
    rows = []
    for fold in range(FOLDS):
        with (folders[model, seed, fold] / "per_image.csv").open(newline="") as file:
            rows += list(csv.DictReader(file))
    return rows


def dice(rows, name):
    hits, wrong = (
        sum(int(row[f"{kind}_{name}"]) for row in rows for kind in kinds) for kinds in (["tp"], ["fp", "fn"])
    )
    return 2 * hits / (2 * hits + wrong)


def entry_of(section, name):
    return next(entry for entry in section.entries if entry.name == name)


def test_all_folds_of_a_seed_are_one_evaluation_of_every_case(tmp_path, settings):
    write_study(tmp_path)
    (section,), inventory = sections_of(tmp_path, settings)
    assert section.heading == "bcss, 5-fold cross-validation"
    assert [entry.name for entry in section.entries] == ["resunet", "unet"]
    for entry in section.entries:
        assert entry.repeats == "5 folds × 3 seeds"
        assert [list(counts.ids) for counts in entry.counts] == [[f"case-all-{n:03d}" for n in range(23)]] * SEEDS
        assert [(run.seed, run.fold) for run, _ in entry.scored_runs] == [(s, f) for s in range(3) for f in range(5)]
    assert inventory.left_out == []


def test_the_score_is_that_of_the_counts_of_all_cases_added_up(tmp_path, settings):
    """Tissue, computed a second time from the rows of all folds: not the mean of the folds' scores."""
    folders = write_study(tmp_path)
    (section,), _ = sections_of(tmp_path, settings)
    classes = section.place.classes
    for standing in section.result.standings:
        name = standing.entry.name
        pooled = [np.mean([dice(rows_of(folders, name, seed), c) for c in classes]) for seed in range(SEEDS)]
        assert standing.value == pytest.approx(np.mean(pooled), abs=1e-12)
        assert standing.sd == pytest.approx(np.std(pooled, ddof=1), abs=1e-12)
        assert [e.number("dice") for e in standing.entry.evaluations] == pytest.approx(pooled, abs=1e-12)
        per_fold = [json.loads((folders[name, 0, f] / "metrics.json").read_text())["val"]["dice"] for f in range(FOLDS)]
        assert abs(np.mean(per_fold) - pooled[0]) > 1e-5  # so that the test can tell


def test_a_mean_over_images_is_over_the_images_of_all_folds(tmp_path, settings):
    """Folds are not of one size (23 images in 5), so the mean of the folds' means would be another number."""
    folders = write_study(tmp_path, **LESION)
    (section,), _ = sections_of(tmp_path, settings)
    entry = entry_of(section, "unet")
    for seed in range(SEEDS):
        values = [float(row["dice"]) for row in rows_of(folders, "unet", seed)]
        assert len(values) == 23
        assert entry.evaluations[seed].number("dice") == pytest.approx(np.mean(values), abs=1e-12)
    assert section.result.pairs[0].comparison.statistic == "image_dice"


def test_the_comparison_is_paired_over_all_cases_and_seeds(tmp_path, settings):
    write_study(tmp_path)
    (section,), _ = sections_of(tmp_path, settings)
    (pair,) = section.result.pairs
    expected = compare(
        entry_of(section, "resunet").counts, entry_of(section, "unet").counts, "global_dice", draws=settings.draws
    )
    assert pair.comparison == expected
    assert pair.comparison.seeds == (SEEDS, SEEDS)
    assert pair.comparison.interval.clusters == 10  # patients, of whom each has images in one fold only
    assert pair.verdict.answer == "better"


def test_costs_are_those_of_one_training_and_failures_are_added_up(tmp_path, settings):
    folders = write_study(tmp_path, seeds=1)
    for fold in range(FOLDS):
        file = folders["unet", 0, fold] / "metrics.json"
        metrics = json.loads(file.read_text())
        metrics["train_seconds"] = 100.0 * (fold + 1)
        metrics["val"]["missed"]["tumor"] = fold
        file.write_text(json.dumps(metrics))
    (section,), _ = sections_of(tmp_path, settings)
    entry = entry_of(section, "unet")
    assert entry.mean("train_seconds") == 300.0
    assert entry.mean("gmacs") == 5.0
    assert entry.evaluations[0].scores["missed"]["tumor"] == 0 + 1 + 2 + 3 + 4
    assert entry.evaluations[0].scores["missed"]["stroma"] == FOLDS
    confusion = sum(np.array(e.scores["confusion"]) for _, e in entry.scored_runs)
    (view,) = make_views([section], settings, {})
    assert np.array_equal(view.confusions["unet"].counts, confusion)


def test_calibration_is_that_of_all_pixels(tmp_path, settings):
    """By hand: bins that err in opposite directions cancel, which a mean of the folds' errors would not."""
    folders = write_study(tmp_path, {"unet": 0.8}, seeds=1)
    for fold in range(FOLDS):
        file = folders["unet", 0, fold] / "metrics.json"
        metrics = json.loads(file.read_text())
        one = {"low": 0.5, "high": 0.6, "count": 100 * (fold + 1), "confidence": 0.55, "accuracy": 0.5 + 0.02 * fold}
        metrics["val"]["calibration"] = {"ece": 9.0, "brier": 0.1 * fold, "bins": [one]}
        file.write_text(json.dumps(metrics))
    (section,), _ = sections_of(tmp_path, settings)
    (view,) = make_views([section], settings, {})
    pixels = np.arange(1, 6) * 100
    accuracy = np.average(0.5 + 0.02 * np.arange(5), weights=pixels)
    assert view.calibration == [
        ("unet", pytest.approx(abs(0.55 - accuracy)), pytest.approx(np.average(0.1 * np.arange(5), weights=pixels)))
    ]


def test_a_seed_without_all_folds_is_left_out_and_the_page_says_so(tmp_path, settings):
    write_study(tmp_path, skip={("unet", 2, 3)})
    (section,), inventory = sections_of(tmp_path, settings)
    entry = entry_of(section, "unet")
    assert entry.model.seeds == [0, 1]
    assert section.result.pairs[0].comparison.seeds == (3, 2)
    assert [(item.reason, item.damaged) for item in inventory.left_out] == [
        ("fold 3 of 5 missing, so its seed is not pooled", False)
    ] * 4
    (view,) = make_views([section], settings, {})
    assert "Seed 2 of unet is left out: fold 3 of 5 missing." in view.warnings
    assert view.repeats == "5 folds × 3 seeds or 5 folds × 2 seeds"


def test_models_that_lack_the_same_fold_are_shown_and_not_compared(tmp_path, settings):
    write_study(tmp_path, seeds=1, skip={("unet", 0, 3), ("resunet", 0, 3)})
    (section,), inventory = sections_of(tmp_path, settings)
    assert section.result.pairs == []
    assert [standing.remark for standing in section.result.standings] == [
        "no complete cross-validation (seed 0: fold 3 of 5 missing)"
    ] * 2
    assert all(standing.interval is None and standing.value > 0.7 for standing in section.result.standings)
    assert inventory.left_out == []
    (view,) = make_views([section], settings, {})
    assert "unet is not compared: no complete cross-validation (seed 0: fold 3 of 5 missing)." in view.warnings


def test_an_unfinished_fold_is_a_missing_one(tmp_path, settings):
    write_study(tmp_path, skip={("unet", 0, 4)}, seeds=1)
    write_run(tmp_path / "runs", FakeRun("unet", 0, images=23, fold=4, state="running"))
    (section,), inventory = sections_of(tmp_path, settings)
    assert section.result.pairs == []
    assert "fold 4 of 5 missing" in section.result.standings[-1].remark
    assert inventory.left_out[0].reason == "not finished (running)"


def test_folds_of_another_division_are_another_section(tmp_path, settings):
    """Seed 1 of the split, and three folds instead of five: neither completes the first, and nothing is paired."""
    write_study(tmp_path, {"unet": 0.8}, seeds=1)
    for fold in range(FOLDS):
        write_run(tmp_path / "runs", FakeRun("resunet", quality=0.9, images=23, fold=fold, split_seed=1))
    for fold in range(3):
        write_run(tmp_path / "runs", FakeRun("resunet", quality=0.9, images=23, fold=fold, folds=3))
    sections, _ = sections_of(tmp_path, settings)
    found = sorted((section.place.folds, section.entries[0].name.split()[0]) for section in sections)
    assert found == [(3, "resunet"), (5, "resunet"), (5, "unet")]
    assert not any(section.result.pairs for section in sections)
    views = make_views(sections, settings, {})
    assert all("Other runs were trained on other splits" in view.warnings[0] for view in views)


def test_a_fold_of_other_files_does_not_complete_the_others(tmp_path, settings):
    folders = write_study(tmp_path, {"unet": 0.8}, seeds=1)
    file = folders["unet", 0, 2] / "split.json"
    split = json.loads(file.read_text())
    split["train"].remove("case-all-000")
    file.write_text(json.dumps(split))
    sections, _ = sections_of(tmp_path, settings)
    remarks = sorted(section.result.standings[0].remark for section in sections)
    assert remarks == [
        "no complete cross-validation (seed 0: fold 2 of 5 missing)",
        "no complete cross-validation (seed 0: folds 0, 1, 3, 4 of 5 missing)",
    ]


def move(file, name, *, source, target):
    split = json.loads(file.read_text())
    split[source].remove(name)
    split[target].append(name)
    file.write_text(json.dumps(split))


@pytest.mark.parametrize(
    ("fold", "source", "target", "problem"),
    [
        (0, "train", "val", "case-all-001 held out by more than one fold"),
        (1, "val", "train", "case-all-001 held out by no fold"),
    ],
)
def test_folds_that_are_not_of_one_division_are_told(tmp_path, settings, fold, source, target, problem):
    folders = write_study(tmp_path, {"unet": 0.8}, seeds=1)
    move(folders["unet", 0, fold] / "split.json", "case-all-001", source=source, target=target)
    (section,), _ = sections_of(tmp_path, settings)
    assert problem in section.result.standings[0].remark


def test_a_fold_scored_on_other_cases_is_told(tmp_path, settings):
    folders = write_study(tmp_path, {"unet": 0.8}, seeds=1)
    file = folders["unet", 0, 1] / "per_image.csv"
    file.write_text(file.read_text().replace("case-all-001", "case-all-002"))
    (section,), _ = sections_of(tmp_path, settings)
    assert "fold 1 was scored on other cases than it held out" in section.result.standings[0].remark


def test_a_copy_of_a_fold_counts_once(tmp_path, settings):
    folders = write_study(tmp_path, {"unet": 0.8}, seeds=1)
    copied = folders["unet", 0, 1]
    shutil.copytree(copied, copied.with_name(f"{copied.name}-2"))
    (section,), inventory = sections_of(tmp_path, settings)
    assert section.result.standings[0].remark == ""
    assert len(inventory.left_out) == 1


def test_the_same_fold_of_two_divisions_is_told(tmp_path, settings):
    folders = write_study(tmp_path, {"unet": 0.8}, seeds=1)
    again = folders["unet", 0, 1]
    other = shutil.copytree(again, again.with_name(f"{again.name}-2")) / "split.json"
    other.write_text(json.dumps({**json.loads(other.read_text()), "hash": "another"}))
    _, inventory = sections_of(tmp_path, settings)
    assert fold_problem([(run, run.evaluations[0]) for run in inventory.runs]) == "fold 1 comes more than once"


def test_folds_without_counts_are_shown_and_not_compared(tmp_path, settings):
    write_study(tmp_path, {"unet": 0.8}, seeds=1)
    write_study(tmp_path, {"resunet": 0.9}, seeds=1, counts=False)
    (section,), _ = sections_of(tmp_path, settings)
    assert section.result.pairs == []
    assert "no pixel counts" in next(s.remark for s in section.result.standings if s.entry.name == "resunet")


def test_the_hash_of_a_division_is_the_same_for_its_folds_alone(tmp_path, settings):
    write_study(tmp_path, {"unet": 0.8}, seeds=1)
    write_run(tmp_path / "runs", FakeRun("unet", images=23, fold=0, split_seed=1))
    _, inventory = sections_of(tmp_path, settings)
    hashes = {(run.split_settings["seed"], cross_validation_hash(run)) for run in inventory.runs}
    assert len(hashes) == 2


def test_other_parts_of_folds_are_not_pooled(tmp_path, settings):
    """Of its training images every network has seen most: a section for each fold, as for any split."""
    for fold in range(2):
        fake = FakeRun("unet", images=23, fold=fold)
        object.__setattr__(fake, "parts", ("val", "train"))
        write_run(tmp_path / "runs", fake)
    sections, _ = sections_of(tmp_path, replace(settings, part="train"))
    assert [section.place.folds for section in sections] == [0, 0]


def test_the_pictures_are_the_best_the_nearest_to_the_median_and_the_worst_of_all_folds(tmp_path, settings):
    folders = write_study(tmp_path, {"unet": 0.8}, seeds=1)
    (section,), _ = sections_of(tmp_path, settings)
    (view,) = make_views([section], settings, {})
    tables = [json.loads((folders["unet", 0, fold] / "cases" / "cases.json").read_text()) for fold in range(FOLDS)]
    drawn = [entry for table in tables for entry in table]
    median = np.median([float(row["dice"]) for row in rows_of(folders, "unet", 0)])
    best, middle, worst = view.cases["unet"]
    assert (best.label, middle.label, worst.label) == ("best", "median", "worst")
    assert best.dice == max(entry["dice"] for entry in drawn)
    assert worst.dice == min(entry["dice"] for entry in drawn)
    assert abs(middle.dice - median) == min(abs(entry["dice"] - median) for entry in drawn)
    assert set(best.pictures) == {"image", "truth", "prediction", "error"}


def test_page_and_tables_say_how_many_folds_and_seeds(tmp_path, settings):
    write_study(tmp_path, skip={("unet", 2, 3)})
    page = build_report(replace(settings, runs=str(tmp_path / "runs"), output=str(tmp_path / "report")))
    text = page.read_text(encoding="utf-8")
    assert "5 folds × 3 seeds" in text
    assert "5 folds by patient, seed 0" in text
    assert "fold 3 of 5 missing" in text
    assert "5 folds × 3 seeds" in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    with (tmp_path / "report" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15 + 10
    assert {(row["seed"], row["fold"]) for row in rows if row["model"] == "resunet"} == {
        (str(seed), str(fold)) for seed in range(SEEDS) for fold in range(FOLDS)
    }
    assert not any(column.endswith("split.fold") for column in rows[0])
