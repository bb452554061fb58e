"""The benchmarks still run: on tiny data, with whatever peers are installed."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from benchmarks import _peer_windows
from benchmarks._peak import GeneratedImage, RowCounter
from benchmarks._regions import make_region
from benchmarks._seams import compare
from benchmarks._step_memory import step_memory_in_process
from benchmarks._whole_images import (
    build_network,
    one_pass,
    ours,
    plain_tiles,
    shipped_options,
    streaming,
    train_network,
)
from benchmarks.budgets import BUDGETS, model_names, solutions, solve, solved_table
from benchmarks.inference import EXACT_HALO
from tests.conftest import REPOSITORY
from unet_exp.inference import ArrayReader

PARTS = ("crops", "photographs", "stages", "opening", "processes")


@pytest.mark.slow
def test_the_data_benchmark_fills_all_its_tables(run_module, tmp_path):
    tiny = [
        "--regions",
        "2",
        "--side",
        "600",
        "--photographs",
        "12",
        "--repetitions",
        "1",
        "--seconds",
        "0.05",
        "--workers",
        "0",
        "2",
    ]
    result = run_module("benchmarks.data", *tiny, "--workers", "0", "2", "--folder", str(tmp_path), cwd=REPOSITORY)
    assert result.returncode == 0, result.stderr
    for part in PARTS:
        _check_table(result.stdout, part)


def _check_table(output, part):
    """The rows of a part's table, without header and rule."""
    section = output.split(f"\n{part}\n\n")[1]
    lines = section[section.index("|") :].split("\n\n")[0].splitlines()  # text may come before the table
    assert len(lines) >= 4, part  # a header, a rule and at least two rows
    assert len({row.count("|") for row in lines}) == 1
    return lines[2:]


@pytest.mark.slow
def test_an_unknown_part_is_refused(run_module):
    result = run_module("benchmarks.data", "crop", cwd=REPOSITORY)
    assert result.returncode == 2
    assert "unknown part crop; choose from crops" in result.stderr


@pytest.fixture(scope="module")
def network():
    return train_network(build_network(2), steps=3)


@pytest.fixture(scope="module")
def image():
    return ArrayReader(make_region(3, 384)[0])


@pytest.fixture(scope="module")
def reference(network, image):
    with torch.inference_mode():
        return one_pass(network)(image)


def _own_labels(network, image, **changes):
    with torch.inference_mode():
        return ours(network, {**shipped_options(), **changes})(image)


@pytest.mark.slow
def test_one_window_over_the_whole_image_is_one_pass(network, image, reference):
    """All contestants share one network, one normalisation and one decision."""
    contestants = {"tiles": (plain_tiles(network, 384), 0)}
    if _peer_windows.is_installed("monai"):
        contestants["monai"] = (_peer_windows.monai(network, 384, 0.25), 1e-4)
    if _peer_windows.is_installed("nnunetv2"):
        contestants["nnunet"] = (_peer_windows.nnunet(network, 384), 1e-2)  # adds up in float16
    assert len(np.unique(reference)) > 1
    for name, (predict, tolerance) in contestants.items():
        with torch.inference_mode():
            differs = (predict(image) != reference).mean()
        assert differs <= tolerance, name


def test_tiles_have_seams_and_a_halo_as_wide_as_the_network_sees_has_none(network, image, reference):
    with torch.inference_mode():
        tiles = compare(plain_tiles(network, 128)(image), reference)
    exact = compare(_own_labels(network, image, window_size=256, halo=EXACT_HALO, blend="crop"), reference)
    assert tiles.everywhere > 100e-6
    assert exact.everywhere < 20e-6  # what rounding leaves


def test_tiles_at_the_lower_and_right_border_are_smaller(network, image, reference):
    with torch.inference_mode():
        labels = plain_tiles(network, 256)(image)
    assert labels.shape == reference.shape
    assert (labels[:128, :128] == reference[:128, :128]).all()  # far from the border between tiles


