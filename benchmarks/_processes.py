"""Several worker processes: how fast they are together, and what they hold in memory."""

import multiprocessing
import os
import re
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks._ours import BATCH_SIZE, endless, region_module
from benchmarks._timing import batches_per_second, table

_HEADER = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ *(?P<file>.*)$")
_FIELD = re.compile(r"^(?P<name>\w+): +(?P<kib>\d+) kB$")


def scaling_table(regions: Path, *, workers: Sequence[int], repetitions: int, seconds: float) -> str:
    """Batches per second and memory with several numbers of worker processes.

    Memory is what Linux counts for the main process and its workers: a page that several processes map counts in
    each in full for the resident set size (RSS), and once in all for the proportional set size (PSS); the unique set
    size (USS) is what a process has for itself, here without the store.
    """
    rows = []
    for count in workers:
        datamodule = region_module(regions, augmentation="color", workers=count)
        batches = endless(datamodule)
        batches_per_second(batches, seconds)
        rates = [batches_per_second(batches, seconds) for _ in range(repetitions)]
        rows.append((str(count), *_speed(rates), *_memory(str(datamodule.collection.store.folder.resolve()))))
        batches.close()
    header = ("workers", "batches/s", "range", "crops/s", "store, sum of RSS", "store, sum of PSS", "USS of a worker")
    return table(header, rows)


def _speed(rates: Sequence[float]) -> tuple[str, str, str]:
    median = statistics.median(rates)
    return f"{median:.0f}", f"{min(rates):.0f} to {max(rates):.0f}", f"{BATCH_SIZE * median:.0f}"


def _memory(store: str) -> tuple[str, str, str]:
    """Mebibytes for the table: the maps of the store over all processes, and what a worker has besides."""
    workers = [_map_sizes(process.pid) for process in multiprocessing.active_children()]
    stored = [sizes for maps in (_map_sizes(os.getpid()), *workers) for file, sizes in maps.items() if store in file]
    unique = [
        sum(sizes["Private_Clean"] + sizes["Private_Dirty"] for file, sizes in maps.items() if store not in file)
        for maps in workers
    ]
    rss, pss = (sum(sizes[name] for sizes in stored) for name in ("Rss", "Pss"))
    return f"{rss / 1024:.0f}", f"{pss / 1024:.0f}", f"{statistics.median(unique) / 1024:.0f}" if unique else "-"


def _map_sizes(process: int | None) -> dict[str, Counter[str]]:
    """Kibibytes of every mapped file of a process, by the fields of /proc/<process>/smaps."""
    sizes: dict[str, Counter[str]] = {}
    file = ""
    for line in Path(f"/proc/{process}/smaps").read_text().splitlines():
        if header := _HEADER.match(line):
            file = header["file"]
        elif field := _FIELD.match(line):
            sizes.setdefault(file, Counter())[field["name"]] += int(field["kib"])
    return sizes
