"""Whole-image inference beside plain tiles and MONAI: time, seams, and memory against the height of the image.

Usage: ``python -m benchmarks.inference`` at the root of the repository; with the interpreter of benchmarks/README.md
MONAI is measured too.
"""

import argparse
import importlib.util
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks._regions import make_region
from benchmarks._timing import table
from benchmarks.data import machine
from unet_exp.inference import ArrayReader, ArrayWriter, SlidingWindow
from unet_exp.model.unet import UNet

TILE = 512
CLASSES = 5
Labels = NDArray[np.uint8]
Predict = Callable[[NDArray[np.uint8]], Labels]


def trained_network(steps: int, base_channels: int) -> nn.Module:
    """A network that has learned bands of smoothed brightness, so that its logits are no noise and need context."""
    torch.manual_seed(0)
    network = UNet(3, CLASSES, base_channels=base_channels, padding="same", norm="batch", dropout=0.0)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    image = normalize(torch.from_numpy(make_region(1, 1024)[0]).permute(2, 0, 1)[None])
    smooth = nn.functional.avg_pool2d(image.mean(1, keepdim=True), 63, 1, 31, count_include_pad=False)[:, 0]
    target = torch.bucketize(smooth, torch.quantile(smooth.flatten()[::7], torch.tensor([0.2, 0.4, 0.6, 0.8])))
    for _ in range(steps):
        y, x = torch.randint(0, 1024 - 256, (2,)).tolist()
        crop = (slice(None), ..., slice(y, y + 256), slice(x, x + 256))
        loss = nn.functional.cross_entropy(network(image[crop]), target[crop])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval().to(memory_format=torch.channels_last)


def normalize(images: Tensor) -> Tensor:
    """Bytes to about -1..1."""
    return images.float() / 127.5 - 1


def whole_image(network: nn.Module, image: NDArray[np.uint8]) -> Labels:
    """One forward pass."""
    with torch.inference_mode():
        logits = network(normalize(torch.from_numpy(image).permute(2, 0, 1)[None]))
    return logits.argmax(1)[0].to(torch.uint8).numpy()


def plain_tiles(network: nn.Module) -> Predict:
    """Tiles side by side: the reference of all times."""

    def predict(image: NDArray[np.uint8]) -> Labels:
        labels = np.empty(image.shape[:2], np.uint8)
        for top in range(0, len(image), TILE):
            for left in range(0, image.shape[1], TILE):
                tile = (slice(top, top + TILE), slice(left, left + TILE))
                labels[tile] = whole_image(network, image[tile])
        return labels

    return predict


def ours(network: nn.Module, **options: object) -> Predict:
    """The streaming engine."""
    engine = SlidingWindow(batch_size=1, **options)  # type: ignore[arg-type]

    def predict(image: NDArray[np.uint8]) -> Labels:
        labels = np.empty(image.shape[:2], np.uint8)
        engine.predict([lambda windows: network(normalize(windows))], ArrayReader(image), ArrayWriter(labels))
        return labels

    return predict


def monai(network: nn.Module, overlap: float) -> Predict:
    """MONAI's SlidingWindowInferer with Gaussian blending."""
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer((TILE, TILE), sw_batch_size=1, overlap=overlap, mode="gaussian")

    def predict(image: NDArray[np.uint8]) -> Labels:
        with torch.inference_mode():
            logits = inferer(normalize(torch.from_numpy(image).permute(2, 0, 1)[None]), network)
        return logits.argmax(1)[0].to(torch.uint8).numpy()

    return predict


def contestants(network: nn.Module) -> dict[str, Predict]:
    """Who is timed, plain tiles first."""
    found = {
        "plain tiles 512": plain_tiles(network),
        "ours, window 1088, halo 32, linear (`inference=halo`)": ours(
            network, window_size=1088, halo=32, blend="linear"
        ),
        "ours, window 1088, halo 32, crop": ours(network, window_size=1088, halo=32, blend="crop"),
        "ours, window 512, overlap 0.25, gaussian": ours(network, window_size=TILE, overlap=0.25),
    }
    if importlib.util.find_spec("monai"):
        found["MONAI, window 512, overlap 0.25, gaussian"] = monai(network, 0.25)
        found["MONAI, window 512, overlap 0.5, gaussian"] = monai(network, 0.5)
    else:
        print("monai is not installed and left out, see benchmarks/README.md", file=sys.stderr)
    return found


