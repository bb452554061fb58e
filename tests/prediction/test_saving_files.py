"""Files appear when complete; class ids, probabilities and pyramids read back as they were."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image
from scipy import stats

from tests.conftest import REPOSITORY
from tests.prediction.predictions import PALETTE, blobs, prediction
from unet_exp.prediction.saving import SAVERS
from unet_exp.prediction.saving.complete_file import complete_file
from unet_exp.prediction.saving.pyramid import most_frequent_of_four


def full_prediction(shape=(70, 90), **options):
    probabilities = np.random.default_rng(0).random((4, *shape)).astype(np.float16)
    image = np.full((*shape, 3), 180, np.uint8)
    return prediction(blobs(shape, 4), image=image, probabilities=probabilities, mpp=0.5, **options)


def save(name, tmp_path, made):
    path = tmp_path / f"image{SAVERS[name].suffix}"
    SAVERS[name].save(made, path)
    return path


@pytest.fixture(params=["unnamed", "named"])
def way(request, monkeypatch):
    """With and without the unnamed files of Linux."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)


@pytest.mark.parametrize("name", SAVERS)
def test_one_readable_file_replaces_the_old_one(name, tmp_path, way):
    path = tmp_path / f"image{SAVERS[name].suffix}"
    path.write_bytes(b"old")
    SAVERS[name].save(full_prediction(), path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_size > 100
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, way):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write():
        with complete_file(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"


def test_a_target_that_is_a_folder_leaves_nothing(tmp_path, way):
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="directory"), complete_file(tmp_path / "file") as file:
        file.write(b"new")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="needs unnamed files")
