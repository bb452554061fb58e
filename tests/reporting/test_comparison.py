"""Who is compared with whom, and that the answers are those of the statistics."""

import json
import shutil
from dataclasses import replace

import pytest

from tests.reporting.folders import FakeRun, write_evaluation, write_run
from unet_exp.errors import ConfigError
from unet_exp.reporting import text
from unet_exp.reporting.runs import find_run_folders, read_runs
from unet_exp.reporting.sections import make_sections
from unet_exp.reporting.views import make_views
from unet_exp.statistics.paired import compare


def sections_of(folder, settings):
    inventory = read_runs(find_run_folders([str(folder)]))
    return make_sections(inventory, settings), inventory


def names(section):
    return [standing.entry.name for standing in section.result.standings]


def test_seeds_are_one_model_and_the_better_model_leads(two_models, settings):
    (section,), _ = sections_of(two_models, settings)
    assert names(section) == ["resunet", "unet"]
    assert section.entries[0].model.seeds == [0, 1, 2]
    assert section.part == "test"
    (pair,) = section.result.pairs
    assert pair.verdict.answer == "better"
    assert "resunet is better than unet: +0.0" in text.answer(pair, "Dice")


def test_the_numbers_are_those_of_the_statistics(two_models, settings):
    (section,), inventory = sections_of(two_models, settings)
    counts = {
        model: [e.counts for run in sorted(inventory.runs, key=lambda r: r.seed) if run.model == model
                for e in run.evaluations if e.part == "test"]
        for model in ("resunet", "unet")
    }  # fmt: skip
    expected = compare(counts["resunet"], counts["unet"], "global_dice", draws=500)
    (pair,) = section.result.pairs
    assert (pair.comparison.interval.low, pair.comparison.interval.high) == (
        expected.interval.low,
        expected.interval.high,
    )
    recorded = [e.number("dice") for e in section.entries[0].evaluations]
    assert section.result.standings[0].value == pytest.approx(sum(recorded) / 3)


def test_the_same_model_twice_shows_no_difference(tmp_path, settings):
    for seed in range(3):
        write_run(tmp_path, FakeRun("unet", seed, 0.8))
        write_run(tmp_path, FakeRun("unet", seed, 0.8, config={"loss.smooth": 1.0}, name=f"unet-bcss-0000000{seed}"))
    (section,), _ = sections_of(tmp_path, settings)
    assert names(section) == ["unet (smooth=1.0)", "unet (smooth=–)"]
    (pair,) = section.result.pairs
    assert pair.verdict.answer == "no difference shown"
    assert "No difference shown" in text.answer(pair, "Dice")


def test_runs_on_different_splits_are_never_paired(tmp_path, settings):
    write_run(tmp_path, FakeRun("unet", split_hash="aaaa"))
    write_run(tmp_path, FakeRun("resunet", quality=0.9, split_hash="bbbb"))
    sections, _ = sections_of(tmp_path, settings)
    assert [names(s) for s in sections] == [["unet"], ["resunet"]]
    assert not any(s.result.pairs for s in sections)
    views = make_views(sections, settings, {})
    assert "bbbb" in views[0].warnings[0]
    assert "split aaaa" in views[0].section.heading


def test_datasets_are_separate_sections(tmp_path, settings):
    write_run(tmp_path, FakeRun())
    lesion = FakeRun(classes=("lesion",), target="unet_exp.data.isic.ISIC", config={"data.year": 2017})
    write_run(tmp_path, lesion)
    sections, _ = sections_of(tmp_path, settings)
    assert [s.heading for s in sections] == ["bcss, test part", "isic2017, test part"]


def test_generated_data_has_no_year(tmp_path, settings):
    lesion = {"classes": ("lesion",), "target": "unet_exp.data.lesion_demo.LesionDemo", "config": {"data.year": 2017}}
    write_run(tmp_path, FakeRun(**lesion))
    (section,), _ = sections_of(tmp_path, settings)
    assert section.place.dataset == "lesion_demo"


def test_another_resolution_is_shown_but_not_compared(tmp_path, settings):
    for seed in range(2):
        write_run(tmp_path, FakeRun("unet", seed))
    write_run(tmp_path, FakeRun("resunet", quality=0.9, pixels=160_000))
    write_run(tmp_path, FakeRun("improved_unet", quality=0.82))
    (section,), _ = sections_of(tmp_path, settings)
    assert {(p.first, p.second) for p in section.result.pairs} == {("improved_unet", "unet")}
    assert section.result.standings[-1].entry.name == "resunet"
    assert "resolution" in section.result.standings[-1].remark


def test_a_run_without_counts_is_shown_but_not_compared(tmp_path, settings):
    write_run(tmp_path, FakeRun("unet"))
    write_run(tmp_path, FakeRun("resunet", counts=False))
    (section,), _ = sections_of(tmp_path, settings)
    assert section.result.pairs == []
    assert "score it again" in section.result.standings[1].remark
    assert section.result.standings[1].value > 0


