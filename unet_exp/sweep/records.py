"""What a sweep keeps for tools: job.json beside each run, status.json and sweep.csv in its own folder."""

import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unet_exp.files import write_csv, write_json
from unet_exp.run.folder import RunFolder
from unet_exp.run.history import read_history, train_seconds
from unet_exp.sweep.job import Job, JobState

_JOB_FILE = "job.json"


class JobRecord:
    """job.json: which job a folder belongs to, how often it was started, how it last ended.

    Args:
        job: The job.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._file = job.folder.path / _JOB_FILE

    def write_start(self, pid: int) -> None:
        """Note another attempt."""
        write_json(self._file, _started(_read(self._file), pid) | _description(self._job))

    def write_end(self, exit_code: int | None) -> None:
        """Note how the attempt ended."""
        write_json(self._file, {**_read(self._file), "ended": _now(), "exit_code": exit_code})

    def write_submission(self, slurm_id: str) -> None:
        """Note that SLURM has it."""
        kept = _read(self._file)
        write_json(self._file, {**kept, **_description(self._job), "slurm_id": slurm_id, "timeouts": 0})


def read_record(folder: Path) -> dict[str, Any]:
    """What job.json in a run folder says, empty if there is none."""
    return _read(folder / _JOB_FILE)


def change_record(folder: Path, **changes: Any) -> None:
    """Change entries of job.json in a run folder, whose lock must be held."""
    write_json(folder / _JOB_FILE, {**read_record(folder), **changes})


def start_record(folder: Path, **more: Any) -> None:
    """Note in a run folder that this process becomes another attempt.

    Args:
        folder: Its lock must be held.
        more: Further entries.
    """
    write_json(folder / _JOB_FILE, {**_started(read_record(folder), os.getpid()), **more})


def _started(kept: Mapping[str, Any], pid: int) -> dict[str, Any]:
    return {
        **kept,
        "attempts": int(kept.get("attempts", 0)) + 1,
        "host": socket.gethostname(),
        "pid": pid,
        "started": _now(),
        "ended": None,
        "exit_code": None,
    }


def write_sweep(folder: Path, jobs: Sequence[Job], state: str) -> None:
    """Write status.json and sweep.csv; jobs of other commands in the same folder are in them too.

    Args:
        folder: The folder of the sweep.
        jobs: All jobs of this command.
        state: Where the sweep stands: running, finished, failed, interrupted, or detached if its jobs go on in SLURM.
    """
    rows = [_row(job.folder, _description(job), job.state, job.reason) for job in jobs]
    rows += _other_rows(folder, {job.label for job in jobs})
    columns = list(dict.fromkeys(key for row in rows for key in row))
    write_csv(folder / "sweep.csv", rows, columns)
    counts = {name: sum(row["state"] == name for row in rows) for name in JobState}
    status = {
        "state": state,
        "time": _now(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "counts": {str(name): count for name, count in counts.items() if count},
        "jobs": {row["run"]: {"state": row["state"], "reason": row["reason"]} for row in rows},
    }
    write_json(folder / "status.json", status)


def _other_rows(folder: Path, known: set[str]) -> Iterator[dict[str, Any]]:
    for file in sorted(folder.glob(f"*/{_JOB_FILE}")):
        if file.parent.name not in known:
            run = RunFolder(file.parent)
            status = run.status()
            yield _row(run, _read(file), status.get("state", JobState.WAITING), status.get("reason", ""))


def _row(folder: RunFolder, described: Mapping[str, Any], state: str, reason: str) -> dict[str, Any]:
    history = read_history(folder.history_file)
    monitor = str(described.get("monitor", "val/dice"))
    scores = [row[monitor] for row in history if monitor in row]
    test = _read(folder.metrics_file).get("test") or {}
    return {
        "run": folder.path.name,
        "state": str(state),
        **{key: described[key] for key in ("arm", "recipe") if key in described},
        **{key: described.get(key) for key in ("model", "data", "loss", "seed")},
        "epochs": len(history),
        "score": monitor,
        "best": max(scores, default=None),
        "test_dice": test.get("dice"),
        "train_seconds": round(train_seconds(history), 1),
        "reason": " ".join(reason.split()),
        "overrides": " ".join(described.get("overrides", ())),
    }


def _description(job: Job) -> dict[str, Any]:
    names = {group: job.names.get(group) for group in ("model", "data", "loss")}
    names |= {group: job.names[group] for group in ("arm", "recipe") if job.names.get(group)}
    return {**names, "seed": job.config["seed"], "monitor": job.config["monitor"], "overrides": list(job.overrides)}


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _now() -> str:
    return datetime.now(UTC).isoformat()
