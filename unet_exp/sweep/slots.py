"""Slots: each running job has its own GPUs and its share of the CPU threads."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unet_exp.errors import ConfigError, counted

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Slot:
    """What one job may use.

    Args:
        number: Counts from 0.
        gpus: Devices as CUDA_VISIBLE_DEVICES names them; empty: none.
        threads: CPU threads of all processes of the job together.
    """

    number: int
    gpus: tuple[str, ...]
    threads: int

    def environment(self, processes: int, outer: Mapping[str, str]) -> dict[str, str]:
        """The variables that keep a job within its slot.

        Args:
            processes: So many processes of the job share the threads.
            outer: Environment of the sweep; a lower number of threads there is kept.
        """
        threads = max(1, self.threads // max(1, processes))
        limits = thread_limits(threads, outer)
        devices = {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)}
        if self.gpus and "CUDA_VISIBLE_DEVICES" not in outer:
            devices["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # as nvidia-smi numbers them; CUDA alone may do otherwise
        return limits | devices

    def __str__(self) -> str:
        threads = counted(self.threads, "CPU thread")
        return f"GPU {','.join(self.gpus)}, {threads}" if self.gpus else threads


def thread_limits(threads: int, outer: Mapping[str, str]) -> dict[str, str]:
    """The variables that limit the threads of a process.

    Args:
        threads: At most so many.
        outer: A lower number in this environment is kept; one for OpenMP holds for the other libraries too.
    """
    shared = _lower(threads, outer.get(_THREAD_VARIABLES[0]))
    return {name: str(_lower(shared, outer.get(name))) for name in _THREAD_VARIABLES}


def make_slots(
    n_jobs: int | None, gpus_per_job: int | None, gpus: Sequence[str], cores: int | None = None
) -> list[Slot]:
    """Divide GPUs and CPU cores among jobs that run at the same time.

    Args:
        n_jobs: Jobs at a time; None: as many as the GPUs allow, without GPUs one.
        gpus_per_job: GPUs of each job; None: one, if there are any.
        gpus: Devices to hand out; one that is named twice serves two jobs.
        cores: CPU cores to share; None: all that this process may use.

    Raises:
        ConfigError: If there are fewer GPUs than asked for.
    """
    each = min(1, len(gpus)) if gpus_per_job is None else gpus_per_job
    if each > len(gpus):
        raise ConfigError([f"hydra.launcher.gpus_per_job: {each} asked for, but there are {len(gpus)}."])
    number = n_jobs or (len(gpus) // each if each else 1)
    if number * each > len(gpus):
        raise ConfigError(
            [
                f"hydra.launcher.n_jobs: {counted(number, 'job')} of {counted(each, 'GPU')} each need {number * each}, "
                f"but there are {len(gpus)} ({', '.join(gpus)}). To let jobs share a GPU on purpose, name it several "
                f"times: hydra.launcher.gpus=[{gpus[0]},{gpus[0]}]"
            ]
        )
    threads = max(1, (cores or _usable_cores()) // number)
    return [Slot(k, tuple(gpus[k * each : (k + 1) * each]), threads) for k in range(number)]


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """The GPUs that this process may use, found without importing torch.

    Args:
        environment: CUDA_VISIBLE_DEVICES in it decides; where it is not set, nvidia-smi is asked.
    """
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return _installed_gpus()
    devices = []
    for device in (part.strip() for part in chosen.split(",")):
        if not device or device == "-1":  # CUDA ignores what follows the first invalid entry
            break
        devices.append(device)
    return devices


def _installed_gpus() -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=index", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []  # the program is there, but no driver or no device
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _lower(threads: int, outer: str | None) -> int:
    return min(threads, int(outer)) if outer and outer.isdigit() and int(outer) else threads
