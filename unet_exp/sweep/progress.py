"""How far a job is, read from the history that it writes."""

import math
from dataclasses import dataclass
from typing import Any

from unet_exp.run.history import read_history
from unet_exp.sweep.job import Job


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Args:
        epochs: Epochs that are over.
        total: Epochs it will have, None if that is open.
        best: Best value of the monitored score so far.
        last: The latest one.
        seconds_left: Estimate for the remaining epochs, None before the first is over.
    """

    epochs: int
    total: int | None
    best: float | None
    last: float | None
    seconds_left: float | None

    @property
    def epoch_text(self) -> str:
        """For example 3/30."""
        return f"{self.epochs}/{self.total or '?'}"

    @property
    def time_text(self) -> str:
        """The time left, in words."""
        return "" if self.seconds_left is None else duration(self.seconds_left)


def read_progress(job: Job) -> Progress:
    """The progress of a job, from its history.csv."""
    rows = read_history(job.folder.history_file)
    epochs = int(rows[-1]["epoch"]) + 1 if rows else 0
    steps = rows[-1]["step"] / epochs if rows else 0.0
    total = _total_epochs(job.config["trainer"], steps)
    scores = [row[job.config["monitor"]] for row in rows if job.config["monitor"] in row]
    recent = [row["seconds"] for row in rows[-5:] if "seconds" in row]
    left = max(0, total - epochs) * sum(recent) / len(recent) if recent and total else None
    return Progress(epochs, total, max(scores, default=None), scores[-1] if scores else None, left)


def _total_epochs(trainer: dict[str, Any], steps_per_epoch: float) -> int | None:
    epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps")
    limits = [epochs] if epochs is not None and epochs > 0 else []
    if steps is not None and steps > 0 and steps_per_epoch:
        limits.append(math.ceil(steps / steps_per_epoch))
    return min(limits, default=None)


def duration(seconds: float) -> str:
    """For example 42 s, 3:05 min or 2:14 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    unit, small = ("min", whole) if whole < 3600 else ("h", whole // 60)
    return f"{small // 60}:{small % 60:02} {unit}"
