"""Whole images in bounded memory: the numbers of one pass, in order, and faults that surface."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch import nn

from unet_exp.errors import DataError, UserError
from unet_exp.inference import ArrayReader, ArrayWriter, Ensemble, ImageJob, SlidingWindow
from unet_exp.inference._band import Band
from unet_exp.inference._plan import Grid, Tiling
from unet_exp.model.unet import UNet

CLASSES = 4


def normalize(windows):
    return windows.float() / 127.5 - 1


@pytest.fixture(scope="module")
def network():
    """Sees 3 pixels to each side."""
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*convolutions, nn.Conv2d(6, CLASSES, 3, padding=1)).eval()


def make_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def predict(engine, networks, image, **options):
    labels = np.full(image.shape[:2], 99, np.uint8)
    probabilities = np.full((CLASSES, *image.shape[:2]), np.nan, np.float32)
    engine.predict(
        [lambda w, n=network: n(normalize(w)) for network in networks],
        ArrayReader(image),
        ArrayWriter(labels, probabilities),
        probabilities=True,
        **options,
    )
    return labels, probabilities


@torch.no_grad()
def whole(network, image):
    return network(normalize(torch.from_numpy(image).permute(2, 0, 1)[None])).softmax(1)[0]


SIZES = [(1, 1), (1, 70), (31, 33), (32, 32), (47, 129), (100, 64)]


@pytest.mark.parametrize("size", SIZES)
def test_cropped_windows_are_one_pass_over_the_whole_image(network, size):
    image = make_image(*size)
    engine = SlidingWindow(window_size=32, halo=3, alignment=1, blend="crop", batch_size=3)
    labels, probabilities = predict(engine, [network], image)
    expected = whole(network, image)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    np.testing.assert_array_equal(labels, expected.argmax(0))


def test_cropped_windows_of_a_unet_are_one_pass_when_they_meet_its_halvings():
    torch.manual_seed(0)
    unet = UNet(3, CLASSES, base_channels=2, depth=2, padding="same", norm="batch").eval()
    image = make_image(150, 131)  # neither side is a multiple of the stride
    engine = SlidingWindow(window_size=96, halo=24, alignment=4, blend="crop")
    np.testing.assert_allclose(predict(engine, [unet], image)[1], whole(unet, image), atol=1e-5)
    shifted = SlidingWindow(window_size=95, halo=24, alignment=1, blend="crop")
    assert np.abs(predict(shifted, [unet], image)[1] - whole(unet, image).numpy()).max() > 1e-4


@pytest.mark.parametrize("blend", ["gaussian", "linear", "crop"])
@pytest.mark.parametrize("halo", [None, 0, 5])
@pytest.mark.parametrize("length", [1, 31, 32, 33, 64, 200, 997])
def test_weights_sum_to_one_and_windows_cover_the_side(blend, halo, length):
    axis = Tiling(32, 0.3, halo, 4, blend).plan(length, 0)
    total = torch.zeros(axis.extent)
    for start, weights in zip(axis.starts, axis.weights, strict=True):
        total[start : start + axis.output] += weights
    torch.testing.assert_close(total, torch.ones(axis.extent))
    assert axis.extent >= length
    assert axis.window <= 32
    if halo is not None:
        assert all(b - a <= axis.window - 2 * halo for a, b in zip(axis.starts, axis.starts[1:], strict=False))


@pytest.mark.parametrize("options", [{"overlap": 0.5}, {"halo": 6, "blend": "linear", "alignment": 4}])
def test_streaming_gives_what_the_call_gives(network, options):
    image = make_image(90, 71)
    engine = SlidingWindow(window_size=32, batch_size=5, **options)
    called = engine(network, normalize(torch.from_numpy(image).permute(2, 0, 1)[None]))
    _, streamed = predict(engine, [network], image)
    np.testing.assert_allclose(streamed, called.softmax(1)[0], atol=1e-6)


def test_the_mean_of_several_networks_is_one_of_probabilities(network):
    torch.manual_seed(1)
    other = nn.Conv2d(3, CLASSES, 3, padding=1).eval()
    image = make_image(60, 45)
    engine = SlidingWindow(window_size=32, halo=3, alignment=1, blend="crop")
    _, probabilities = predict(engine, [network, other], image)
    np.testing.assert_allclose(probabilities, (whole(network, image) + whole(other, image)) / 2, atol=1e-6)


@pytest.mark.parametrize("tta", ["none", "d4"])
def test_an_ensemble_is_blended_as_it_is_when_streamed(network, tta):
    torch.manual_seed(2)
    other = nn.Conv2d(3, CLASSES, 5, padding=2).eval()
    with torch.no_grad():
        other.weight.mul_(10)  # sure of itself, so that a mean of logits is another one
    image = make_image(90, 71)
    engine = SlidingWindow(window_size=32, overlap=0.5, tta=tta)
    called = engine(Ensemble([network, other]), normalize(torch.from_numpy(image).permute(2, 0, 1)[None]))
    _, streamed = predict(engine, [network, other], image)
    np.testing.assert_allclose(streamed, called.softmax(1)[0], atol=1e-6)


@pytest.mark.parametrize("tta", ["flips", "d4"])
def test_augmented_predictions_turn_with_the_image(network, tta):
    image = make_image(40, 40)
    plain, augmented = (SlidingWindow(window_size=None, tta=name) for name in ("none", tta))
    turns = [lambda a: a[..., ::-1, :], lambda a: a[..., ::-1]] + (
        [lambda a: a.swapaxes(-1, -2)] if tta == "d4" else []
    )
    for turn in turns:
        turned = np.ascontiguousarray(turn(image.transpose(2, 0, 1)).transpose(1, 2, 0))
        _, straight = predict(augmented, [network], image)
        np.testing.assert_allclose(predict(augmented, [network], turned)[1], turn(straight), atol=1e-6)
        assert np.abs(predict(plain, [network], turned)[1] - turn(predict(plain, [network], image)[1])).max() > 1e-3


class Recorder:
    def __init__(self):
        self.bands = []

    def write(self, top, labels, probabilities):
        self.bands.append((top, labels, probabilities))


def test_bands_come_in_order_and_complete_for_several_images(network):
    images = [make_image(70, 50), make_image(33, 64, 1), make_image(5, 5, 2)]
    recorders, batches = [Recorder() for _ in images], []

    def counted(windows):
        batches.append(len(windows))
        return network(normalize(windows))

    engine = SlidingWindow(window_size=32, overlap=0.25, alignment=1, batch_size=4)
    engine.predict_images([counted], map(ImageJob, map(ArrayReader, images), recorders))
    for image, recorder in zip(images, recorders, strict=True):
        assert all(probabilities is None for _, _, probabilities in recorder.bands)
        assert [top for top, _, _ in recorder.bands] == list(
            np.cumsum([0, *(len(labels) for _, labels, _ in recorder.bands)])[:-1]
        )
        joined = np.concatenate([labels for _, labels, _ in recorder.bands])
        np.testing.assert_array_equal(joined, predict(engine, [network], image)[0])
    assert batches[1:] == [4, 4, 4, 1]  # after the probe: 6 + 6 windows of one size together, then the small image


def test_memory_out_halves_the_batch_for_good(network):
    sizes = []

    def limited(windows):
        sizes.append(len(windows))
        if len(windows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return network(windows)

    engine = SlidingWindow(window_size=16, overlap=0, batch_size=8)
    images = torch.rand(1, 3, 64, 48)
    expected = SlidingWindow(window_size=16, overlap=0)(network, images)
    torch.testing.assert_close(engine(limited, images), expected)
    assert sizes == [1, 8, 4, *[2] * 6]
    assert engine.batch_size == 2


def test_memory_out_for_one_window_says_what_to_do(network):
    def hopeless(windows):
        if windows.shape[-1] > 64:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return network(windows)

    with pytest.raises(UserError, match=r"inference\.window_size"):
        SlidingWindow(window_size=100, batch_size=4)(hopeless, torch.rand(2, 3, 100, 100))


def test_other_errors_of_the_network_are_not_taken_for_memory(network):
    def broken(windows):
        if len(windows) > 1:
            raise RuntimeError("boom")
        return network(windows)

    with pytest.raises(RuntimeError, match="boom"):
        SlidingWindow(window_size=16, batch_size=4)(broken, torch.rand(1, 3, 40, 40))


def test_windows_without_tissue_are_background_and_not_predicted(network):
    image = np.full((96, 96, 3), 240, np.uint8)
    image[:32, :32] = (150, 60, 140)
    seen = []

    def counted(windows):
        seen.append(len(windows))
        return network(normalize(windows))

    labels = np.full((96, 96), 99, np.uint8)
    engine = SlidingWindow(window_size=32, overlap=0, tissue_only=True, background_class=3)
    engine.predict([counted], ArrayReader(image), ArrayWriter(labels))
    assert sum(seen) == 2  # the probe and the one window
    expected = whole(network, np.ascontiguousarray(image[:32, :32])).argmax(0)
    np.testing.assert_array_equal(labels[:32, :32], expected)
    assert (labels[32:] == 3).all()
    assert (labels[:, 32:] == 3).all()


class FailingReader(ArrayReader):
    def read(self, top, left, height, width):
        if top > 60:
            raise DataError("slide.svs: damaged at row 61")
        return super().read(top, left, height, width)


class FailingWriter:
    def write(self, top, labels, probabilities):
        raise OSError("disk full")


@pytest.mark.parametrize(
    ("reader", "writer", "error"),
    [(FailingReader, Recorder, DataError), (ArrayReader, FailingWriter, OSError)],
)
def test_faults_of_reader_and_writer_end_the_prediction(network, reader, writer, error):
    with pytest.raises(error):
        SlidingWindow(window_size=16).predict([lambda w: network(normalize(w))], reader(make_image(200, 40)), writer())


def test_an_interrupt_leaves_no_thread_behind(network):
    before = set(threading.enumerate())

    def interrupted(windows):
        if windows.shape[0] > 1:
            raise KeyboardInterrupt
        return network(normalize(windows))

    with pytest.raises(KeyboardInterrupt):
        SlidingWindow(window_size=16).predict([interrupted], ArrayReader(make_image(90, 90)), Recorder())
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


def test_images_of_the_wrong_kind_are_refused():
    with pytest.raises(DataError, match=r"float64 of shape \(4, 4\)"):
        ArrayReader(np.zeros((4, 4)))


@pytest.mark.parametrize("options", [{"window_size": 40, "halo": 4}, {"window_size": 64, "halo": 32}])
def test_a_halo_that_does_not_fit_is_refused(options):
    with pytest.raises(ValueError, match="alignment=16"):
        SlidingWindow(**options)


_MEASURE = """
import sys
import numpy as np
import torch
from unet_exp.inference import SlidingWindow

