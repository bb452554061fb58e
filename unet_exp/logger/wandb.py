"""Weights & Biases: one run per training, truthful about how it ended."""

import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import wandb
from lightning.pytorch import Callback
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from wandb.sdk.lib.wbauth import read_netrc_auth

from unet_exp.bounds import NonNegativeInt, PositiveInt
from unet_exp.callback.prediction_panel import PredictionPanel
from unet_exp.errors import UserError
from unet_exp.files import write_text
from unet_exp.logger._progress import Progress
from unet_exp.run.rank import is_first_process

Mode = Literal["online", "offline", "disabled"]

STEP = "trainer/global_step"
"""The x axis of every chart: optimiser steps."""

_MODE_NAMES: dict[str, Mode] = {
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}


class WandbRun:
    """The W&B run of one training.

    The run's id is kept in ``wandb_id.txt`` of the run folder: a resumed training continues the same run. Under
    ``wandb agent`` the agent has chosen the id and the project.

    Args:
        project: Project the run belongs to.
        entity: Team or user, None: the user's default.
        group: Runs of one group are shown together.
        tags: Words to find the run by.
        notes: A longer description.
        mode: `auto` follows ``WANDB_MODE``; where that is not set, online if this machine is logged in, else
            offline. Any other value decides by itself. There is never a prompt.
        panel_every_n_epochs: Pictures of predictions every so many epochs; 0: none.
        panel_cases: How many validation cases are pictured.
        panel_max_side: Pictured images are at most so many pixels wide and high.
        run_folder: W&B's files go to ``wandb/`` in it.
        name: Name of the run.
        config: The resolved configuration as plain dicts and lists.

    Raises:
        UserError: If W&B refuses the settings or cannot be reached.
    """

    def __init__(
        self,
        project: str = "unet_exp",
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        notes: str | None = None,
        mode: Literal["auto", "online", "offline", "disabled"] = "auto",
        panel_every_n_epochs: NonNegativeInt = 5,
        panel_cases: PositiveInt = 4,
        panel_max_side: PositiveInt = 512,
        *,
        run_folder: Path,
        name: str,
        config: Mapping[str, Any],
    ) -> None:
        self.id = _run_id(run_folder)
        self.mode: Mode = resolve_mode() if mode == "auto" else mode
        panel = PredictionPanel(every_n_epochs=panel_every_n_epochs, cases=panel_cases, max_side=panel_max_side)
        self.callbacks: list[Callback] = [panel] if panel_every_n_epochs else []
        self._run: Any = None
        if is_first_process():
            place = {} if _agent_run_id() else {"id": self.id, "project": project, "entity": entity}
            where = {**place, "group": group, "dir": str(run_folder)}
            what = {"name": name, "notes": notes, "tags": list(tags) or None, "config": dict(config)}
            self._run = _start(self.mode, **where, **what)
        progress_file = run_folder / "wandb" / "progress.json"
        self.lightning_logger = _Logger(
            Progress(None) if self.mode == "disabled" else Progress.load(progress_file),
            experiment=self._run,
            project=project,
            name=name,
            version=self.id,
            save_dir=str(run_folder),
        )
        if self._run is not None and self.mode == "offline":
            _say(f"offline, nothing is sent. To upload: wandb sync {run_folder / 'wandb'}/offline-run-*")

    def finish(self, exit_code: int) -> None:
        """End the run: 0 is shown as finished, anything else as failed. A second call does nothing.

        Args:
            exit_code: What the process will exit with.
        """
        run, self._run = self._run, None
        if run is None:
            return
        try:
            run.finish(exit_code=exit_code)
        except Exception as error:  # as in `_Logger.log_metrics`; a run without an end is shown as failed
            _say(f"the end of the run could not be recorded ({error or type(error).__name__}).")


