"""Whole-image inference beside plain tiles, MONAI and nnU-Net: time, seams and memory.

Usage: ``python -m benchmarks.inference`` at the root of the repository; with the interpreter of benchmarks/README.md
MONAI and nnU-Net are measured too.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import torch
from torch import nn

from benchmarks import _peer_windows
from benchmarks._peak import RUNS, measure_in_process
from benchmarks._regions import make_region
from benchmarks._seams import STRIP, Seams, compare, fits_in_memory
from benchmarks._timing import table
from benchmarks._whole_images import (
    CLASSES,
    Labels,
    Predict,
    build_network,
    one_pass,
    ours,
    plain_tiles,
    shipped_options,
    train_network,
    use_all_processors,
)
from benchmarks.data import machine
from unet_exp.allocation import keep_freed_memory
from unet_exp.inference import ArrayReader
from unet_exp.run.environment import describe_environment

EXACT_HALO = 96
"""Pixels; more than the 92 that a UNet of depth 4 sees on each side of a pixel."""


@dataclass
class Contestant:
    """One way to predict a whole image.

    Args:
        name: For the table.
        predict: What is timed: bytes in, class ids out.
        once: Whether it is so slow that only the first turn has it.
    """

    name: str
    predict: Predict
    once: bool = False
    turns: list[tuple[float, float]] = field(default_factory=list, init=False)
    """Seconds, and seconds of all processors together, one pair per turn."""
    seams: Seams | None = field(default=None, init=False)


class Setting:
    """What all contestants share: the network, the image to time on, and one pass over the image to compare with.

    Seams are measured on the image that is timed, or, where memory does not suffice for one pass over it, on the
    upper left square that it suffices for.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.network = train_network(build_network(options.base_channels), options.steps)
        pixels = make_region(0, options.side)[0]
        self.image = ArrayReader(pixels)
        self.seam_side = options.seam_side or options.side
        while not fits_in_memory(self.seam_side, options.base_channels):
            self.seam_side //= 2
        self.seam_image = ArrayReader(pixels[: self.seam_side, : self.seam_side])
        with torch.inference_mode():
            self.reference = one_pass(self.network)(self.seam_image)

    def measure(self, contestants: Sequence[Contestant]) -> None:
        """Time everybody in turns and compare everybody's first labels with one pass."""
        for turn in range(self.options.repetitions):
            for contestant in contestants:
                if turn and contestant.once:
                    continue
                labels, seconds = _timed(lambda c=contestant: c.predict(self.image))
                contestant.turns.append(seconds)
                if not turn:
                    contestant.seams = compare(self._seam_labels(contestant, labels), self.reference)

    def _seam_labels(self, contestant: Contestant, labels: Labels) -> Labels:
        if labels.shape == self.reference.shape:
            return labels
        with torch.inference_mode():
            return contestant.predict(self.seam_image)


def _timed(predict: Callable[[], Labels]) -> tuple[Labels, tuple[float, float]]:
    with torch.inference_mode():
        wall, processors = time.perf_counter(), time.process_time()
        labels = predict()
        return labels, (time.perf_counter() - wall, time.process_time() - processors)


def speed(setting: Setting) -> str:
    """The engine as shipped beside the peers as they are used."""
    tile, network = setting.options.tile, setting.network
    shipped = shipped_options()
    contestants = [
        Contestant(f"plain tiles {tile}", plain_tiles(network, tile)),
        _own(network, shipped, note=" (`inference=halo`)"),
        _own(network, {**shipped, "window_size": tile, "halo": None, "overlap": 0.25, "blend": "gaussian"}),
    ]
    if _found("monai"):
        contestants += [
            Contestant(f"MONAI, window {tile}, overlap {overlap}, gaussian", predict, once=overlap > 0.25)
            for overlap in (0.25, 0.5)
            for predict in [_peer_windows.monai(network, tile, overlap)]
        ]
    if _found("nnunetv2"):
        name = f"nnU-Net, window {tile}, step 0.5, gaussian, no mirroring"
        contestants.append(Contestant(name, _peer_windows.nnunet(network, tile), once=True))
    setting.measure(contestants)
    return _result_table(contestants)


def windows(setting: Setting) -> str:
    """What larger windows, thinner halos and other blends would give; the last one has no seams at all."""
    options, network, shipped = setting.options, setting.network, shipped_options()
    smallest, *larger = options.window_sizes
    halo = shipped["halo"]
    contestants = [Contestant(f"plain tiles {side}", plain_tiles(network, side)) for side in (options.tile, smallest)]
    points = [
        *((smallest, each, "linear") for each in options.halos),
        *((side, halo, "linear") for side in larger),
        (smallest, halo, "crop"),
        (smallest, halo, "gaussian"),
        (larger[-1] if larger else smallest, EXACT_HALO, "crop"),
    ]
    contestants += [
        _own(network, {**shipped, "window_size": side, "halo": each, "blend": blend}) for side, each, blend in points
    ]
    if _found("monai"):
        name = f"MONAI, window {smallest}, overlap {2 * halo} pixels, gaussian"
        contestants.append(Contestant(name, _peer_windows.monai(network, smallest, 2 * halo / smallest)))
    setting.measure(contestants)
    return _result_table(contestants)


