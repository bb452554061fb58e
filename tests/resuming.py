"""Trainings that are stopped and continued, compared bit by bit with one that was not: for the tests, and many times.

    python -m tests.resuming --times 200

Each training is a process, forked so that nothing is imported again. It is stopped by SIGTERM, SIGINT or SIGKILL, at a
random time or at a random event (so that short phases such as the end of a validation are hit as well), and continued
with another number of workers, until it is finished.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch

import torch
from lightning.pytorch import Callback, Trainer

from tests import fake
from tests.runs import NAMES, tiny
from unet_exp.cli import run_command
from unet_exp.config import compose_config
from unet_exp.run.checkpoint_io import read_checkpoint
from unet_exp.run.history import read_history
from unet_exp.training import train

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
EVENTS = {"train_batch": 30, "validation_batch": 6, "validation_start": 3, "validation_end": 3, "epoch_end": 3}
"""What a training can be stopped at, and how often that comes."""

SETTINGS = (
    "trainer.max_epochs=3",
    "data.patches_per_epoch=40",
    "callback=[ema,early_stopping]",
    "scheduler=one_cycle",
    "augmentation=nnunet_like",
    "checkpoint.every_n_steps=3",
    "test_after_training=false",
)
VARIANTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "accumulated": ("trainer.accumulate_grad_batches=4",),
    "rarely validated": ("trainer.check_val_every_n_epoch=2",),
    "counted in steps": ("trainer.max_steps=20",),
    "stopped early": ("callback.early_stopping.patience=1", "callback.early_stopping.min_delta=1", "optim.lr=1e-9"),
    "bf16": ("trainer.precision=bf16-mixed",),
}
WORKERS = (0, 1, 3)


class Interrupt(Callback):
    """Sends a signal to its own process, in distributed training to the first one.

    Args:
        event: One of EVENTS.
        count: How many of them come before.
        number: The signal.
    """

    def __init__(self, event: str, count: int, number: int) -> None:
        self._left = {event: count}
        self._number = number

    def _pass(self, event: str, trainer: Trainer) -> None:
        if event in self._left and trainer.is_global_zero:
            self._left[event] -= 1
            if self._left[event] < 0:
                del self._left[event]
                os.kill(os.getpid(), self._number)

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        self._pass("train_batch", trainer)

    def on_validation_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        self._pass("validation_start", trainer)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        self._pass("validation_batch", trainer)

    def on_validation_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        self._pass("validation_end", trainer)

    def on_train_epoch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        self._pass("epoch_end", trainer)


class Record(Callback):
    """Writes a line for every batch: epoch, number and a digest of its pixels.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        digest = hashlib.sha256(b"".join(batch[name].numpy().tobytes() for name in sorted(batch))).hexdigest()
        with self._path.open("a") as file:
            file.write(f"{trainer.current_epoch} {batch_idx} {digest}\n")


@dataclass
class Place:
    """Where the trainings of one variant happen.

    Args:
        folder: For output and logs.
        root: The dataset.
        settings: Overrides of every training.
    """

    folder: Path
    root: Path
    settings: tuple[str, ...]

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def batches(self) -> Path:
        return self.folder / "batches.txt"

    def overrides(self, *more: str) -> list[str]:
        record = f"+callback.record={{_target_: tests.resuming.Record, path: {self.batches}}}"
        return tiny(self.root, self.folder / "out", *self.settings, record, *more)

    def run_folder(self) -> Path | None:
        found = [path.parent for path in self.folder.glob("out/*/*/config.yaml")]
        return found[0] if found else None


def start(place: Place, *overrides: str) -> int:
    """Start a training in a process of its own, in a process group of its own; returns its id."""
    place.folder.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        handle = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        given = place.overrides(*overrides)
        try:
            run_command(lambda: train(compose_config("train", given), names=NAMES, overrides=given))
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def finish(process: int) -> int:
    """Wait; returns the exit code, that of a signal negative."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def stop_at_time(process: int, seconds: float, number: int, *, group: bool) -> int:
    """Let a training run for a time, then send the signal to it or to its whole group."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    (os.killpg if group else os.kill)(process, number)
    return finish(process)


def differences(run: Path, batches: Path, reference: Path, reference_batches: Path) -> list[str]:
    """In what two finished trainings differ; empty if they agree to the last bit."""
    found = []
    for name in ("last", "best"):
        one, other = (read_checkpoint(folder / "checkpoints" / f"{name}.ckpt") for folder in (run, reference))
        for content in (one, other):
            del content["unet_exp"]  # holds paths
            content["callbacks"].pop("HistoryWriter")  # holds seconds
        found += [f"{name}.ckpt: {place}" for place in _unequal(one, other)]
    one, other = (
        [{k: v for k, v in row.items() if k != "seconds"} for row in read_history(folder / "history.csv")]
        for folder in (run, reference)
    )
    found += [f"history.csv: {place}" for place in _unequal(one, other)]
    lines = [sorted(set(path.read_text().splitlines())) for path in (batches, reference_batches)]
    if lines[0] != lines[1]:
        found.append("order or content of the batches")
    leftovers = [path.name for path in run.rglob(".*")]
    if leftovers:
        found.append(f"left over: {leftovers}")
    return found