torch.set_num_threads(1)

class Stripes:
    shape = (int(sys.argv[1]), 384)
    def read(self, top, left, height, width):
        return np.full((height, width, 3), top % 256, np.uint8)

class Nowhere:
    def write(self, top, labels, probabilities):
        pass

network = torch.nn.Conv2d(3, 8, 1).eval()
SlidingWindow(window_size=128, halo=8, batch_size=2).predict([lambda w: network(w.float())], Stripes(), Nowhere())
from unet_exp.run.memory import peak_memory_mb
print(peak_memory_mb())
"""


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_height():
    def peak(height):
        command = [sys.executable, "-c", _MEASURE, str(height)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert peak(16384) - peak(2048) < 40  # MiB; the logits of the difference alone are 168


@pytest.mark.parametrize("length", [33, 40, 47, 64, 65, 1000])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75])
def test_windows_that_overlap_by_a_share_begin_where_the_network_halves_the_image(length, overlap):
    axis = Tiling(32, overlap, None, 8, "gaussian").plan(length, 0)
    assert axis.window == 32
    assert axis.starts[0] == 0
    assert all(start % 8 == 0 for start in axis.starts)
    assert max(np.diff(axis.starts)) <= 32 * (1 - overlap)
    assert length <= axis.extent < length + 8


def test_overlapping_windows_of_a_unet_agree_with_one_pass_where_they_are_far_from_their_border():
    torch.manual_seed(0)
    unet = UNet(3, CLASSES, base_channels=2, depth=2, padding="same", norm="batch").eval()
    image = make_image(150, 131)
    aligned, shifted = (
        predict(SlidingWindow(window_size=96, overlap=0.5, alignment=step, blend="crop"), [unet], image)[1]
        for step in (4, 1)
    )
    expected = whole(unet, image).numpy()
    np.testing.assert_allclose(aligned, expected, atol=1e-5)
    assert np.abs(shifted - expected).max() > 1e-4


@pytest.mark.parametrize("overlap", [0.1, 0.5, 0.8])
def test_little_is_held_of_a_wide_image(overlap):
    grid = Grid(*(Tiling(32, overlap, None, 1, "gaussian").plan(length, 0) for length in (200, 3000)))
    band = Band(grid, CLASSES, torch.device("cpu"))
    shared = 32 - min(np.diff(grid.rows.starts))
    covered = np.zeros((200, 3000), int)
    for place in grid.places(0):
        block = band.add(place, torch.ones(CLASSES, 32, 32))
        rows, columns = slice(block.top, block.top + 200), slice(block.left, block.left + 3000)
        covered[rows, columns][: block.values.shape[1], : block.values.shape[2]] += 1
        torch.testing.assert_close(block.values, torch.ones_like(block.values))
        assert band.held <= CLASSES * (32 * 32 + 2 * shared * grid.columns.extent)
    assert (covered == 1).all()