def memory(options: argparse.Namespace) -> str:
    """Peak resident memory of a process of its own for each side of a square image."""
    names = {"ours": None, "tiles": None, "monai": "monai", "nnunet": "nnunetv2"}
    present = [who for who in RUNS if names[who] is None or _found(names[who])]
    rows = []
    for side in options.sides:
        cells = []
        for who in present:
            if who != "ours" and side not in options.peer_sides:
                cells.append("-")
                continue
            peak = measure_in_process(who, side, options.memory_channels)
            cells.append(f"{peak.end:.0f} ({peak.end - peak.start:.0f})")
        rows.append((f"{side} x {side}", *cells))
    titles = {"ours": "ours, `inference=halo`", "tiles": "plain tiles 512", "monai": "MONAI", "nnunet": "nnU-Net"}
    return table(("image", *(titles[who] for who in present)), rows)


def _own(network: nn.Module, options: dict[str, Any], *, note: str = "") -> Contestant:
    reach = f"overlap {options['overlap']}" if options["halo"] is None else f"halo {options['halo']}"
    name = f"ours, window {options['window_size']}, {reach}, {options['blend']}{note}"
    return Contestant(name, ours(network, options))


def _found(package: str) -> bool:
    found = _peer_windows.is_installed(package)
    if not found:
        print(f"{package} is not installed and left out, see benchmarks/README.md", file=sys.stderr)
    return found


def _result_table(contestants: Sequence[Contestant]) -> str:
    """Medians of the ratios to the first contestant within each turn, and what differs from one pass."""
    reference = contestants[0].turns
    rows = []
    for contestant in contestants:
        pairs = list(zip(contestant.turns, reference, strict=False))  # some have the first turn only
        walls, processors = ([own[i] / plain[i] for own, plain in pairs] for i in (0, 1))
        assert contestant.seams is not None
        row = (
            contestant.name,
            f"{statistics.median(seconds for seconds, _ in contestant.turns):.1f}",
            f"{statistics.median(walls):.2f}",
            f"{min(walls):.2f} to {max(walls):.2f}" if len(walls) > 1 else "once",
            f"{statistics.median(processors):.2f}",
            *(f"{1e6 * share:.0f}" for share in contestant.seams),
        )
        rows.append(row)
    header = ("s", "ratio to plain tiles", "range", "ratio of processor time", "differ", "differ in the worst strip")
    return table(("", *header), rows)


PARTS: dict[str, Callable[[Setting], str]] = {"speed": speed, "windows": windows}


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference", description=__doc__)
    parts = [*PARTS, "memory"]
    parser.add_argument("parts", nargs="*", metavar="part", help=f"what to measure; all if none: {', '.join(parts)}")
    parser.add_argument("--side", type=int, default=4096, help="side of the image that is timed")
    parser.add_argument("--seam-side", type=int, help="side of the image that seams are measured on; that one if none")
    parser.add_argument("--tile", type=int, default=512, help="side of plain tiles and of the peers' windows")
    parser.add_argument("--steps", type=int, default=60, help="training steps of the network")
    parser.add_argument("--base-channels", type=int, default=16, help="width of the network")
    parser.add_argument("--repetitions", type=int, default=3, help="turns; peers with half overlap have the first only")
    parser.add_argument("--keep-memory", action="store_true", help="glibc keeps freed memory, for all contestants")
    parser.add_argument("--window-sizes", type=int, nargs="+", default=[1088, 1536, 2112], help="for `windows`")
    parser.add_argument("--halos", type=int, nargs="+", default=[16, 32, 48, 64], help="for `windows`")
    parser.add_argument("--sides", type=int, nargs="+", default=[4096, 8192, 16384], help="squares for `memory`")
    parser.add_argument("--peer-sides", type=int, nargs="*", default=[4096, 8192], help="those that peers get too")
    parser.add_argument("--memory-channels", type=int, default=4, help="width of the network for `memory`")
    options = parser.parse_args()
    if unknown := sorted({*options.parts} - {*parts}):
        parser.error(f"unknown part {', '.join(unknown)}; choose from {', '.join(parts)}")
    options.parts = options.parts or parts
    return options


def main() -> None:
    """Measure and print Markdown."""
    options = parse_arguments()
    use_all_processors()
    if options.keep_memory:
        keep_freed_memory()
    git = describe_environment([], torch.device("cpu"))["git"]
    commit = f"{git['commit'][:7]}{' with changes' if git['dirty'] else ''}" if git else "no commit"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {commit}, {torch.get_num_threads()} threads on {machine()}")
    if timed := [part for part in options.parts if part in PARTS]:
        setting = Setting(options)
        print(_conditions(setting))
        for part in timed:
            print(f"\n{part}\n\n{PARTS[part](setting)}", flush=True)
        del setting
    if "memory" in options.parts:
        print(
            f"\nmemory\n\nPeak resident MiB of a process, in brackets what one image added; UNet base "
            f"{options.memory_channels}\n\n{memory(options)}"
        )


def _conditions(setting: Setting) -> str:
    options, side = setting.options, setting.seam_side
    kept = ", freed memory kept by glibc" if options.keep_memory else ""
    return (
        f"\n{options.side} x {options.side}, UNet base {options.base_channels}, {CLASSES} classes, float32, "
        f"channels last{kept}; differ: pixels per million with another class than one pass over {side} x {side} gives, "
        f"and that in the {STRIP} pixels wide strip across the image where it is most"
    )


if __name__ == "__main__":
    main()