def test_a_single_seed_is_said_to_be_one(tmp_path, settings):
    write_run(tmp_path, FakeRun("unet", quality=0.7))
    write_run(tmp_path, FakeRun("resunet", quality=0.9))
    sections, _ = sections_of(tmp_path, settings)
    assert sections[0].result.pairs[0].verdict.single_seed
    (view,) = make_views(sections, settings, {})
    assert any("single seed" in warning for warning in view.warnings)


def many(folder, count):
    for number in range(count):
        write_run(folder, FakeRun(f"model{number}", quality=0.7 + 0.02 * number, cases=False))


def test_many_models_are_compared_with_one(tmp_path, settings):
    many(tmp_path, 5)
    (section,), _ = sections_of(tmp_path, replace(settings, all_pairs=4))
    assert section.result.reference == "model4"
    assert section.result.chosen_by_score
    assert [p.second for p in section.result.pairs] == ["model4"] * 4
    (section,), _ = sections_of(tmp_path, replace(settings, all_pairs=5))
    assert len(section.result.pairs) == 10


def test_a_baseline_is_compared_with_all(tmp_path, settings):
    many(tmp_path, 3)
    (section,), _ = sections_of(tmp_path, replace(settings, baseline="model1"))
    assert [(p.first, p.second) for p in section.result.pairs] == [("model2", "model1"), ("model0", "model1")]
    assert not section.result.chosen_by_score
    with pytest.raises(ConfigError, match="no model is called 'model9'; there are model0, model1, model2"):
        sections_of(tmp_path, replace(settings, baseline="model9"))


def test_the_part_is_chosen_and_runs_without_it_are_listed(tmp_path, settings):
    write_run(tmp_path, FakeRun("unet"))
    only_val = write_run(tmp_path, FakeRun("resunet", parts=("val",)))
    (section,), inventory = sections_of(tmp_path, settings)
    assert (section.part, names(section)) == ("test", ["unet"])
    assert inventory.left_out[0].path == only_val
    assert f"run={only_val} split=test" in inventory.left_out[0].reason
    (section,), _ = sections_of(tmp_path, replace(settings, part="val"))
    assert sorted(names(section)) == ["resunet", "unet"]


def test_a_part_scored_again_replaces_the_first_scores(tmp_path, settings):
    fake = FakeRun("unet", counts=False)
    run = write_run(tmp_path, fake)
    again = run / "evaluation" / "test"
    again.mkdir(parents=True)
    write_evaluation(again, replace(fake, counts=True, parts=("test",)))
    metrics = json.loads((again / "metrics.json").read_text())
    del metrics["train_seconds"]
    (again / "metrics.json").write_text(json.dumps(metrics))
    (section,), _ = sections_of(tmp_path, settings)
    assert section.result.standings[0].interval is not None
    assert section.entries[0].mean("train_seconds") == 369.0  # which only the training could write


def test_a_later_evaluation_is_a_section_of_its_own(tmp_path, settings):
    run = write_run(tmp_path, FakeRun("unet"))
    later = run / "evaluation" / "ph2-ph2-test"
    later.mkdir(parents=True)
    write_evaluation(later, FakeRun("unet", images=7, parts=("test",)))
    sections, _ = sections_of(tmp_path, settings)
    assert [s.heading for s in sections] == ["bcss, test part", "bcss, test part, scored again: ph2-ph2-test"]
    assert len(sections[1].entries[0].counts[0].ids) == 7


def test_variants_are_named_after_what_differs(tmp_path, settings):
    write_run(tmp_path, FakeRun("unet", name="unet-bcss-00000001"))
    focal = {"loss._target_": "unet_exp.loss.focal.FocalLoss", "loss.gamma": 2.0}
    write_run(tmp_path, FakeRun("unet", config=focal, name="unet-bcss-00000002"))
    (section,), _ = sections_of(tmp_path, settings)
    assert sorted(names(section)) == ["unet (loss=DiceCELoss)", "unet (loss=FocalLoss)"]
    (view,) = make_views([section], settings, {})
    assert {key for key, _ in view.differences} == {"loss._target_", "loss.gamma"}


def test_the_score_can_be_iou(two_models, settings):
    (section,), _ = sections_of(two_models, replace(settings, score="iou"))
    assert section.result.pairs[0].comparison.statistic == "global_iou"


def test_lesions_are_compared_by_the_mean_over_images(tmp_path, settings):
    for model in ("unet", "resunet"):
        write_run(tmp_path, FakeRun(model, classes=("lesion",), target="unet_exp.data.ph2.PH2"))
    (section,), _ = sections_of(tmp_path, settings)
    assert section.result.pairs[0].comparison.statistic == "image_dice"


