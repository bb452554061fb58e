"""The trials of a search: asked for, told, counted; shared by all launches that work on the same folder."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from unet_exp.errors import UserError
from unet_exp.search.journal import Journal
from unet_exp.search.settings import SearchSettings
from unet_exp.search.space import Choice, Number, Space, Value

_RUN, _REASON, _SEARCH = "run", "reason", "search"
_COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)


class SearchStudy:
    """The study of a search, in the journal of its folder. The score of a trial is better when it is higher.

    Args:
        folder: Folder of the search, which exists; a new study gets its name.
        space: What is searched.
        settings: How.
        description: What must not change while the study grows, by name, for the message if it does.
        epochs: Epochs of a whole training, None if that is open.

    Raises:
        UserError: If the folder holds another search, or its journal cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        space: Space,
        settings: SearchSettings,
        description: Mapping[str, Any],
        epochs: int | None = None,
    ) -> None:
        self._journal = Journal(folder)
        self._space = space
        self._settings = settings
        self._distributions = {parameter.key: _distribution(parameter) for parameter in space.parameters}
        warnings.filterwarnings("ignore", module="optuna")
        with self.alone():
            known = [study.study_name for study in self._journal.storage.get_all_studies()]
            self._study = optuna.create_study(
                storage=self._journal.storage,
                study_name=known[0] if known else folder.name,
                direction="maximize",
                load_if_exists=True,
                pruner=_pruner(settings, epochs),
            )
            self._refuse_another(description, folder)

    @property
    def study(self) -> optuna.Study:
        """Optuna's own view of it."""
        return self._study

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other launch asks or tells inside the block."""
        with self._journal.alone():
            yield

    def trials(self) -> list[FrozenTrial]:
        """All trials of all launches; trials that were killed before they had all their values are freed."""
        with self.alone():
            trials = self._study.get_trials(deepcopy=False)
            broken = [t for t in trials if t.state is TrialState.RUNNING and _RUN not in t.user_attrs]
            for trial in broken:
                self.tell(trial, TrialState.FAIL, reason="the search was killed while it drew the values")
            return self._study.get_trials(deepcopy=False) if broken else trials

    def open_trials(self, run: str | None = None) -> list[FrozenTrial]:
        """Trials that have not ended, whoever is at them.

        Args:
            run: Only those whose training is in this folder.
        """
        running = [trial for trial in self.trials() if trial.state is TrialState.RUNNING]
        return [trial for trial in running if run is None or run_of(trial) == run]

    def counted(self) -> int:
        """Trials that have finished or were pruned."""
        return sum(trial.state in _COUNTED for trial in self.trials())

    def ask(self, excluded: Sequence[Mapping[str, Value]] = ()) -> FrozenTrial | None:
        """Another trial; call `assign` before the lock is left.

        Args:
            excluded: Points of a grid that are not to be tried.

        Returns:
            None if there is no further point of the grid.
        """
        number = len(self.trials())
        if self._settings.sampler == "grid":
            point = self._free_point(excluded)
            if point is None:
                return None
            self._study.add_trial(
                create_trial(state=TrialState.RUNNING, params=dict(point), distributions=self._distributions)
            )
        else:
            # A sampler of its own for each trial: a second launch must not draw what the first one has drawn.
            self._study.sampler = _sampler(self._settings, number)
            self._study.ask(fixed_distributions=self._distributions)
        return self._study.get_trials(deepcopy=False)[number]

    def assign(self, trial: FrozenTrial, run: str) -> None:
        """Note in which folder a trial is trained."""
        if trial.user_attrs.get(_RUN) != run:
            self._journal.storage.set_trial_user_attr(trial._trial_id, _RUN, run)

    def report(self, trial: FrozenTrial, scores: Mapping[int, float]) -> None:
        """Add the scores that the study does not know yet.

        Args:
            trial: An open trial.
            scores: By number of epochs, counted from 1.
        """
        for epochs in sorted(scores.keys() - trial.intermediate_values.keys()):
            self._journal.storage.set_trial_intermediate_value(trial._trial_id, epochs, scores[epochs])

    def should_prune(self, trial: FrozenTrial) -> bool:
        """Whether others were so much better after as many epochs that a trial should end."""
        latest = self._journal.storage.get_trial(trial._trial_id)
        reached = latest.last_step or 0
        return (
            reached > 0 and reached >= self._settings.n_warmup_epochs and self._study.pruner.prune(self._study, latest)
        )

    def tell(self, trial: FrozenTrial, state: TrialState, score: float | None = None, reason: str = "") -> None:
        """End an open trial.

        Args:
            trial: The trial.
            state: COMPLETE, PRUNED or FAIL.
            score: Of a complete one.
            reason: Of one that failed.
        """
        if reason:
            self._journal.storage.set_trial_user_attr(trial._trial_id, _REASON, reason)
        self._study.tell(trial.number, score, state=state)

    def grid_size(self) -> int:
        """Points of the grid."""
        return math.prod(len(parameter.grid() or ()) for parameter in self._space.parameters)

    def _free_point(self, excluded: Sequence[Mapping[str, Value]]) -> dict[str, Value] | None:
        taken = [trial.params for trial in self.trials() if trial.state is not TrialState.FAIL]
        taken += [dict(point) for point in excluded]
        known = {tuple(sorted(point.items())) for point in taken}
        return next((p for p in self._space.points() if tuple(sorted(p.items())) not in known), None)

    def _refuse_another(self, description: Mapping[str, Any], folder: Path) -> None:
        known = self._study.user_attrs.get(_SEARCH)
        if known is None:
            self._study.set_user_attr(_SEARCH, dict(description))
            return
        changed = [
            f"  {name}: {known.get(name, 'not given')} before, {description.get(name, 'not given')} now"
            for name in dict.fromkeys([*known, *description])
            if known.get(name) != description.get(name)
        ]
        if changed:
            raise UserError(
                f"{folder} holds another search, whose trials cannot be compared with those of this one:\n"
                + "\n".join(changed)
                + "\nGive this one another name, name=..."
            )


def run_of(trial: FrozenTrial) -> str:
    """Name of the folder in which a trial is trained."""
    return str(trial.user_attrs.get(_RUN, ""))


def reason_of(trial: FrozenTrial) -> str:
    """Why a trial failed."""
    return str(trial.user_attrs.get(_REASON, ""))


def _distribution(parameter: Choice | Number) -> BaseDistribution:
    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.values)
    if parameter.whole:
        step = int(parameter.step or 1)
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log, step=step)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def _sampler(settings: SearchSettings, number: int) -> optuna.samplers.BaseSampler:
    entropy = None if settings.seed is None else [settings.seed, number]
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    if settings.sampler == "random":
        return optuna.samplers.RandomSampler(seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=settings.n_startup_trials)


def _pruner(settings: SearchSettings, epochs: int | None) -> optuna.pruners.BasePruner:
    warmup = settings.n_warmup_epochs
    if settings.pruner == "median":
        return optuna.pruners.MedianPruner(settings.n_startup_trials, warmup)
    if settings.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(max(1, warmup), epochs or "auto")
    return optuna.pruners.NopPruner()
