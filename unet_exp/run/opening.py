"""Which folder a training works in: a new one, that of a run to continue, or the one that its first process tells."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from unet_exp.errors import UserError
from unet_exp.run.disk import remove_temporary_files
from unet_exp.run.folder import RunFolder
from unet_exp.run.identity import refuse_other_run, run_label
from unet_exp.run.lock import alone_in, inherited_lock
from unet_exp.run.rank import is_first_process
from unet_exp.run.team import Team, folder_of_earlier_attempt, remember_folder
from unet_exp.sweep.membership import job_folder

_PATIENCE = 20.0
"""Seconds to wait for the workers of a killed training."""

_FOLDER_VARIABLE = "UNET_EXP_RUN_FOLDER"
"""Tells the processes that Lightning starts for DDP which folder rank 0 has made."""


@dataclass(frozen=True)
class Opened:
    """The folder of a training.

    Args:
        folder: The folder.
        resumed: Whether its last checkpoint is continued.
    """

    folder: RunFolder
    resumed: bool


def open_run(
    config: Mapping[str, Any], names: Mapping[str, str], split: Mapping[str, Any], team: Team | None
) -> Opened:
    """Make or find the folder of this training, one for all its processes.

    Args:
        config: The plain, resolved configuration.
        names: Chosen option of the groups model and data.
        split: Description of the data's split.
        team: The other processes, where torchrun has started them.

    Raises:
        UserError: If it cannot be made, or the run to continue is another one.
    """
    if team is not None and team.rank > 0:
        told = team.hear()
        return Opened(RunFolder(Path(told["folder"])), told["resumed"])
    opened = _of_this_process(config, names, split)
    if team is not None:
        team.tell({"folder": str(opened.folder.path.resolve()), "resumed": opened.resumed})
    return opened


def _of_this_process(config: Mapping[str, Any], names: Mapping[str, str], split: Mapping[str, Any]) -> Opened:
    if config["resume"]:
        return Opened(_resumed_folder(config, split), resumed=True)
    earlier = folder_of_earlier_attempt()
    if earlier is not None:
        folder = RunFolder(earlier)
        return Opened(folder, resumed=folder.has_checkpoint("last"))
    folder = _new_folder(config, names)
    remember_folder(folder.path)
    return Opened(folder, resumed=False)


def _resumed_folder(config: Mapping[str, Any], split: Mapping[str, Any]) -> RunFolder:
    """Open the folder of the run to continue, if that is possible and honest."""
    folder = RunFolder.open(Path(config["resume"]))
    refuse_other_run(folder.config(), config, str(folder.path))
    saved = folder.split()
    if saved is not None and saved["hash"] != split["hash"]:
        raise UserError(
            f"{folder.path} was trained on another split of the data ({saved['hash']}, now {split['hash']}): images "
            "were added, removed or moved. Restore the files, or start a new run."
        )
    return folder


def _new_folder(config: Mapping[str, Any], names: Mapping[str, str]) -> RunFolder:
    """Make the folder of a new run; the other processes of a distributed training are told which."""
    own = job_folder()  # a sweep's job starts again in the folder it has
    if own is not None:
        return RunFolder(own)
    if not is_first_process():
        if _FOLDER_VARIABLE not in os.environ:
            raise UserError(
                "This is not the first process of a training, and nobody has told it the run folder. Start several "
                "processes with trainer=ddp, torchrun, or hydra/launcher=slurm (docs/distributed.md)."
            )
        return RunFolder(Path(os.environ[_FOLDER_VARIABLE]))
    parent = Path(config["output_folder"]) / (config["name"] or date.today().isoformat())
    folder = RunFolder.create(parent, run_label(config, names))
    os.environ[_FOLDER_VARIABLE] = str(folder.path.resolve())
    return folder


@contextmanager
def held(folder: RunFolder) -> Iterator[None]:
    """No other training works in the folder meanwhile. For a job of a sweep, the sweep has seen to that."""
    outside_sweeps = is_first_process() and job_folder() is None
    with alone_in(folder.path, patience=_PATIENCE) if outside_sweeps else inherited_lock(folder.path):
        if is_first_process():
            remove_temporary_files(folder.path)  # of a training that was killed
        yield
