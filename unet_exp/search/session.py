"""One launch of a search, from its space to its result."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from unet_exp.errors import counted
from unet_exp.run.identity import is_machine_setting
from unet_exp.run.signals import stop_request
from unet_exp.search.result import best_trial, commands, importances, trial_counts, trial_table, write_trials
from unet_exp.search.settings import SearchSettings
from unet_exp.search.source import TrialSource
from unet_exp.search.space import Choice, Number, Space, Value
from unet_exp.search.study import SearchStudy, run_of
from unet_exp.sweep.display import Display
from unet_exp.sweep.job import Composed, Job, make_job
from unet_exp.sweep.progress import duration
from unet_exp.sweep.runner import Runner, make_sweep_folder
from unet_exp.sweep.settings import SweepSettings
from unet_exp.sweep.slots import Slot

Compose = Callable[[Sequence[str]], Composed]
"""Composes a command line."""


def run_search(
    folder: Path,
    space: Space,
    search: SearchSettings,
    sweep: SweepSettings,
    slots: Sequence[Slot],
    compose: Compose,
    flags: Sequence[str] = (),
) -> bool:
    """Train trials until there are enough, and tell which was best.

    No comparison report is written: a trial has one seed, pruned ones have no test scores, and the best of many by its
    test score is what a test set must not be used for.

    Args:
        folder: The folder of the search, absolute.
        space: What is searched.
        search: How.
        sweep: What becomes of jobs that fail.
        slots: What the jobs may use; so many run at a time.
        compose: Composes a trial.
        flags: Options of Hydra's that every job gets.

    Returns:
        Whether the search has ended before it was complete.

    Raises:
        RunInterruptedError: If a signal has stopped it; every job's state is saved.
        UserError: If the folder holds another search.
    """
    start = time.monotonic()
    make_sweep_folder(folder)
    first, _ = compose([*space.fixed, *space.drawn({p.key: _first(p) for p in space.parameters})])
    monitor = str(first["monitor"])
    epochs = first["trainer"].get("max_epochs")
    study = SearchStudy(folder, space, search, _description(space, monitor), epochs if epochs and epochs > 0 else None)
    jobs: list[Job] = []
    with Display(jobs) as display, stop_request() as request:
        _say_beginning(display, folder, study, space, search)
        display.say_slots(slots)
        source = TrialSource(study, search, _job_maker(folder, space, compose), jobs, display.say)
        source.on_change = lambda: write_trials(folder, study, space)
        Runner(folder, source, slots, sweep, display, flags).run(request)
    write_trials(folder, study, space)
    _say_ending(display, folder, study, space, monitor, flags)
    display.say(f"{trial_counts(study)}; this launch took {duration(time.monotonic() - start)}")
    display.say(f"table of all trials: {folder / 'search.csv'}")
    if request:
        raise request.error()
    if source.trouble:
        display.say(f"stopped: {source.trouble}", "red")
    return not source.succeeded


def _job_maker(folder: Path, space: Space, compose: Compose) -> Callable[[Mapping[str, Value]], Job]:
    made: dict[tuple[str, ...], Job] = {}

    def make(values: Mapping[str, Value]) -> Job:
        drawn = space.drawn(values)
        if tuple(drawn) not in made:
            overrides = [*space.fixed, *drawn]
            config, names = compose(overrides)
            made[tuple(drawn)] = make_job(folder, config, names, overrides, " ".join(drawn))
        return made[tuple(drawn)]

    return make


def _description(space: Space, monitor: str) -> dict[str, Any]:
    """What the trials of one study have in common, as plain JSON. Ends of intervals may change."""
    pairs = [argument.partition("=")[::2] for argument in space.fixed]
    fixed = {key: value for key, value in pairs if not is_machine_setting(key.lstrip("+~"))}
    return {"monitor": monitor, **fixed, **{p.key: _kind(p) for p in space.parameters}}


def _kind(parameter: Choice | Number) -> str:
    if isinstance(parameter, Choice):
        return f"one of {parameter}"
    kind = "a whole number" if parameter.whole else "a number"
    return f"{kind} on a logarithmic scale" if parameter.log else kind


def _first(parameter: Choice | Number) -> Value:
    return parameter.values[0] if isinstance(parameter, Choice) else parameter.low


def _say_beginning(display: Display, folder: Path, study: SearchStudy, space: Space, search: SearchSettings) -> None:
    wanted, done = search.trials_wanted(study.grid_size()), study.counted()
    earlier = f", {done} of them ended earlier" if done else ""
    display.say(f"Search of {counted(wanted, 'trial')}{earlier}: {folder}")
    for parameter in space.parameters:
        display.say(f"  {parameter.key}: {parameter}")
    pruner = "" if search.pruner == "none" else f", pruner {search.pruner}"
    display.say(f"sampler {search.sampler}{pruner}")


def _say_ending(
    display: Display, folder: Path, study: SearchStudy, space: Space, monitor: str, flags: Sequence[str]
) -> None:
    display.show(trial_table(study, space, monitor))
    best = best_trial(study)
    if best is None or best.value is None:
        display.say("no trial has finished yet")
        return
    once, seeds = commands(folder, space, best, flags)
    display.say(f"best: trial {best.number}, {monitor} {best.value:.4f}, {folder / run_of(best)}", "green")
    shares = importances(study)
    if shares:
        told = ", ".join(f"{key} {share:.0%}" for key, share in shares.items())
        display.say(f"what tells the best tenth from the rest: {told}")
    display.say(f"train it again:\n  {once}\nwith several seeds, to compare it honestly:\n  {seeds}")
