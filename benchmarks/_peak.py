"""Peak memory of one way to predict a whole image, in a process of its own: ``python -m benchmarks._peak ours 4096 4``.

Prints the peak in MiB before the first window and at the end.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks import _peer_windows
from benchmarks._whole_images import Labels, build_network, plain_tiles, shipped_options, streaming, use_all_processors
from unet_exp.inference import ImageReader

Run = Callable[[ImageReader], object]
WINDOW = 512


class Peak(NamedTuple):
    """Resident memory in MiB: with everything imported and the network warm, and the highest in the end."""

    start: float
    end: float


class GeneratedImage:
    """Stripes of no memory, (side, side, 3)."""

    def __init__(self, side: int) -> None:
        self.shape = (side, side)

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """Pixels (height, width, 3); bytes from the start, so that nothing larger than the result is made."""
        ys = np.arange(top, top + height).astype(np.uint8)[:, None] * np.uint8(7)
        xs = np.arange(left, left + width).astype(np.uint8)[None] * np.uint8(3)
        return np.repeat((ys + xs)[..., None], 3, axis=2)


class RowCounter:
    """A writer that keeps nothing."""

    rows = 0

    def write(self, top: int, labels: Labels, probabilities: object) -> None:  # noqa: ARG002
        """Check the order and forget the rest."""
        if top != self.rows:
            raise ValueError(f"row {self.rows} must come next, but got {top}")
        self.rows += len(labels)


def measure_in_process(who: str, side: int, base_channels: int) -> Peak:
    """Run this module for one contestant.

    Args:
        who: `ours`, `tiles`, `monai` or `nnunet`.
        side: Side of the image in pixels.
        base_channels: Width of the network.
    """
    command = [sys.executable, "-m", "benchmarks._peak", who, str(side), str(base_channels)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    start, end = output.split()[-2:]
    return Peak(float(start), float(end))


def _streamed(network: nn.Module) -> Run:
    stream = streaming(network, shipped_options())
    return lambda reader: stream(reader, RowCounter())


RUNS: dict[str, Callable[[nn.Module], Run]] = {
    "ours": _streamed,
    "tiles": lambda network: plain_tiles(network, WINDOW),
    "monai": lambda network: _peer_windows.monai(network, WINDOW, 0.25),
    "nnunet": lambda network: _peer_windows.nnunet(network, WINDOW),
}
"""As in the table of times; ours streams as `unet-exp-predict` does, tiles keep the labels, peers the image too."""


def peak_resident() -> float:
    """Peak resident MiB of this program; `ru_maxrss` would count that of the parent from before the program began."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Predict one image and print both peaks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks._peak", description=__doc__)
    parser.add_argument("who", choices=RUNS)
    parser.add_argument("side", type=int)
    parser.add_argument("base_channels", type=int)
    options = parser.parse_args()
    use_all_processors()
    run = RUNS[options.who](build_network(options.base_channels))
    start = peak_resident()
    with torch.inference_mode():
        run(GeneratedImage(options.side))
    print(f"{start} {peak_resident()}")


if __name__ == "__main__":
    main()
