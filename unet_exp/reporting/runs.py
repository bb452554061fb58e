"""Finding and reading run folders, without trusting what they hold."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from yaml import YAMLError

from unet_exp.errors import DataError, UserError
from unet_exp.reporting.evaluations import Evaluation, read_evaluation, read_json
from unet_exp.run.folder import RunFolder
from unet_exp.run.history import Row, read_history

_FOLDER_NAME = re.compile(r"^(?P<model>.+)-(?P<data>[^-]+)-[0-9a-f]{8}(-\d+)?$")


@dataclass(frozen=True)
class Run:
    """One finished training.

    Args:
        path: The run folder.
        config: Its resolved configuration.
        environment: Versions, commit, command.
        split: Ids of every part, with a hash.
        history: One row of numbers per epoch.
        evaluations: Every part it was scored on.
    """

    path: Path
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    split: Mapping[str, Any]
    history: Sequence[Row]
    evaluations: Sequence[Evaluation]

    @property
    def name(self) -> str:
        """The folder's name, without characters that no text may hold."""
        return printable(self.path.name)

    @property
    def seed(self) -> int:
        """Seed of the training."""
        return int(self.config.get("seed", 0))

    @property
    def split_settings(self) -> Mapping[str, Any]:
        """What was asked of the split: the keys of `data.split`."""
        data = self.config.get("data")
        found = data.get("split") if isinstance(data, Mapping) else None
        return found if isinstance(found, Mapping) else {}

    @property
    def fold(self) -> int | None:
        """Which fold was held out, None if the run is no part of a cross-validation."""
        return int(self.split_settings.get("fold", 0)) if self.split_settings.get("scheme") == "kfold" else None

    @property
    def folds(self) -> int:
        """Number of folds of its cross-validation, 0 if it is part of none."""
        return 0 if self.fold is None else int(self.split_settings.get("folds", 0))

    @property
    def model(self) -> str:
        """The name that was chosen with `model=`, as the folder has it; else that of the class."""
        match = _FOLDER_NAME.match(self.name)
        return match["model"] if match else target_name(self.config.get("model"))

    @property
    def commit(self) -> str:
        """First digits of the commit it was trained with, and whether files differed from it."""
        git = self.environment.get("git")
        known = git if isinstance(git, Mapping) else {}
        return printable(f"{str(known.get('commit') or 'unknown')[:8]}{' + changes' if known.get('dirty') else ''}")


@dataclass(frozen=True)
class LeftOut:
    """A run, or an evaluation of one, that the report cannot use.

    Args:
        path: Its folder.
        reason: Why, and what to do.
        damaged: Whether a file is broken, rather than not there yet.
    """

    path: Path
    reason: str
    damaged: bool = False


@dataclass
class Inventory:
    """What was found: `runs` to report on, and what is `left_out`."""

    runs: list[Run] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def printable(text: str) -> str:
    """The text with control characters and lone surrogates, which neither HTML nor SVG may hold, replaced."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def target_name(block: Any) -> str:
    """Last part of a block's `_target_`, for example `UNet`."""
    target = block.get("_target_", "") if isinstance(block, Mapping) else ""
    return printable(str(target)).rpartition(".")[2] or "unknown"


def find_run_folders(patterns: Sequence[str]) -> list[Path]:
    """Run folders that match: themselves, or anywhere below a folder that matches.

    Raises:
        UserError: If a pattern leads to no run folder.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        folders = [run for match in _matches(Path(pattern).expanduser()) for run in _runs_below(match)]
        if not folders:
            raise UserError(
                f"runs: no run folder matches {pattern!r} (looked in {Path.cwd()}). A run folder holds config.yaml and "
                "status.json; give one, a folder of them, or a glob such as 'outputs/*/*'."
            )
        for folder in folders:
            found.setdefault(folder.resolve(), folder)  # one run, however many patterns and links lead to it
    return list(found.values())


def _matches(pattern: Path) -> list[Path]:
    """What a glob matches; a path that exists is meant literally, even with a star or bracket in its name."""
    if pattern.exists():
        return [pattern]
    return sorted(Path(pattern.anchor or ".").glob(str(pattern.relative_to(pattern.anchor))))


def _runs_below(folder: Path) -> Iterator[Path]:
    if _is_run(folder):
        yield folder
        return
    for config in sorted(folder.rglob("config.yaml")):
        if _is_run(config.parent):
            yield config.parent


def _is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() and (folder / "status.json").is_file()


def read_runs(folders: Sequence[Path]) -> Inventory:
    """Read every run; unfinished and damaged ones are listed as left out, never dropped silently."""
    inventory = Inventory()
    for path in folders:
        try:
            run = _read_run(path, inventory.left_out)
        except UserError as error:
            inventory.left_out.append(LeftOut(path, str(error), damaged=True))
            continue
        except YAMLError:
            inventory.left_out.append(LeftOut(path, f"{path / 'config.yaml'} is damaged: it is no yaml.", damaged=True))
            continue
        if run is not None:
            inventory.runs.append(run)
    return inventory


def _read_run(path: Path, left_out: list[LeftOut]) -> Run | None:
    folder = RunFolder.open(path)
    status = read_json(folder.status_file)
    if status.get("state") != "finished":
        reason = f": {status['reason']}" if status.get("reason") else ""
        left_out.append(LeftOut(path, f"not finished ({status.get('state', 'unknown state')}{reason})"))
        return None
    config = folder.config()
    evaluations = _read_evaluations(folder, config, left_out)
    if not evaluations:
        left_out.append(LeftOut(path, f"never scored; run: python -m unet_exp.evaluate run={path}"))
        return None
    split = read_json(folder.split_file)
    if not isinstance(split.get("hash"), str):
        raise DataError(f"{folder.split_file} has no hash, so it is unknown what the run was trained on.")
    environment = read_json(folder.environment_file) if folder.environment_file.is_file() else {}
    return Run(path, config, environment, split, _read_history(folder.history_file), evaluations)


def _read_evaluations(folder: RunFolder, config: Mapping[str, Any], left_out: list[LeftOut]) -> list[Evaluation]:
    """The run's own evaluation, and those made later; a damaged later one is left out alone."""
    found = read_evaluation(folder.path, label="", config=config) if folder.metrics_file.is_file() else []
    training = found[0].context if found else {}
    for metrics in sorted(folder.evaluation.glob("*/metrics.json")):
        try:
            later = read_evaluation(metrics.parent, label=printable(metrics.parent.name), config=config)
        except UserError as error:
            left_out.append(LeftOut(metrics.parent, str(error), damaged=True))
            continue
        # What training has cost stands in the run's own metrics.json only.
        found += [replace(one, context={**training, **one.context}) for one in later]
    return found


def _read_history(file: Path) -> list[Row]:
    try:
        return read_history(file)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{file} is damaged ({error}).") from None