class _Logger(WandbLogger):
    """Lightning's logger, except that a step that was logged before a resume is not logged again.

    Args:
        progress: What has been logged so far.
        experiment: The W&B run, None in all processes but the first.
        project: Project the run belongs to.
        name: Name of the run.
        version: Id of the run.
        save_dir: Folder of the run.
    """

    def __init__(
        self, progress: Progress, *, experiment: Any, project: str, name: str, version: str, save_dir: str
    ) -> None:
        # The run is handed over ready: Lightning would pass `anonymous`, which W&B is about to remove.
        super().__init__(experiment=experiment, project=project, name=name, version=version, save_dir=save_dir)
        self._progress = progress
        self._first_row: int | None = progress.next_row
        self._lost = False

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log one row of values.

        Args:
            metrics: Values by name.
            step: Optimiser step they belong to.
        """
        if step is None:
            self.experiment.log(dict(metrics))
            return
        new = {key: value for key, value in metrics.items() if self._progress.is_new(key, step)}
        if not new or self._lost:
            return
        try:
            self._log_row({**new, STEP: step})
            self._progress.record(new, step)
        except Exception as error:  # W&B documents no type; no tracker is worth hours of training
            self._lost = True
            _say(f"the run cannot be logged any more ({error or type(error).__name__}); training goes on.")

    def _log_row(self, row: dict[str, Any]) -> None:
        # W&B numbers the rows itself, but offline it does not know how many an earlier session has written.
        first, self._first_row = self._first_row, None
        number = None if first is None else max(first, self.experiment.step)
        self.experiment.log(row, step=number, commit=True)


def resolve_mode() -> Mode:
    """What mode `auto` means here: ``WANDB_MODE`` if it is set, else online if there is an API key.

    Raises:
        UserError: If ``WANDB_MODE`` has a value that W&B does not know, or a stored key is malformed.
    """
    wish = os.environ.get("WANDB_MODE", "").strip().lower()
    if not wish:
        return "online" if is_logged_in() else "offline"
    if wish not in _MODE_NAMES:
        raise UserError(f"WANDB_MODE={wish} is not one of {', '.join(_MODE_NAMES)}. Correct it or unset it.")
    return _MODE_NAMES[wish]


def is_logged_in() -> bool:
    """Whether W&B credentials are stored on this machine, found without network and without a prompt.

    Raises:
        UserError: If a stored key is malformed.
    """
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    settings = wandb.setup().settings  # from W&B's settings files
    try:
        stored = settings.api_key or read_netrc_auth(host=settings.base_url)
    except wandb.errors.AuthenticationError as error:
        raise UserError(f"W&B: the stored API key is not valid ({error}). Run `wandb login --relogin`.") from None
    return bool(stored)


def _run_id(run_folder: Path) -> str:
    """The id kept in the run folder; a new one is kept before the run exists, so no crash loses it."""
    file = run_folder / "wandb_id.txt"
    if file.is_file() and (kept := file.read_text(encoding="utf-8").strip()):
        return kept
    fresh = _agent_run_id() or secrets.token_hex(4)
    if is_first_process():
        write_text(file, fresh + "\n")
    return fresh


def _agent_run_id() -> str | None:
    """The id that ``wandb agent`` has given the run that it started; W&B would ignore another one."""
    return os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None


def _start(mode: Mode, **arguments: Any) -> Any:
    """Start the run, with optimiser steps as the x axis of every chart."""
    if mode == "online" and not is_logged_in():
        raise UserError("logger.mode=online needs an API key. Run `wandb login`, or use logger.mode=offline.")
    try:
        run = wandb.init(
            **arguments,
            mode=mode,
            resume="allow",
            reinit="create_new",  # a second training in this process gets a run of its own
            settings=_settings(mode),
        )
    except (wandb.errors.Error, ValueError) as error:  # ValueError: a refused setting, e.g. a long tag
        reason = "\n".join(line for line in str(error).splitlines() if "pydantic.dev" not in line)
        message = f"W&B could not start: {reason}\nCorrect logger.*, or use logger.mode=offline."
        raise UserError(message) from None
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP)
    return run


def _settings(mode: Mode) -> wandb.Settings:
    # Offline, all W&B says is where the files are; online, its messages about the upload matter.
    settings = wandb.Settings(quiet=True, silent=mode != "online")
    if "x_transaction_log_flush_interval" in wandb.Settings.model_fields:
        # SLURM ends W&B's own process together with ours, and what that holds back (15 s) is lost.
        settings.x_transaction_log_flush_interval = 1.0
    return settings


def _say(message: str) -> None:
    """Tell the user one line, whatever the level of logging."""
    sys.stdout.write(f"W&B: {message}\n")
    sys.stdout.flush()
