"""The run folder: what a training leaves behind, and the contract other tools rely on.

::

    config.yaml        the resolved configuration
    environment.json   versions, git commit, command line, device
    split.json         ids of every part, with a hash
    status.json        running / finished / failed / interrupted, and why; pruned: ended by a search
    checkpoints/       last.ckpt, last-previous.ckpt (the one before it), best.ckpt
    nonfinite_loss.ckpt  batch and weights of a loss that was not a number, if that stopped the run
    history.csv        one row per epoch
    metrics.json       scores of the checkpoint that `scored_checkpoint` names
    per_image.csv      the same, image by image
    figures/           curves, confusion matrices, prediction panels
    evaluation/        what `python -m unet_exp.evaluate` wrote later
    log.txt, job.json  of a job of a sweep: what it wrote to the terminal; attempts and exit code
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from omegaconf import OmegaConf

from unet_exp.errors import RunInterruptedError, UserError, plain_message
from unet_exp.files import write_json, write_text
from unet_exp.run.disk import disk_error, is_disk_error

State = Literal["running", "finished", "failed", "interrupted", "pruned"]


def previous_checkpoint(path: Path) -> Path:
    """Where the checkpoint that was replaced by `path` is kept."""
    return path.with_name(f"{path.stem}-previous{path.suffix}")


class RunFolder:
    """Paths and small files of one run.

    Args:
        path: The folder; it must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.environment_file = path / "environment.json"
        self.split_file = path / "split.json"
        self.status_file = path / "status.json"
        self.history_file = path / "history.csv"
        self.metrics_file = path / "metrics.json"
        self.per_image_file = path / "per_image.csv"
        self.checkpoints = path / "checkpoints"
        self.last_checkpoint = self.checkpoints / "last.ckpt"
        self.best_checkpoint = self.checkpoints / "best.ckpt"
        self.figures = path / "figures"
        self.evaluation = path / "evaluation"

    @classmethod
    def create(cls, parent: Path, label: str) -> "RunFolder":
        """Make ``parent/label``, or ``parent/label-2`` and so on: a folder is never shared.

        Raises:
            UserError: If nothing can be written there.
        """
        number = 1
        while True:
            path = parent / (label if number == 1 else f"{label}-{number}")
            try:
                path.mkdir(parents=True, exist_ok=False)
            except FileExistsError:
                if not path.is_dir():
                    raise UserError(f"{path} is a file, so no run folder can be made there.") from None
                number += 1
                continue
            except OSError as error:
                raise UserError(f"Cannot make the run folder {path}: {error.strerror}. Set output_folder=...") from None
            return cls(path)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """A folder made earlier.

        Raises:
            UserError: If it is not a run folder.
        """
        folder = cls(path)
        if not folder.config_file.is_file():
            problem = "it has no config.yaml" if path.is_dir() else "it does not exist"
            raise UserError(f"{path} is not a run folder: {problem}. Give the folder that a training printed.")
        return folder

    def config(self) -> dict[str, Any]:
        """The resolved configuration of the run.

        Raises:
            UserError: If the file is damaged.
        """
        try:
            config = OmegaConf.to_container(OmegaConf.load(self.config_file))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise UserError(f"{self.config_file} cannot be read: {error}") from None
        if not isinstance(config, dict):
            raise UserError(f"{self.config_file} does not hold a configuration.")
        return {str(key): value for key, value in config.items()}

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Keep the resolved configuration."""
        write_text(self.config_file, OmegaConf.to_yaml(OmegaConf.create(dict(config))))

    def split(self) -> dict[str, Any] | None:
        """What split.json holds, None if the run did not get that far."""
        return json.loads(self.split_file.read_text(encoding="utf-8")) if self.split_file.is_file() else None

    def metrics(self) -> dict[str, Any]:
        """What metrics.json holds, empty before the first evaluation."""
        return json.loads(self.metrics_file.read_text()) if self.metrics_file.is_file() else {}

    def write_status(self, state: State, reason: str = "") -> None:
        """Record what became of the run."""
        content = {"state": state, "reason": reason, "time": datetime.now(UTC).isoformat()}
        try:
            write_json(self.status_file, content)
        except OSError:
            if not self.status_file.is_file():
                raise
            # A full disk still takes what fits into the place of the old content.
            with self.status_file.open("r+", encoding="utf-8") as file:
                json.dump(content, file)
                file.truncate()

    def status(self) -> dict[str, Any]:
        """What status.json holds, empty if it is absent or damaged."""
        try:
            status = json.loads(self.status_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return status if isinstance(status, dict) else {}

    def has_checkpoint(self, name: str) -> bool:
        """Whether there is a checkpoint `best` or `last`, or the one before it."""
        path = self.checkpoints / f"{name}.ckpt"
        return path.is_file() or previous_checkpoint(path).is_file()

    def checkpoint(self, name: str) -> Path:
        """Path of the checkpoint `best` or `last`; where it is gone, the one before it is still there.

        Raises:
            UserError: If the run has not written it.
        """
        path = self.checkpoints / f"{name}.ckpt"
        if not self.has_checkpoint(name):
            names = sorted(p.stem for p in self.checkpoints.glob("*.ckpt") if not p.stem.endswith("-previous"))
            present = ", ".join(names) or "none"
            raise UserError(f"{path} does not exist (checkpoints there: {present}). Did the training get that far?")
        return path

    def scored_checkpoint(self, config: Mapping[str, Any]) -> str:
        """Which weights stand for the run, `best` or `last`: those that it was scored with, as metrics.json says.

        Args:
            config: Its configuration, which decides as long as it was not scored; one of before there was a choice
                means `best`.
        """
        try:
            scored = self.metrics().get("checkpoint")
        except ValueError:  # damaged; whoever reads the scores says so
            scored = None
        return str(scored or config.get("scored_checkpoint", "best"))

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Keep status.json truthful, whatever ends the block.

        Raises:
            UserError: If the disk of the run folder is full or cannot be written.
        """
        try:
            self.write_status("running")
            yield
            self.write_status("finished")
        except RunInterruptedError as error:
            self._write_end("interrupted", str(error))
            raise
        except (KeyboardInterrupt, SystemExit) as error:
            self._write_end("interrupted", type(error).__name__)
            raise
        except BaseException as error:
            explained = self._explained(error)
            self._write_end("failed", f"{type(explained).__name__}: {plain_message(explained)}")
            if explained is error:
                raise
            raise explained from None

    def _write_end(self, state: State, reason: str) -> None:
        """Record the end; where that is impossible, what has ended the run must still reach the user."""
        try:
            self.write_status(state, reason)
        except OSError as error:
            sys.stderr.write(f"{self.status_file} could not be written ({error.strerror}): the run is {state}.\n")

    def _explained(self, error: BaseException) -> BaseException:
        if isinstance(error, OSError) and is_disk_error(error) and error.filename is not None:
            path = Path(str(error.filename))
            if path.resolve().is_relative_to(self.path.resolve()):
                return disk_error(path, error)
        return error
