"""The processes that torchrun has started, before torch.distributed connects them: turns, and what the first one says.

Lightning starts the further processes of `trainer=ddp` itself, once the first one has prepared everything. Those of
torchrun all start at the beginning.
"""

import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unet_exp.errors import ConfigError, UserError

_PAUSE = 0.2
_NEEDED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_PATIENCE = {"0": 4.0}
"""Seconds before a process tells its mistake, by its number on its host: the first process most likely has told it."""
_PATIENCE_OF_OTHERS = 8.0


def started_by_torchrun() -> bool:
    """Whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ and all(name in os.environ for name in _NEEDED)


def leave_the_word_to_the_first() -> None:
    """In a further process of torchrun, wait before an error is told.

    The first process fails alike, tells it, and has the others ended; only what concerns this one alone is told here.
    """
    if _is_further_process():
        time.sleep(_PATIENCE.get(os.environ["LOCAL_RANK"], _PATIENCE_OF_OTHERS))


@contextmanager
def first_process_tells() -> Iterator[None]:
    """In a further process of torchrun, hold back what is written to stderr until `tell_at_once`, or a failure.

    Hydra writes its errors by itself, the same ones in all processes.
    """
    if not _is_further_process():
        yield
        return
    before, sys.stderr = sys.stderr, io.StringIO()
    held = sys.stderr
    try:
        yield
    except SystemExit:
        if sys.stderr is held:
            leave_the_word_to_the_first()
        raise
    finally:
        sys.stderr = before
        sys.stderr.write(held.getvalue())


def tell_at_once() -> None:
    """End what `first_process_tells` has begun: nothing that is written from here on is the same in all processes."""
    if isinstance(sys.stderr, io.StringIO) and _is_further_process():
        sys.stderr = sys.__stderr__


def _is_further_process() -> bool:
    return started_by_torchrun() and os.environ["RANK"] != "0"


def devices_of_torchrun(trainer: dict[str, Any]) -> dict[str, int]:
    """`devices` and `num_nodes` for Lightning's trainer where torchrun decides them; empty elsewhere.

    Args:
        trainer: Block of the configuration.

    Raises:
        ConfigError: If the configuration asks for other numbers.
    """
    if not started_by_torchrun():
        return {}
    world, local = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    devices, nodes = trainer["devices"], int(trainer["num_nodes"])
    if devices in ("auto", -1, "-1") and nodes in (1, world // local):
        if world % local:
            raise ConfigError(["trainer: torchrun must start equally many processes on each host (--nproc_per_node)."])
        return {"devices": local, "num_nodes": world // local}
    number = len(devices) if isinstance(devices, list) else devices
    if str(number) == str(local) and nodes * local == world:
        return {}
    raise ConfigError(
        [
            f"trainer.devices, trainer.num_nodes: torchrun has started {world} processes ({local} on this host), but "
            f"the configuration asks for {number} on {nodes} host(s). Set trainer=ddp, or trainer.devices=auto "
            "trainer.num_nodes=1, and both are taken from torchrun."
        ]
    )


class Team:
    """All processes of a training that torchrun has started.

    Raises:
        UserError: From every method, if the first process is gone.
    """

    def __init__(self) -> None:
        from torch.distributed import PrefixStore  # type: ignore[attr-defined]
        from torch.distributed.rendezvous import rendezvous

        self.rank, self._size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self._first_of_host = os.environ["LOCAL_RANK"] == "0"
        self._hosts = self._size // int(os.environ["LOCAL_WORLD_SIZE"])
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store, *_ = next(iter(rendezvous("env://")))
        self._store = PrefixStore(f"unet_exp/{attempt}", store)
        if attempt != "0":
            self._fresh = self._with_fresh_store()

    @classmethod
    def of_this_process(cls) -> "Team | None":
        """None where this process is alone, or was started by Lightning."""
        return cls() if started_by_torchrun() and os.environ["WORLD_SIZE"] != "1" else None

    def _with_fresh_store(self) -> Any:
        """Let torch.distributed connect the processes through a store without the entries of an earlier attempt.

        torchrun (torch 2.13) keeps its own one over all attempts, and torch then looks for processes that are dead.
        """
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        server = None
        if self.rank == 0:
            host = os.environ["MASTER_ADDR"]
            server = TCPStore(host, 0, self._size, is_master=True, multi_tenant=True, wait_for_workers=False)
            self._ask(lambda: self._store.set("port", str(server.port)))
        self._wait(lambda: self._store.check(["port"]))
        os.environ["MASTER_PORT"] = self._ask(lambda: self._store.get("port")).decode()
        os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"  # rank 0 has the store, not torchrun
        return server  # it lives as long as there is a reference to it

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let the first process do something, then one of each other host, then the rest; nobody leaves before all.

        What the first one has made on a shared disk, and the first one of a host on the disk of that host, the others
        find there. There is no limit to the time that it takes.
        """
        before = 0 if self.rank == 0 else 1 if self._first_of_host else self._hosts
        self._wait(lambda: self._done() >= before)
        yield
        self._ask(lambda: self._store.add("done", 1))
        self._wait(lambda: self._done() >= self._size)

    def tell(self, what: dict[str, Any]) -> None:
        """In the first process: say something to all others."""
        self._ask(lambda: self._store.set("told", json.dumps(what)))

    def hear(self) -> dict[str, Any]:
        """In the others: what the first process says."""
        self._wait(lambda: self._store.check(["told"]))
        heard: dict[str, Any] = json.loads(self._ask(lambda: self._store.get("told")))
        return heard

    def _done(self) -> int:
        return int(self._store.add("done", 0))

    def _wait(self, is_true: Callable[[], bool]) -> None:
        while not self._ask(is_true):
            time.sleep(_PAUSE)

    @staticmethod
    def _ask(question: Callable[[], Any]) -> Any:
        try:
            return question()
        except RuntimeError:  # what torch raises where the store does not answer
            raise UserError("The first process of this training has ended; its message says why.") from None


def folder_of_earlier_attempt() -> Path | None:
    """The run folder of the training that torchrun has started again (`--max-restarts`) after a process had died."""
    note = _note()
    if note is None or not note.is_file():
        return None
    folder = Path(note.read_text(encoding="utf-8"))
    return folder if folder.is_dir() else None


def remember_folder(folder: Path) -> None:
    """Let the next attempt of this torchrun know the run folder."""
    note = _note()
    if note is not None:
        note.write_text(str(folder.resolve()), encoding="utf-8")


def _note() -> Path | None:
    """A file in the folder that each torchrun makes for itself: <folder>/attempt_<n>/<rank>/error.json."""
    error_file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if error_file is None:
        return None
    attempt = Path(error_file).parent.parent
    return attempt.parent / "unet_exp_run_folder" if attempt.name.startswith("attempt_") else None
