"""How a job has ended, from what it has recorded itself and what SLURM says."""

from pathlib import Path

from unet_exp.sweep.job import Job, JobState, recorded
from unet_exp.sweep.process import log_tail
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


def ended_state(job: Job, slurm_state: str, code: int | None, output: Path) -> tuple[JobState, str]:
    """State and reason of a job that SLURM has ended; a status.json that it could not write itself is put right.

    Args:
        job: Its folder must be free.
        slurm_state: For example COMPLETED; empty if SLURM has forgotten it.
        code: Its exit code, if that is known.
        output: What SLURM and the batch script have said.
    """
    state, reason = recorded(job.folder)
    if state in (JobState.FINISHED, JobState.INTERRUPTED) or (state is JobState.FAILED and code != 0):
        return state, reason
    if slurm_state in _STOPPED:
        job.folder.write_status("interrupted", _STOPPED[slurm_state])
        return JobState.INTERRUPTED, _STOPPED[slurm_state]
    reason = _FAILED.get(slurm_state) or _said(job, code, output)
    job.folder.write_status("failed", reason)
    return JobState.FAILED, reason


def _said(job: Job, code: int | None, output: Path) -> str:
    """Why a job failed that could not say so itself."""
    if code == IN_USE:
        return "another training was at work in its folder"
    for log in (job.log, output):
        lines = log_tail(log, 40)
        first = max((number for number, line in enumerate(lines) if line.startswith("error: ")), default=None)
        if first is not None:
            return " ".join(line.strip() for line in lines[first:]).removeprefix("error: ")
    return f"exit code {code}" if code is not None else "it ended without a word"
