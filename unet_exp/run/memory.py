"""How much memory the process has needed."""

import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")


def peak_memory_mb() -> float | None:
    """Peak since the process began, in MiB: of the GPU where one was used, else of main memory; None if unknown."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    if _STATUS.is_file():  # Linux; what getrusage says there includes the peak of the parent process before the start
        peak = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 1024
    if sys.platform == "win32":
        return None
    import resource  # exists on Unix only

    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