def test_the_worst_strip_finds_a_seam():
    reference = np.zeros((100, 200), np.uint8)
    labels = reference.copy()
    labels[:50, 92:100] = 1
    seams = compare(labels, reference)
    assert seams.everywhere == pytest.approx(50 * 8 / 20_000)
    assert seams.worst_strip == pytest.approx(50 * 8 / (100 * 32))


def test_a_generated_image_is_the_same_in_any_part():
    image = GeneratedImage(300)
    whole = image.read(0, 0, 300, 300)
    assert whole.dtype == np.uint8
    assert (image.read(250, 17, 40, 60) == whole[250:290, 17:77]).all()


def test_streaming_writes_every_row_once(network):
    writer = RowCounter()
    streaming(network, {**shipped_options(), "window_size": 96, "halo": 16})(GeneratedImage(200), writer)
    assert writer.rows == 200


@pytest.mark.slow
def test_peak_memory_does_not_count_that_of_the_parent():
    code = "from benchmarks._peak import peak_resident; print(peak_resident())"
    ballast = np.ones(150_000_000)  # 1144 MiB
    peak = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert 20 < float(peak.stdout) < ballast.nbytes / 2**20


TINY = ("--side", "384", "--tile", "128", "--steps", "2", "--base-channels", "2", "--repetitions", "2")


@pytest.mark.slow
def test_the_inference_benchmark_fills_all_its_tables(run_module):
    points = ["--window-sizes", "208", "288", "--halos", "8", "32"]
    sizes = ["--sides", "192", "256", "--peer-sides", "192", "--memory-channels", "2"]
    result = run_module("benchmarks.inference", *TINY, *points, *sizes, cwd=REPOSITORY)
    assert result.returncode == 0, result.stderr
    rows = {part: _check_table(result.stdout, part) for part in ("speed", "windows", "memory")}
    assert "| 1.00 | 1.00 to 1.00 |" in rows["speed"][0]
    assert "`inference=halo`" in rows["speed"][1]
    exact = next(row for row in rows["windows"] if f"halo {EXACT_HALO}, crop" in row)
    assert float(exact.split("|")[6]) < 20  # per million
    assert rows["memory"][1].split("|")[3].strip() == "-"


@pytest.mark.slow
def test_seams_are_measured_on_a_smaller_image_and_slow_peers_once(run_module):
    result = run_module("benchmarks.inference", "speed", *TINY, "--seam-side", "256", "--keep-memory", cwd=REPOSITORY)
    assert result.returncode == 0, result.stderr
    assert "freed memory kept by glibc; differ: pixels per million with another class" in result.stdout
    assert "one pass over 256 x 256 gives" in result.stdout
    rows = _check_table(result.stdout, "speed")
    if _peer_windows.is_installed("monai"):
        assert " to " in next(row for row in rows if "MONAI, window 128, overlap 0.25" in row)
        assert "| once |" in next(row for row in rows if "MONAI, window 128, overlap 0.5" in row)


@pytest.mark.slow
def test_an_unknown_part_of_the_inference_benchmark_is_refused(run_module):
    result = run_module("benchmarks.inference", "sped", cwd=REPOSITORY)
    assert result.returncode == 2
    assert "unknown part sped; choose from speed" in result.stderr


@pytest.mark.slow
def test_the_memory_of_a_step_is_what_the_process_needs():
    """More by the buffers of the convolutions, and by what the libraries load with the first large step."""
    cost = solve("unet", "s").cost
    assert 0.65 < cost.training_memory_mb(2) / step_memory_in_process("unet", "s", 256, 2) < 1.1


@pytest.mark.slow
def test_the_page_on_budgets_holds_what_the_program_prints():
    page = (REPOSITORY / "docs" / "budget.md").read_text()
    found = list(solutions(model_names(), BUDGETS))
    assert len(found) >= 4 * len(BUDGETS)
    for line in solved_table(found).splitlines():  # networks of libraries that are not installed stand there too
        assert line in page
