"""How much memory the process has needed."""

import sys

import torch


def peak_memory_mb() -> float | None:
    """Peak since the process began, in MiB: of the GPU where one was used, else of main memory; None if unknown."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    if sys.platform == "win32":
        return None
    import resource  # exists on Unix only

    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
