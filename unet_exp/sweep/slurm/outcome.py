"""How a job has ended, from what it has recorded itself and what SLURM says."""

from collections.abc import Iterable
from pathlib import Path

from unet_exp.sweep.job import Job, JobState, recorded
from unet_exp.sweep.process import log_tail, told_error
from unet_exp.sweep.records import read_record
from unet_exp.sweep.slurm.task import IN_USE

_STOPPED = {
    "CANCELLED": "cancelled",
    "DEADLINE": "cancelled at its deadline",
    "NODE_FAIL": "its node has failed",
    "PREEMPTED": "preempted",
    "REVOKED": "revoked",
    "TIMEOUT": "time limit, before it could save its state (give a longer hydra.launcher.signal_delay_s)",
}
"""Ends that are not the training's own fault."""
_FAILED = {
    "OUT_OF_MEMORY": "out of memory (give more hydra.launcher.mem_gb)",
    "BOOT_FAIL": "its node could not be started",
}


def has_started(job: Job, number: str) -> bool:
    """Whether a SLURM job came as far as its training; before, its folder tells of earlier attempts only."""
    decision = read_record(job.folder.path).get("decision") or {}
    return str(decision.get("attempt", "")).startswith(f"{number}.")


def ended_state(
    job: Job, slurm_state: str, code: int | None, output: Path, *, started: bool = True
) -> tuple[JobState, str]:
    """State and reason of a job that SLURM has ended; a status.json that it could not write itself is put right.

    Args:
        job: Its folder must be free.
        slurm_state: For example COMPLETED; empty if SLURM has forgotten it.
        code: Its exit code, if that is known.
        output: What SLURM and the batch script have said.
        started: Whether it came as far as its training.
    """
    state, reason = recorded(job.folder)
    known = state is JobState.INTERRUPTED or (state is JobState.FAILED and code != 0)
    if state is JobState.FINISHED or (started and known):
        return state, reason
    if slurm_state in _STOPPED:
        job.folder.write_status("interrupted", _STOPPED[slurm_state])
        return JobState.INTERRUPTED, _STOPPED[slurm_state]
    reason = _FAILED.get(slurm_state) or _said((job.log, output) if started else (output,), code)
    job.folder.write_status("failed", reason)
    return JobState.FAILED, reason


def _said(logs: Iterable[Path], code: int | None) -> str:
    """Why a job failed that could not say so itself."""
    if code == IN_USE:
        return "another training was at work in its folder"
    for log in logs:
        told = told_error(log)
        if told is not None:
            return told
    return f"exit code {code}" if code is not None else "it ended without a word"


def telling_logs(job: Job, output: Path, *, started: bool) -> list[Path]:
    """Where else to look for why a job failed: what SLURM said, and the logs of processes that had an error."""
    if not started:
        return [output]
    others = sorted(job.folder.path.glob("log-*.txt"))
    return [log for log in others if any("rror" in line for line in log_tail(log))]
