"""Callbacks for distributed trainings in tests: what goes wrong in one process, and who writes."""

import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

_EVENTS = ("os.rename", "os.mkdir", "os.remove", "os.link", "os.truncate", "shutil.copyfile")


class Trouble(Callback):
    """Does something to one process after a training step, once.

    Args:
        what: ``kill`` (with SIGKILL), ``raise``, ``hang``, ``terminate`` (SIGTERM to the parent process),
            or ``full`` (no file can grow beyond 1000 bytes).
        rank: In which process.
        step: After how many optimiser steps.
        note: A file that remembers that it has happened.
    """

    def __init__(self, what: str, rank: int, step: int, note: str) -> None:
        self._what = what
        self._rank = rank
        self._step = step
        self._note = Path(note)

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if trainer.global_rank != self._rank or trainer.global_step != self._step or self._note.exists():
            return
        self._note.touch()
        if self._what == "raise":
            raise RuntimeError("cosmic ray")
        if self._what == "full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
            return
        if self._what == "hang":
            time.sleep(3600)
        if self._what == "terminate":
            os.kill(os.getppid(), signal.SIGTERM)
        else:
            os.kill(os.getpid(), signal.SIGKILL)


class WriterWatch(Callback):
    """Notes in each further process which files under a folder it opens for writing, makes, moves or removes.

    Args:
        folder: Watched.
        notes: Folder of the notes, one file per process, empty where nothing was written.
    """

    def __init__(self, folder: str, notes: str) -> None:
        rank = os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))
        note = Path(notes) / rank
        note.parent.mkdir(exist_ok=True)
        note.touch()

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            writes = event in _EVENTS or (event == "open" and _is_for_writing(arguments))
            if writes and any(str(path).startswith(folder) for path in arguments[:2]):
                with note.open("a") as file:
                    file.write(f"{event} {arguments}\n")

        sys.addaudithook(hook)


def _is_for_writing(arguments: tuple[Any, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
