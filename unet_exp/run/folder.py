"""The run folder: what a training leaves behind, and the contract other tools rely on.

::

    config.yaml        the resolved configuration
    environment.json   versions, git commit, command line, device
    split.json         ids of every part, with a hash
    status.json        running / finished / failed / interrupted, and why
    checkpoints/       last.ckpt, best.ckpt
    history.csv        one row per epoch
    metrics.json       scores of the best checkpoint
    per_image.csv      the same, image by image
    figures/           curves, confusion matrices, prediction panels
    evaluation/        what `python -m unet_exp.evaluate` wrote later
    log.txt, job.json  of a job of a sweep: what it wrote to the terminal; attempts and exit code
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from omegaconf import OmegaConf

from unet_exp.errors import RunInterruptedError, UserError, plain_message
from unet_exp.files import write_json, write_text

State = Literal["running", "finished", "failed", "interrupted"]


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
        write_json(self.status_file, {"state": state, "reason": reason, "time": datetime.now(UTC).isoformat()})

    def status(self) -> dict[str, Any]:
        """What status.json holds, empty if it is absent or damaged."""
        try:
            status = json.loads(self.status_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return status if isinstance(status, dict) else {}

    def checkpoint(self, name: str) -> Path:
        """Path of the checkpoint `best` or `last`.

        Raises:
            UserError: If the run has not written it.
        """
        path = self.checkpoints / f"{name}.ckpt"
        if not path.is_file():
            present = ", ".join(sorted(p.stem for p in self.checkpoints.glob("*.ckpt"))) or "none"
            raise UserError(f"{path} does not exist (checkpoints there: {present}). Did the training get that far?")
        return path

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Keep status.json truthful, whatever ends the block."""
        self.write_status("running")
        try:
            yield
        except RunInterruptedError as error:
            self.write_status("interrupted", str(error))
            raise
        except (KeyboardInterrupt, SystemExit) as error:
            self.write_status("interrupted", type(error).__name__)
            raise
        except BaseException as error:
            self.write_status("failed", f"{type(error).__name__}: {plain_message(error)}")
            raise
        self.write_status("finished")
