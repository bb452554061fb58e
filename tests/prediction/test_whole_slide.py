"""A slide of 20,000 x 20,000 pixels: predicted through the command, in memory that holds a fraction of it."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from tests.prediction.slides import write_pyramid
from tests.runs import run, tiny

SIDE = 20_000
GRID = SIDE // 2  # the run's pixels are twice as large as the slide's
LIMIT_MB = 2_400
"""The program takes 500 MB, OpenSlide's cache 256; the slide's finest level and its logits would be 3,600 more."""

_MEASURED = """
import sys
from unet_exp.predict import main
from unet_exp.run.memory import peak_memory_mb
main(sys.argv[1:])
print("peak MiB", round(peak_memory_mb()))
"""


def _regions(y, x):
    """Regions of the size that real ones have, in pink and purple, and bands of glass."""
    colors = np.where((((y >> 9) ^ (x >> 9)) & 3)[..., None] > 1, (200, 120, 180), (110, 60, 140)).astype(np.uint8)
    colors[(y + 0 * x) % _BAND > _BAND // 2] = 243
    return colors


_BAND = 10_000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures memory through /proc")
def test_a_slide_larger_than_the_memory_allowed(bcss_root, tmp_path):
    # Transposed convolutions of a network that has hardly learned give checkerboards: a million regions of one pixel.
    network = ("model.base_channels=2", "model.upsampling=bilinear", "trainer.max_epochs=1")
    folder = run(tiny(bcss_root, tmp_path / "runs", *network))
    slide = tmp_path / "slide.tif"
    write_pyramid(slide, (SIDE, SIDE), mpp=0.25, image=_regions)
    arguments = [f"run={folder.path}", f"input={slide}", f"output={tmp_path / 'out'}", "inference=halo"]
    arguments += ["inference.tissue_only=true", "inference.background_class=4"]
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < LIMIT_MB

    with tifffile.TiffFile(tmp_path / "out" / "slide.ome.tif") as file:
        levels = file.series[0].levels
        assert levels[0].shape == (GRID, GRID)
        assert len(levels) > 3
        labels = levels[0].asarray()
    assert (labels[3_100:3_800] == 4).all()  # windows that hold nothing but glass
    assert (labels[: GRID // 4 - 1000] != 4).any()
    rows = list(csv.DictReader((tmp_path / "out" / "areas.csv").open()))
    assert [int(row["pixels"]) for row in rows] == np.bincount(labels.ravel(), minlength=5).tolist()
    assert sum(float(row["area_mm2"]) for row in rows) == pytest.approx((SIDE * 0.25 / 1000) ** 2)
    outlines = json.loads((tmp_path / "out" / "slide.geojson").read_text())
    area = sum(feature["properties"]["area_um2"] for feature in outlines["features"])
    assert area == pytest.approx((SIDE * 0.25) ** 2)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "areas.csv",
        "predictions.jsonl",
        "slide.geojson",
        "slide.ome.tif",
    }
