"""Predicting images of any size in windows, in memory that does not grow with their height."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from typing import Annotated

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor, nn
from torch.nn import functional as F

from unet_exp.bounds import NonNegativeInt, PositiveInt
from unet_exp.inference._concurrent import map_ahead, run_behind
from unet_exp.inference._ensemble import members_of
from unet_exp.inference._image import ImageJob, ImageReader, LabelWriter, read_padded
from unet_exp.inference._output import Output
from unet_exp.inference._plan import Blend, Grid, Place, Tiling, round_up
from unet_exp.inference._predictor import Network, Precision, Predictor
from unet_exp.inference._queue import JobQueue
from unet_exp.inference._stitch import Stitcher
from unet_exp.inference._symmetry import Augmentation
from unet_exp.inference._tissue import has_tissue

_PENDING_BANDS = 2
"""Bands that wait to be written before the computation waits for the writer."""

# N images, C channels, K classes, H x W pixels of an image, n windows of h x w pixels.


class SlidingWindow:
    """Runs networks over images of any size.

    Windows overlap by a share of their size (`overlap`), as during training, or reach a fixed number of pixels over
    the borders between them (`halo`), which costs much less: the windows are then as few as possible, no larger than
    the image needs, and placed where the network halves its input as it would in one pass over the whole image. With
    ``blend: crop`` and a halo of at least the network's receptive field the result *is* that of one pass, provided
    that no layer looks at all of its input, as instance and group normalisation do.

    A network without padding gives outputs smaller than its windows; the image is continued at its border by its
    outermost pixels, so every pixel is predicted all the same.

    The prediction of one network is blended as logits. The mean of several networks or symmetries is one of
    probabilities, which are blended then.

    Args:
        window_size: Side of the square windows in pixels; with `halo`, of the largest. None takes the image in one
            piece.
        overlap: Share of a window that the next one repeats.
        halo: Pixels by which windows reach over the border between them; takes the place of `overlap`.
        surroundings: Pixels around a window that the network looks at besides. Windows then reach so far, and `halo`
            pixels more, beyond the part of them that is kept, which is at least twice as wide; `blend` is ``crop``, and
            a batch holds fewer of them.
        alignment: Windows begin at multiples of it, 2**depth of the network, if their size is one too; with `halo` it
            must be.
        blend: ``gaussian`` favours the centre of a window (as in nnU-Net), ``linear`` fades from one to the next over
            the pixels they share, ``crop`` takes each pixel from one window.
        batch_size: Windows, or whole images of one size, per forward pass; halved when the memory is out.
        tta: Test-time augmentation, the mean over ``flips`` (4 passes) or all symmetries of the square, ``d4`` (8).
        precision: What the networks compute with; ``float32`` leaves the choice to the caller.
        tissue_only: Predict only windows with tissue; the others are background. For stained sections.
        background_class: Class id of what `tissue_only` leaves out.

    Raises:
        ValueError: The window does not fit `halo` and `alignment`.
    """

    def __init__(
        self,
        *,
        window_size: PositiveInt | None,
        overlap: Annotated[float, Interval(ge=0, lt=1)] = 0.5,
        halo: NonNegativeInt | None = None,
        surroundings: NonNegativeInt = 0,
        alignment: PositiveInt = 16,
        blend: Blend = "gaussian",
        batch_size: PositiveInt = 16,
        tta: Augmentation = "none",
        precision: Precision = "float32",
        tissue_only: bool = False,
        background_class: NonNegativeInt = 0,
    ) -> None:
        if surroundings and window_size is not None:
            halo, blend, given = (halo or 0) + surroundings, "crop", window_size
            window_size = round_up(max(given, 2 * surroundings) + 2 * halo, alignment)
            batch_size = max(1, batch_size * given**2 // window_size**2)
        if window_size is not None and halo is not None:
            _check_halo(window_size, halo, alignment)
        self.window_size = window_size
        self.batch_size = batch_size
        self.tta = tta
        self.precision = precision
        self.tissue_only = tissue_only
        self.background_class = background_class
        self._tiling = Tiling(window_size, overlap, halo, alignment, blend)

    @torch.no_grad()
    def __call__(self, network: Network, images: Tensor) -> Tensor:
        """Logits of whole images that are in memory, on their device.

        Args:
            network: Takes (n, C, h, w), gives (n, K, h', w') with h' <= h. An `Ensemble` counts as its networks.
            images: (N, C, H, W), normalised.

        Returns:
            (N, K, H, W) float32; of several networks or symmetries, logits of the mean probabilities.
        """
        networks = members_of(network) if isinstance(network, nn.Module) else [network]
        predictor = self._predictor(networks)
        if self.window_size is None:
            whole = predictor(list(images), _stack)
            self.batch_size = predictor.batch_size
            return torch.stack([predictor.to_logits(values) for values in whole])
        count, in_channels, height, width = images.shape
        margin, channels = predictor.measure(
            lambda side: images.new_zeros(1, in_channels, side, side), self.window_size
        )
        grid = self._grid((height, width), margin)
        background = predictor.background(channels, 0, images.device)
        stitcher = Stitcher(predictor, dict.fromkeys(range(count), grid), collate=_stack, background=background)
        logits = torch.empty(count, channels, height, width, device=images.device)
        for place, top, left, values in stitcher.join(_cut(images, grid, margin)):
            rows, columns = slice(top, top + values.shape[1]), slice(left, left + values.shape[2])
            logits[place.image, :, rows, columns] = predictor.to_logits(values)
        self.batch_size = predictor.batch_size
        return logits

    def predict(
        self,
        networks: Sequence[Network],
        reader: ImageReader,
        writer: LabelWriter,
        *,
        output_size: tuple[int, int] | None = None,
        device: torch.device | str = "cpu",
        probabilities: bool = False,
    ) -> None:
        """Predict one image that need not fit into memory, see `predict_images`."""
        job = ImageJob(reader, writer, output_size)
        self.predict_images(networks, [job], device=device, probabilities=probabilities)

    @torch.no_grad()
    def predict_images(
        self,
        networks: Sequence[Network],
        jobs: Iterable[ImageJob],
        *,
        device: torch.device | str = "cpu",
        probabilities: bool = False,
        report: Callable[[int, int], None] | None = None,
    ) -> None:
        """Predict images that need not fit into memory.

        One thread reads ahead and another writes, while this one computes; batches go on from one row of windows to
        the next and from one image to the next.

        Args:
            networks: Each takes bytes (n, C, h, w), normalises them and gives logits (n, K, h', w'); in evaluation
                mode. The probabilities of several are averaged.
            jobs: Where each image is read from and its prediction is written to; opened one after the other.
            device: Where the networks are.
            probabilities: Whether these are written too.
            report: Told how many windows are done, and how many the images opened so far have.

        Raises:
            DataError: A reader gives something other than an image, or `tissue_only` meets one without colour.
            UserError: The memory does not suffice for a single window.
        """
        remaining = iter(jobs)
        first = next(remaining, None)
        if first is None:
            return
        device = torch.device(device)
        predictor = self._predictor(networks)
        in_channels = first.reader.read(0, 0, 1, 1).shape[-1]
        margin, channels = predictor.measure(
            lambda side: torch.zeros(1, in_channels, side, side, dtype=torch.uint8, device=device), self.window_size
        )
        queue = JobQueue(chain([first], remaining), lambda shape: self._grid(shape, margin), report)

        def read(place: Place) -> Tensor | None:
            return self._read(queue.jobs[place.image].reader, queue.grids[place.image], place, device.type == "cuda")

        stitcher = Stitcher(
            predictor,
            queue.grids,
            collate=lambda windows: torch.stack(list(windows)).to(device, non_blocking=True).permute(0, 3, 1, 2),
            background=predictor.background(channels, self.background_class, device),
            advance=queue.advance,
        )
        output: Output | None = None
        with (
            run_behind(depth=_PENDING_BANDS) as later,
            closing(map_ahead(read, queue.places(), depth=self.batch_size)) as got,
        ):
            for block in stitcher.join(got):
                place, job = block.place, queue.jobs[block.place.image]
                if output is None or (place.row, place.column) == (0, 0):
                    output = Output(predictor, job, device, probabilities=probabilities)
                for band in output.take(block, is_last=queue.ends_row(place)):
                    later(_write, job.writer, *band)
                queue.close_after(place)
        self.batch_size = predictor.batch_size

    def _grid(self, shape: tuple[int, int], margin: int) -> Grid:
        return Grid(self._tiling.plan(shape[0], margin), self._tiling.plan(shape[1], margin))

    def _predictor(self, networks: Sequence[Network]) -> Predictor:
        return Predictor(networks, tta=self.tta, batch_size=self.batch_size, precision=self.precision)

    def _read(self, reader: ImageReader, grid: Grid, place: Place, pin: bool) -> Tensor | None:
        """Bytes (h, w, C) of a window; None where there is no tissue. Called in the reading thread."""
        pixels = read_padded(reader, grid.rows.bounds(place.row), grid.columns.bounds(place.column))
        if self.tissue_only and not has_tissue(pixels):
            return None
        window = torch.from_numpy(np.array(pixels))  # copied here, so that a memory map is read in this thread
        return window.pin_memory() if pin else window


def _check_halo(window_size: int, halo: int, alignment: int) -> None:
    if window_size % alignment:
        raise ValueError(
            f"with a halo, window_size must be a multiple of alignment={alignment}, but it is {window_size}"
        )
    smallest = round_up(2 * halo, alignment) + alignment
    if window_size < smallest:
        raise ValueError(
            f"window_size is {window_size}, but halo={halo} and alignment={alignment} need {smallest} at least"
        )


def _stack(windows: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(windows))


def _cut(images: Tensor, grid: Grid, margin: int) -> Iterator[tuple[Place, Tensor]]:
    """The windows (C, h, w) of images (N, C, H, W), whose border is repeated where windows reach beyond it."""
    below, beside = (axis.extent - axis.length + margin for axis in (grid.rows, grid.columns))
    padded = F.pad(images, (margin, beside, margin, below), mode="replicate") if margin + below + beside else images
    for number, image in enumerate(padded):
        for place in grid.places(number):
            (top, bottom), (left, right) = grid.rows.bounds(place.row), grid.columns.bounds(place.column)
            yield place, image[:, top + margin : bottom + margin, left + margin : right + margin]


def _write(writer: LabelWriter, top: int, labels: Tensor, probabilities: Tensor | None) -> None:
    """Bring a band to the host and write it. Called in the writing thread, which waits for the device here."""
    writer.write(top, labels.cpu().numpy(), None if probabilities is None else probabilities.cpu().numpy())
