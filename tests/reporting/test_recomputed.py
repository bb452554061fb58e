"""The numbers of the page, computed a second time from per_image.csv in a few lines of their own."""

import csv
import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from tests.reporting.folders import FakeRun, write_run
from unet_exp.reporting.build import build_report
from unet_exp.reporting.runs import find_run_folders, read_runs
from unet_exp.reporting.sections import make_sections

SEEDS, PATIENTS = 3, 10
DRAWS = 2000
"""Enough to try all 2^10 swaps of patients, so that the permutation test is exact."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    parent = tmp_path_factory.mktemp("study") / "runs"
    lesion = {"classes": ("lesion",), "target": "unet_exp.data.isic.ISIC", "config": {"data.year": 2017}}
    for (model, quality), seed in itertools.product(
        {"unet": 0.80, "resunet": 0.81, "slow": 0.86}.items(), range(SEEDS)
    ):
        write_run(parent, FakeRun(model, seed, quality, parts=("val",), patients=PATIENTS, cases=False, **lesion))
    return parent


@pytest.fixture(scope="module")
def changed(settings):
    return replace(settings, draws=DRAWS)


@pytest.fixture(scope="module")
def pairs(folder, changed):
    (section,) = make_sections(read_runs(find_run_folders([str(folder)])), changed)
    return {(pair.first, pair.second): pair for pair in section.result.pairs}


@pytest.fixture(scope="module")
def scores(folder):
    """Mean Dice of each patient, by model, (seeds, patients); every patient has two images."""
    table = {}
    for run in sorted(folder.glob("*/per_image.csv"), key=lambda file: file.parent.name):
        with run.open(newline="") as file:
            rows = list(csv.DictReader(file))
        names = sorted({row["patient"] for row in rows})
        values = [[2 * int(r["tp_lesion"]) / (2 * int(r["tp_lesion"]) + int(r["fp_lesion"]) + int(r["fn_lesion"]))
                   for r in rows if r["patient"] == name] for name in names]  # fmt: skip
        table.setdefault(run.parent.name.split("-")[0], []).append(np.mean(values, axis=1))
    return {model: np.array(seeds) for model, seeds in table.items()}


@pytest.fixture(params=[("slow", "unet"), ("slow", "resunet"), ("resunet", "unet")], ids="-".join)
def both(request, pairs, scores):
    """The comparison as reported, and the scores (seeds, patients) of its two models."""
    a, b = request.param
    return pairs[a, b].comparison, scores[a], scores[b]


def test_the_difference_is_that_of_the_means(both):
    found, a, b = both
    assert found.difference == pytest.approx(a.mean() - b.mean(), abs=1e-12)
    assert found.seed_sd == pytest.approx([np.std(m.mean(1), ddof=1) for m in (a, b)], abs=1e-12)


def test_the_interval_is_that_of_a_plain_loop(both):
    found, a, b = both
    rng = np.random.default_rng(5)
    drawn = []
    for _ in range(6000):
        patients = rng.integers(PATIENTS, size=PATIENTS)
        means = [m[rng.integers(SEEDS, size=SEEDS - 1)][:, patients].mean() for m in (a, b)]
        drawn.append(means[0] - means[1])
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert [found.interval.low, found.interval.high] == pytest.approx([low, high], abs=0.06 * (high - low))


def test_wilcoxon_is_scipys_on_the_patients(both):
    found, a, b = both
    assert found.wilcoxon_p == pytest.approx(stats.wilcoxon(a.mean(0), b.mean(0)).pvalue, abs=1e-12)


def test_the_permutation_test_tries_every_swap(both):
    found, a, b = both
    differences = a.mean(0) - b.mean(0)
    signs = np.array(list(itertools.product([-1, 1], repeat=PATIENTS)))
    extreme = np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9
    assert found.permutation_p == pytest.approx(extreme.mean(), abs=1e-12)


def test_both_sources_of_variance_and_the_t_test(both):
    found, a, b = both
    images = np.var(a.mean(0) - b.mean(0), ddof=1) / PATIENTS
    seeds = []
    for model in (a, b):
        own = model - model.mean(0)  # what a seed adds, patient by patient, which resampled patients carry along
        seeds.append((np.var(model.mean(1), ddof=1) + own.var(axis=1).sum() / (SEEDS - 1) / PATIENTS) / SEEDS)
    error = np.sqrt(images + sum(seeds))
    freedom = error**4 / (images**2 / (PATIENTS - 1) + sum(v**2 for v in seeds) / (SEEDS - 1))
    assert found.standard_error.images == pytest.approx(np.sqrt(images), rel=0.05)
    assert found.standard_error.seeds == pytest.approx(np.sqrt(sum(seeds)), rel=0.05)
    assert found.standard_error.degrees_of_freedom == pytest.approx(freedom, rel=0.1)
    t = abs(found.difference) / found.standard_error.total
    assert found.t_p == pytest.approx(2 * stats.t.sf(t, found.standard_error.degrees_of_freedom), rel=1e-9)
    detectable = (stats.t.ppf(0.975, freedom) + stats.t.ppf(0.8, freedom)) * error
    assert found.smallest_detectable == pytest.approx(detectable, rel=0.1)


def test_holm_is_that_of_statsmodels_over_all_pairs(pairs):
    raw = [max(pair.comparison.permutation_p, pair.comparison.t_p) for pair in pairs.values()]
    expected = multipletests(raw, method="holm")[1]
    assert [pair.verdict.adjusted_p for pair in pairs.values()] == pytest.approx(list(expected))
    assert len(pairs) == 3


def test_the_answers_follow(pairs):
    for pair in pairs.values():
        low, high = pair.comparison.interval.low, pair.comparison.interval.high
        shown = pair.verdict.adjusted_p < 0.05 and (low > 0 or high < 0)
        assert pair.verdict.answer == ("better" if shown else "no difference shown")  # the first leads in every pair
    assert {pair.verdict.answer for pair in pairs.values()} == {"better", "no difference shown"}


def test_the_files_hold_these_numbers(folder, changed, pairs, scores, tmp_path):
    build_report(replace(changed, runs=str(folder), output=str(tmp_path)))
    page, words = ((tmp_path / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    for (a, b), pair in pairs.items():
        difference = f"{scores[a].mean() - scores[b].mean():+.3f}".replace("-", "\N{MINUS SIGN}")
        assert f"| {a} | {b} | {pair.verdict.answer} | {difference} |" in words
        assert f">{difference}</td>" in page
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for model, values in scores.items():
        found = sorted(float(row["dice"]) for row in rows if row["model"] == model)
        assert found == pytest.approx(sorted(values.mean(1)))
