"""Processes that write checkpoints without pause are killed at random moments; what they leave is looked at.

    python -m tests.kill_checkpoints --times 200

On a slow disk (every write and every fsync takes its time), and on one that is nearly full (a small file system in
memory, filled with ballast to another degree each time; needs the permission to mount).
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch

import torch

from unet_exp.errors import UserError
from unet_exp.run import checkpoint_io
from unet_exp.run.checkpoint_io import DurableCheckpointIO, read_checkpoint
from unet_exp.run.disk import remove_temporary_files

NAMES = ("last", "last-previous", "best")
VALUES = 250_000
"""Numbers in a checkpoint, 1 MB."""
DISK_SIZE = 5 * 2**20


def content(number: int) -> dict:
    """A checkpoint that shows whether it is of one piece."""
    tensor = torch.arange(VALUES, dtype=torch.int32) * number
    return {"state_dict": {"weight": tensor}, "number": number}


def _be_slow(rng: random.Random) -> None:
    """Let each write and fsync of this process take a while."""
    write, sync = checkpoint_io._HashedStream._pass_on, os.fsync

    def slow_write(self, data) -> None:
        view = memoryview(data)
        for start in range(0, len(view), 2**17):
            time.sleep(rng.uniform(0, 0.002))
            write(self, view[start : start + 2**17])

    def slow_sync(handle: int) -> None:
        time.sleep(rng.uniform(0, 0.01))
        sync(handle)

    checkpoint_io._HashedStream._pass_on = slow_write
    os.fsync = slow_sync


def _write_forever(folder: Path, first: int, acknowledge: int, *, slow: bool) -> None:
    """What a training does, only without training."""
    remove_temporary_files(folder.parent)
    if slow:
        _be_slow(random.Random(first))
    plugin, number = DurableCheckpointIO(), first
    while True:
        also = folder / "best.ckpt" if number % 3 == 0 else None
        try:
            plugin.save_checkpoint(content(number), folder / "last.ckpt", {"also": also})
        except UserError:
            os.write(acknowledge, b"full\n")
            time.sleep(0.002)
            continue
        os.write(acknowledge, f"{number}\n".encode())
        number += 1


def kill_one(folder: Path, first: int, rng: random.Random, *, slow: bool) -> tuple[int, int]:
    """Start a writer and kill it; returns the last number that it had written, and how often the disk was full."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        try:
            _write_forever(folder, first, write_end, slow=slow)
        finally:
            os._exit(1)
    os.close(write_end)
    time.sleep(rng.uniform(0.0, 0.4))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(read_end) as file:
        lines = [line for line in file.read().splitlines() if line]
    numbers = [int(line) for line in lines if line != "full"]
    return (numbers[-1] if numbers else first - 1), lines.count("full")


def problems(folder: Path, acknowledged: int) -> list[str]:
    """What is wrong with the files that a killed writer has left, after what a new start clears away."""
    found = []
    remove_temporary_files(folder.parent)
    names = {path.name for path in folder.iterdir()}
    unknown = names - {f"{name}.ckpt" for name in NAMES}
    if unknown:
        found.append(f"left over: {sorted(unknown)}")
    numbers = {}
    for name in NAMES:
        path = folder / f"{name}.ckpt"
        if path.is_file():
            try:
                loaded = read_checkpoint(path)
            except UserError as error:
                found.append(str(error))
                continue
            numbers[name] = loaded["number"]
            if not torch.equal(loaded["state_dict"]["weight"], content(numbers[name])["state_dict"]["weight"]):
                found.append(f"{path} is of several pieces")
    if acknowledged and not acknowledged <= numbers.get("last", 0) <= acknowledged + 1:
        found.append(f"{acknowledged} was written, but {numbers.get('last')} is there")
    return found


def kill_often(
    folder: Path, times: int, rng: random.Random, *, slow: bool, ballast: Path | None
) -> tuple[Counter, list]:
    """Kill writers of one folder so many times.

    Args:
        folder: Where they write.
        times: How often.
        rng: Decides the moments.
        slow: Whether writing is slow.
        ballast: A file that fills the disk to another degree each time; None: the disk is not filled.

    Returns:
        Counts of what happened, and the problems found.
    """
    folder.mkdir(exist_ok=True)
    counts, found, written = Counter(), [], 0
    for _ in range(times):
        if ballast is not None:
            ballast.write_bytes(bytes(rng.randrange(2 * 2**20)))
        before = written
        written, full = kill_one(folder, written + 1, rng, slow=slow)
        counts["checkpoints written"] += written - before
        counts["times the disk was full"] += full
        counts["kills in the middle of a write"] += any(path.name.startswith(".") for path in folder.iterdir())
        counts["kills"] += 1
        found += problems(folder, written)
        last = folder / "last.ckpt"
        written = max(written, read_checkpoint(last)["number"]) if last.is_file() and not found else written
    return counts, found


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A small file system in memory; None where it cannot be mounted."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Kill so many writers on each kind of disk; prints counts and exits with 1 if anything was damaged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200, help="kills on each kind of disk")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to write; None: a temporary folder")
    given = parser.parse_args(arguments)
    rng, bad = random.Random(given.seed), []
    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        counts, found = kill_often(Path(temporary) / "slow", given.times, rng, slow=True, ballast=None)
        print("slow disk:", dict(counts), flush=True)
        bad += found
        with small_disk(Path(temporary) / "small") as disk:
            if disk is None:
                print("nearly full disk: not tried, no permission to mount", flush=True)
            else:
                ballast = disk / "ballast"
                counts, found = kill_often(disk / "checkpoints", given.times, rng, slow=False, ballast=ballast)
                print("nearly full disk:", dict(counts), flush=True)
                bad += found
    print("problems:", bad)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