def _unequal(one: Any, other: Any, place: str = "") -> list[str]:
    if type(one) is not type(other):
        return [f"{place}: {one!r} and {other!r}"]
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [place]
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [f"{place}: {sorted(map(str, one.keys() ^ other.keys()))}"]
        return [problem for key in one for problem in _unequal(one[key], other[key], f"{place}/{key}")]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [f"{place}: {len(one)} and {len(other)} entries"]
        return [p for i, (a, b) in enumerate(zip(one, other, strict=True)) for p in _unequal(a, b, f"{place}/{i}")]
    return [] if one == other or (one != one and other != other) else [f"{place}: {one!r} and {other!r}"]


@dataclass
class Tally:
    """What came of many stops."""

    stops: Counter = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    trainings: int = 0


class Trial:
    """Stops and continues trainings of one variant.

    Args:
        folder: For everything.
        root: The dataset.
        variant: Name of it.
    """

    def __init__(self, folder: Path, root: Path, variant: str) -> None:
        settings = (*SETTINGS, *VARIANTS[variant])
        self._make = lambda name: Place(folder / name, root, settings)
        self._variant = variant
        self._number = itertools.count()
        self.reference = self._make("whole")
        started = time.monotonic()
        code = finish(start(self.reference))
        assert code == 0, self.reference.log.read_text()
        self.seconds = time.monotonic() - started

    def run(self, rng: random.Random, tally: Tally, stops: int) -> None:
        """Stop one training at most so many times, then let it finish, and compare."""
        place = self._make(f"stopped-{next(self._number)}")
        tally.trainings += 1
        killed = False
        for _ in range(stops):
            label, code = self._stop(place, rng)
            if code == 0:
                tally.stops["came after the end"] += 1
                break
            tally.stops[label] += 1
            killed |= code == -signal.SIGKILL
            expected = {128 + int(number) for number in SIGNALS[:2]} | {-int(number) for number in SIGNALS}
            if code not in expected:
                tally.problems.append(f"{place.folder}: exit code {code} after {label}: {place.log.read_text()[-500:]}")
        code = finish(start(place, *self._how_to_continue(place, rng)))
        run, reference = place.run_folder(), self.reference.run_folder()
        assert reference is not None
        if code != 0 or run is None:
            tally.problems.append(f"{place.folder}: exit code {code} at the end: {place.log.read_text()[-2000:]}")
            return
        found = differences(run, place.batches, reference, self.reference.batches)
        lines = place.batches.read_text().splitlines()
        if not killed and len(lines) != len(set(lines)):
            found.append("batches were trained twice although nothing was killed")
        tally.problems += [f"{self._variant}, {place.folder}: {difference}" for difference in found]

    def _stop(self, place: Place, rng: random.Random) -> tuple[str, int]:
        number = rng.choice(SIGNALS)
        how = self._how_to_continue(place, rng)
        if rng.random() < 0.5:
            event = rng.choice(list(EVENTS))
            count = rng.randrange(EVENTS[event])
            interrupt = f"{{_target_: tests.resuming.Interrupt, event: {event}, count: {count}, number: {int(number)}}}"
            return f"{number.name} at {event}", finish(start(place, *how, f"+callback.interrupt={interrupt}"))
        process = start(place, *how)
        seconds = rng.uniform(0.1, 1.0) * self.seconds
        return f"{number.name} at a time", stop_at_time(process, seconds, number, group=rng.random() < 0.5)

    def _how_to_continue(self, place: Place, rng: random.Random) -> list[str]:
        """Resume what has a checkpoint; what has none begins anew."""
        how = [f"loader.num_workers={rng.choice(WORKERS)}"]
        run = place.run_folder()
        if run is None:
            return how
        if any((run / "checkpoints").glob("last*.ckpt")):
            return [*how, f"resume={run}"]
        for path in sorted(run.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        run.rmdir()
        place.batches.unlink(missing_ok=True)
        return how


def main(arguments: Sequence[str] | None = None) -> None:
    """Stop trainings so many times; prints a table and exits with 1 if any differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200, help="stops altogether")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rng, tally = random.Random(given.seed), Tally()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["UNET_EXP_STORE"] = str(folder / "store")
        root = fake.bcss(folder / "data")
        trials = [Trial(folder / name.replace(" ", "-"), root, name) for name in given.variants]
        for trial in itertools.cycle(trials):
            trial.run(rng, tally, stops=rng.randint(1, 3))
            made = sum(tally.stops.values()) - tally.stops["came after the end"]
            print(f"{made} stops, {tally.trainings} trainings, problems: {tally.problems}", flush=True)
            if made >= given.times:
                break
    for label, count in sorted(tally.stops.items()):
        print(f"{count:5d}  {label}")
    print(json.dumps(tally.problems, indent=2))
    raise SystemExit(1 if tally.problems else 0)


if __name__ == "__main__":
    main()
