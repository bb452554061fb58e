"""Several processes that talk through gloo, for tests: forked, so that nothing is imported again."""

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed


def on_ranks(count: int, folder: Path, work: Callable[[int], Any]) -> list[Any]:
    """Let forked processes work together.

    Args:
        count: How many.
        folder: For what they exchange; used once.
        work: Takes the rank, gives tensors or plain values.

    Returns:
        What each gave, by rank.
    """
    folder.mkdir(parents=True)
    processes = [_fork(rank, count, folder, work) for rank in range(count)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    errors = [path.read_text() for path in sorted(folder.glob("*.error"))]
    assert codes == [0] * count, "\n".join(errors)
    return [torch.load(folder / f"{rank}.result") for rank in range(count)]


def _fork(rank: int, count: int, folder: Path, work: Callable[[int], Any]) -> int:
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        store = distributed.FileStore(str(folder / "store"), count)
        distributed.init_process_group("gloo", store=store, rank=rank, world_size=count)
        torch.save(work(rank), folder / f"{rank}.result")
        distributed.barrier()
        distributed.destroy_process_group()
        code = 0
    except BaseException:
        (folder / f"{rank}.error").write_text(traceback.format_exc())
    finally:
        os._exit(code)