def test_a_copy_of_a_run_is_no_second_seed(tmp_path, settings):
    first = write_run(tmp_path / "runs", FakeRun("unet"))
    write_run(tmp_path / "runs", FakeRun("unet", seed=1))
    copy = shutil.copytree(first, first.with_name(f"{first.name}-2"))
    (section,), inventory = sections_of(tmp_path / "runs", settings)
    assert section.entries[0].model.seeds == [0, 1]
    (item,) = inventory.left_out
    assert item.path == copy
    assert "the same configuration and seed as" in item.reason
    assert not item.damaged


def test_runs_under_another_name_are_another_model_that_does_not_differ(tmp_path, settings):
    for seed in range(3):
        run = write_run(tmp_path, FakeRun("unet", seed))
        shutil.copytree(run, run.with_name(run.name.replace("unet-", "unet_twin-")))
    (section,), inventory = sections_of(tmp_path, settings)
    assert names(section) == ["unet", "unet_twin"]
    (pair,) = section.result.pairs
    assert pair.comparison.difference == 0
    assert (pair.verdict.answer, pair.verdict.adjusted_p) == ("no difference shown", 1)
    assert inventory.left_out == []


def test_a_run_of_one_epoch_is_worse(tmp_path, settings):
    for seed in range(3):
        write_run(tmp_path, FakeRun("unet", seed, 0.85, config={"trainer": {"max_epochs": 6}}))
        short = {"trainer": {"max_epochs": 1}}
        write_run(tmp_path, FakeRun("unet", seed, 0.7, config=short, name=f"unet-bcss-0000000{seed}"))
    (section,), _ = sections_of(tmp_path, replace(settings, baseline="unet (max_epochs=6)"))
    (pair,) = section.result.pairs
    assert (pair.first, pair.verdict.answer) == ("unet (max_epochs=1)", "worse")
    assert "unet (max_epochs=6) is better than unet (max_epochs=1): +0." in text.answer(pair, "Dice")


def test_the_first_sentence_is_the_whole_answer(tmp_path, settings):
    for number, quality in enumerate((0.86, 0.859, 0.7, 0.6)):
        for seed in range(3):
            write_run(tmp_path, FakeRun(f"model{number}", seed, quality))
    (section,), _ = sections_of(tmp_path, settings)
    best, second, *others = names(section)
    words = text.lead(section.result.standings, section.result.pairs, "Dice")
    assert words.startswith(f"{best} leads with Dice 0.8")
    assert f"It is better than {others[0]} and {others[1]}. No difference from {second} is shown." in words
    (section,), _ = sections_of(tmp_path, replace(settings, baseline=others[1]))
    words = text.lead(section.result.standings, section.result.pairs, "Dice")
    assert words.endswith(f"It is better than {others[1]}.")  # of the rest nothing was asked


@pytest.mark.parametrize(
    ("qualities", "expected"),
    [
        ((0.9, 0.7, 0.6), "It is better than both others."),
        ((0.9, 0.7, 0.65, 0.6), "It is better than all 3 others."),
        ((0.801, 0.8, 0.8), "No difference from either of the others is shown."),
        ((0.8, 0.8, 0.8, 0.8, 0.6), "It is better than model4. No difference from model"),
    ],
)
def test_all_others_are_counted(tmp_path, settings, qualities, expected):
    for number, quality in enumerate(qualities):
        for seed in range(3):
            write_run(tmp_path, FakeRun(f"model{number}", seed, quality))
    (section,), _ = sections_of(tmp_path, settings)
    assert expected in text.lead(section.result.standings, section.result.pairs, "Dice")


def test_scores_on_the_images_that_chose_the_epoch_are_said_to_flatter(tmp_path, settings):
    write_run(tmp_path, FakeRun("unet"))
    for part, said in (("val", True), ("test", False)):
        sections, _ = sections_of(tmp_path, replace(settings, part=part))
        (view,) = make_views(sections, settings, {})
        assert any("chose the epoch" in warning for warning in view.warnings) is said


def test_what_was_resampled_is_said(tmp_path, settings):
    write_run(tmp_path, FakeRun("unet", images=20, patients=10))
    sections, _ = sections_of(tmp_path, settings)
    (view,) = make_views(sections, settings, {})
    assert ("images scored", "20 of the test part") in view.split
    assert ("unit of the intervals", "all images of a patient; there are 10") in view.split


def test_without_an_interval_only_that_is_said_of_it(tmp_path, settings):
    for seed in range(2):
        write_run(tmp_path, FakeRun("unet", seed, images=4, patients=1))
    sections, _ = sections_of(tmp_path, settings)
    (view,) = make_views(sections, settings, {})
    assert [w for w in view.warnings if w.startswith("Intervals")] == ["Intervals: one cluster: there is no interval."]