def test_a_killed_process_leaves_nothing(tmp_path):
    program = (
        "import pathlib, time\nfrom unet_exp.prediction.saving.complete_file import complete_file\n"
        f"with complete_file(pathlib.Path({str(tmp_path)!r}) / 'file') as file:\n"
        "    file.write(b'x' * 1000000)\n    file.flush()\n    print('written', flush=True)\n    time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(tmp_path.iterdir()) == []


def test_label_pixels_are_class_ids_and_the_palette_that_of_the_classes(tmp_path):
    made = full_prediction()
    with Image.open(save("labels", tmp_path, made)) as picture:
        assert picture.mode == "P"
        assert picture.getpalette()[:12] == [value for color in PALETTE[:4] for value in color]
        assert json.loads(picture.info["classes"]) == ["outside", "tumor", "stroma", "other"]
        np.testing.assert_array_equal(np.asarray(picture), made.labels)


def test_labels_of_two_classes_keep_one_byte_per_pixel(tmp_path):
    path = save("labels", tmp_path, prediction(blobs((9, 7), 2), class_names=["a", "b"], scored=[1]))
    with path.open("rb") as file:
        assert file.read(25)[24] == 8  # bit depth of IHDR
    np.testing.assert_array_equal(np.asarray(Image.open(path)), blobs((9, 7), 2))


def anonymous_memory():
    with open("/proc/self/status") as file:  # noqa: PTH123
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("name", ["labels", "pyramid", "probabilities"])
def test_a_large_map_is_not_read_into_memory(name, tmp_path):
    side = 12_000
    labels = np.memmap(tmp_path / "labels", np.uint8, "w+", shape=(side, side))
    labels[::7] = 1
    options = {}
    if name == "probabilities":
        options["probabilities"] = np.memmap(tmp_path / "p", np.float16, "w+", shape=(1, side, side))
    made = prediction(labels, class_names=["a", "b"], scored=[1], num_outputs=1, **options)
    before, peak, done = anonymous_memory(), 0, threading.Event()

    def watch():
        nonlocal peak
        while not done.is_set():
            peak = max(peak, anonymous_memory())
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    save(name, tmp_path, made)
    done.set()
    watcher.join()
    assert peak - before < labels.size / 1.5


def test_probabilities_are_one_named_plane_per_class(tmp_path):
    made = full_prediction((530, 600), class_names=["a & b", "<c>", "d", "ä"])
    path = save("probabilities", tmp_path, made)
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff
        assert file.pages[0].is_tiled
        assert file.series[0].axes == "CYX"
        assert file.shaped_metadata[0]["channels"] == ["a & b", "<c>", "d", "ä"]
        read = file.asarray()
    assert read.dtype == np.float16
    np.testing.assert_array_equal(read, made.probabilities)
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        opened = rasterio.open(path)
    with opened as file:
        assert file.descriptions == ("a & b", "<c>", "d", "ä")
        np.testing.assert_array_equal(file.read(3), made.probabilities[2].astype(np.float32))


def test_with_one_output_the_plane_is_the_foreground(tmp_path):
    probabilities = np.random.default_rng(0).random((1, 40, 50)).astype(np.float16)
    options = {"class_names": ["skin", "lesion"], "scored": [1], "num_outputs": 1, "probabilities": probabilities}
    path = save("probabilities", tmp_path, prediction(np.zeros((40, 50)), **options))
    with tifffile.TiffFile(path) as file:
        assert file.shaped_metadata[0]["channels"] == ["lesion"]
        np.testing.assert_array_equal(file.asarray().reshape(40, 50), probabilities[0])


def test_without_probabilities_none_are_written(tmp_path):
    with pytest.raises(ValueError, match="without probabilities"):
        save("probabilities", tmp_path, prediction(np.zeros((4, 4))))
    assert list(tmp_path.iterdir()) == []


OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"


def test_a_pyramid_holds_the_ids_and_halves_of_them(tmp_path):
    labels = blobs((1301, 2050), 4, smooth=20)
    path = save("pyramid", tmp_path, prediction(labels, size=(2602, 4100), mpp=0.25))
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff
        assert file.is_ome
        assert len(file.pages) == 1  # the smaller levels are sub-images of the first
        assert len(file.pages[0].subifds) == 3
        levels = file.series[0].levels
        assert [level.shape for level in levels] == [(1301, 2050), (651, 1025), (326, 513), (163, 257)]
        assert all(level.dtype == np.uint8 and level.pages[0].is_tiled for level in levels)
        read = [level.asarray() for level in levels]
        pixels = ET.fromstring(file.ome_metadata).find(f"{OME}Image/{OME}Pixels")
        annotation = ET.fromstring(file.ome_metadata).iter(f"{OME}M")
        assert {pair.get("K"): pair.text for pair in annotation} == {
            "0": "outside",
            "1": "tumor",
            "2": "stroma",
            "3": "other",
        }
        across, unit = file.pages[0].tags["XResolution"].value, file.pages[0].resolutionunit
    np.testing.assert_array_equal(read[0], labels)
    for finer, coarser in pairwise(read):
        np.testing.assert_array_equal(coarser, most_frequent_of_four(finer))
    assert pixels.get("PhysicalSizeX") == pixels.get("PhysicalSizeY") == "0.5"
    assert pixels.get("PhysicalSizeXUnit") == "µm"
    assert (across[0] / across[1], unit) == (pytest.approx(20_000), 3)


def test_a_small_map_is_a_pyramid_of_one_level_without_an_invented_size(tmp_path):
    path = save("pyramid", tmp_path, prediction(blobs((40, 50), 4)))
    with tifffile.TiffFile(path) as file:
        assert len(file.series[0].levels) == 1
        assert "PhysicalSize" not in file.ome_metadata


@pytest.mark.parametrize("shape", [(64, 64), (33, 50), (1, 7), (1, 1)])
def test_halving_takes_a_most_frequent_id(shape):
    labels = np.random.default_rng(0).integers(0, 4, shape).astype(np.uint8)
    halved = most_frequent_of_four(labels)
    padded = np.pad(labels, [(0, side % 2) for side in shape], mode="edge")
    for row, column in np.ndindex(halved.shape):
        four = padded[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].ravel()
        assert (four == halved[row, column]).sum() == stats.mode(four).count
