"""How fast training batches come, and how fast the usual ways are on the same machine in the same run.

Usage: ``python -m benchmarks.data`` at the root of the repository, see benchmarks/README.md.
"""

import argparse
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import torch

from benchmarks._contestants import Workload, crop_contestants, photograph_contestants
from benchmarks._ours import CROP, region_module
from benchmarks._processes import scaling_table
from benchmarks._stages import stage_table
from benchmarks._timing import rate_table, table, time_in_turns
from unet_exp.data._store import Store


def crops(workload: Workload, options: argparse.Namespace) -> str:
    """Crops per second of everybody."""
    contestants = crop_contestants(workload)
    time_in_turns(contestants, repetitions=options.repetitions, seconds=options.seconds)
    return rate_table(contestants, reference=contestants[0], unit="crops/s")


def photographs(workload: Workload, options: argparse.Namespace) -> str:
    """Whole images per second of everybody."""
    contestants = photograph_contestants(workload)
    time_in_turns(contestants, repetitions=options.repetitions, seconds=options.seconds)
    return rate_table(contestants, reference=contestants[0], unit="images/s")


def stages(workload: Workload, options: argparse.Namespace) -> str:
    """Where the time of a crop goes."""
    datamodule = region_module(workload.write_regions(), augmentation="color")
    return stage_table(datamodule, seconds=options.seconds * options.repetitions)


def opening(workload: Workload, options: argparse.Namespace) -> str:
    """Milliseconds from nothing to an open store, and to a dataset ready for its first sample."""
    regions = workload.write_regions()
    store = region_module(regions, augmentation="color").collection.store
    datamodules = [region_module(regions, augmentation="color") for _ in range(options.repetitions)]
    rows = [
        ("open the store", _milliseconds([lambda: Store(store.folder, store.key)] * options.repetitions)),
        (
            "list the files, compare them with the catalogue, open the store, build the dataset",
            _milliseconds([lambda d=d: d.train_dataset for d in datamodules]),
        ),
    ]
    return table(("", "ms"), rows)


def _milliseconds(calls: list[Callable[[], object]]) -> str:
    times = []
    for call in calls:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return f"{1000 * statistics.median(times):.1f}"


def processes(workload: Workload, options: argparse.Namespace) -> str:
    """Worker processes, on all cores."""
    return scaling_table(
        workload.write_regions(),
        workers=options.workers,
        repetitions=options.repetitions,
        seconds=options.seconds,
    )


PARTS: dict[str, Callable[[Workload, argparse.Namespace], str]] = {
    function.__name__: function for function in (crops, photographs, stages, opening, processes)
}


def machine() -> str:
    """What the numbers depend on."""
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    installed = {distribution.name: distribution.version for distribution in importlib.metadata.distributions()}
    packages = ("torch", "numpy", "opencv-python-headless", "albumentations", "monai", "nnunetv2")
    versions = [f"{name} {installed[name]}" for name in packages if name in installed]
    return (
        f"{os.cpu_count()} cores of {cpu.partition(': ')[2]}, {memory:.0f} GiB; {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}, {', '.join(versions)}"
    )


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"what to measure; all if none: {', '.join(PARTS)}")
    parser.add_argument("--folder", type=Path, default=Path("data/benchmark"), help="generated files; kept")
    parser.add_argument("--repetitions", type=int, default=7, help="how often each contestant is timed")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each time takes")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4], help="numbers of worker processes")
    parser.add_argument("--regions", type=int, default=8, help="large regions that crops are taken from")
    parser.add_argument("--side", type=int, default=4096, help=f"side of a region in pixels, at least {CROP}")
    parser.add_argument("--photographs", type=int, default=200, help="whole images")
    options = parser.parse_args()
    if unknown := sorted({*options.parts} - {*PARTS}):
        parser.error(f"unknown part {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    return options


def main() -> None:
    """Measure and print Markdown."""
    options = parse_arguments()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    workload = Workload(options.folder, options.regions, options.side, options.photographs)
    cores = os.sched_getaffinity(0)
    print(machine())
    for name in options.parts or PARTS:
        # One core for what is timed in one process, so that it is not moved between caches.
        os.sched_setaffinity(0, cores if name == "processes" else {max(cores)})
        print(f"\n{name}\n\n{PARTS[name](workload, options)}", flush=True)


if __name__ == "__main__":
    main()