def speed_table(options: argparse.Namespace) -> str:
    """Times in turns as ratios to plain tiles, and disagreement with one pass over a whole image."""
    network = trained_network(options.steps, options.base_channels)
    image, small = make_region(0, options.side)[0], make_region(2, options.seam_side)[0]
    reference = whole_image(network, small)
    everybody = contestants(network)
    seams = {name: float((predict(small) != reference).mean()) for name, predict in everybody.items()}
    times: dict[str, list[float]] = {name: [] for name in everybody}
    for _ in range(options.repetitions):
        for name, predict in everybody.items():
            start = time.perf_counter()
            predict(image)
            times[name].append(time.perf_counter() - start)
    first = times[next(iter(times))]
    rows = []
    for name, own in times.items():
        ratios = [mine / plain for mine, plain in zip(own, first, strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        rows.append(
            (
                name,
                f"{statistics.median(own):.1f}",
                f"{statistics.median(ratios):.2f}",
                spread,
                f"{1e6 * seams[name]:.0f}",
            )
        )
    return table(("", "s", "ratio to plain tiles", "range", "pixels that differ, per million"), rows)


def memory_table(options: argparse.Namespace) -> str:
    """Peak memory of a process per height; the image is a function of its place, so that it takes none."""
    rows = []
    for height in options.heights:
        command = [sys.executable, "-m", "benchmarks.inference", "--measure-height", str(height)]
        peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        rows.append((f"{height} x {height}", peak))
    return table(("image", "peak resident MiB"), rows)


class _Generated:
    """An image without memory."""

    def __init__(self, height: int, width: int) -> None:
        self.shape = (height, width)

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """Stripes."""
        ys, xs = np.ogrid[top : top + height, left : left + width]
        return np.repeat(((ys * 7 + xs * 3) % 256).astype(np.uint8)[..., None], 3, axis=2)


class _Discarded:
    """Counts rows."""

    rows = 0

    def write(self, top: int, labels: Labels, probabilities: object) -> None:  # noqa: ARG002
        """Check the order and forget the rest."""
        assert top == self.rows
        self.rows += len(labels)


def measure_height(width: int, *, height: int) -> float:
    """Peak resident MiB of this process after one image, with a network of next to no cost."""
    torch.manual_seed(0)
    network = nn.Conv2d(3, CLASSES, 3, padding=1).eval()
    writer = _Discarded()
    SlidingWindow(window_size=1088, halo=32, blend="linear", batch_size=1).predict(
        [lambda windows: network(normalize(windows))], _Generated(height, width), writer
    )
    assert writer.rows == height
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference", description=__doc__)
    parser.add_argument("--side", type=int, default=4096, help="side of the image that is timed")
    parser.add_argument("--seam-side", type=int, default=2048, help="side of the image that seams are measured on")
    parser.add_argument("--heights", type=int, nargs="*", default=[4096, 8192, 16384], help="sides for the memory")
    parser.add_argument("--steps", type=int, default=60, help="training steps of the network")
    parser.add_argument("--base-channels", type=int, default=16, help="width of the network")
    parser.add_argument("--repetitions", type=int, default=3, help="how often everybody is timed, in turns")
    parser.add_argument("--measure-height", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print Markdown."""
    options = parse_arguments()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if options.measure_height:
        print(f"{measure_height(options.measure_height, height=options.measure_height):.0f}")
        return
    print(f"{datetime.now(UTC):%Y-%m-%d}, {torch.get_num_threads()} threads on {machine()}")
    print(
        f"\n{options.side} x {options.side}, UNet base {options.base_channels}, {CLASSES} classes, float32, batch 1; "
        f"differing pixels on {options.seam_side} x {options.seam_side}\n\n{speed_table(options)}",
        flush=True,
    )
    print(f"\n{memory_table(options)}")


if __name__ == "__main__":
    main()
