"""Which values a search draws, and when it ends trials early."""

import pytest
from optuna.trial import TrialState

from tests.search.launches import Launch, ask


def drawn(folder, number, **settings):
    study = Launch(folder, **settings).study
    return [dict(ask(study).params) for _ in range(number)]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_seed_decides_what_is_drawn_and_a_second_launch_does_not_repeat_the_first(sampler, tmp_path):
    whole = drawn(tmp_path / "a", 6, sampler=sampler, seed=3)
    assert (
        drawn(tmp_path / "b", 4, sampler=sampler, seed=3) + drawn(tmp_path / "b", 2, sampler=sampler, seed=3) == whole
    )
    assert len({point["x"] for point in whole}) == 6
    assert drawn(tmp_path / "c", 6, sampler=sampler, seed=4) != whole
    assert drawn(tmp_path / "d", 6, sampler=sampler, seed=None) != drawn(tmp_path / "e", 6, sampler=sampler, seed=None)


def scored(study, number, score):
    values = []
    for _ in range(number):
        trial = ask(study)
        values.append(dict(trial.params))
        study.tell(trial, TrialState.COMPLETE, score(trial.params))
    return values


def test_tpe_learns_that_higher_is_better(tmp_path):
    study = Launch(tmp_path, sampler="tpe", n_startup_trials=10, seed=1).study
    values = scored(study, 40, lambda p: 1 - abs(p["x"] - 0.8) - 0.5 * (p["kind"] == "bad"))
    late = values[25:]
    assert sum(point["kind"] == "good" for point in late) >= 12
    assert sum(abs(point["x"] - 0.8) < 0.2 for point in late) >= 9


def test_a_grid_gives_every_point_once_and_those_that_failed_again(tmp_path):
    study = Launch(tmp_path, ["x=range(0,3)", "kind=good,bad"], sampler="grid").study
    trials = [ask(study) for _ in range(6)]
    assert study.grid_size() == 6
    assert len({tuple(sorted(trial.params.items())) for trial in trials}) == 6
    with study.alone():
        assert study.ask() is None
    study.tell(trials[2], TrialState.FAIL, reason="cosmic ray")
    with study.alone():
        assert study.ask([trials[2].params]) is None
    assert ask(study).params == trials[2].params


@pytest.mark.parametrize(("warmup", "expected"), [(2, [False, True, True]), (4, [False, False, False])])
def test_the_median_prunes_what_is_worse_after_the_warm_up(warmup, expected, tmp_path):
    study = Launch(tmp_path, pruner="median", n_startup_trials=2, n_warmup_epochs=warmup).study
    for _ in range(3):
        good = ask(study)
        study.report(good, {1: 0.5, 2: 0.6, 3: 0.7})
        study.tell(good, TrialState.COMPLETE, 0.7)
    bad = ask(study)
    pruned = []
    for epochs in (1, 2, 3):
        study.report(bad, {epochs: 0.1})
        pruned.append(study.should_prune(bad))
    assert pruned == expected
    better = ask(study)
    study.report(better, {1: 0.6, 2: 0.65, 3: 0.9})
    assert not study.should_prune(better)


def test_a_score_that_is_not_a_number_is_pruned(tmp_path):
    study = Launch(tmp_path, pruner="median", n_startup_trials=1, n_warmup_epochs=0).study
    good = ask(study)
    study.report(good, {1: 0.5})
    study.tell(good, TrialState.COMPLETE, 0.5)
    bad = ask(study)
    study.report(bad, {1: float("nan")})
    assert study.should_prune(bad)


def test_hyperband_works_from_the_first_trial_on(tmp_path):
    study = Launch(tmp_path, pruner="hyperband", n_warmup_epochs=1).study
    ended = []
    for number in range(12):
        trial = ask(study)
        for epochs in (1, 2, 3, 4):
            study.report(trial, {epochs: (0.9 - 0.05 * number) * epochs / 4})
            if study.should_prune(trial):
                study.tell(trial, TrialState.PRUNED)
                break
        else:
            study.tell(trial, TrialState.COMPLETE, 0.9 - 0.05 * number)
        ended.append(study.trials()[trial.number].state)
    assert ended[0] is TrialState.COMPLETE
    assert TrialState.PRUNED in ended
