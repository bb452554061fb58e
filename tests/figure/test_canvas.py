import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from unet_exp.figure._canvas import new_figure, pixels, write_png


def test_a_figure_is_a_readable_png(tmp_path):
    write_png(new_figure(2, 1), tmp_path / "sub" / "a.png")
    with Image.open(tmp_path / "sub" / "a.png") as image:
        assert image.format == "PNG"
        assert image.width == 2 * image.height


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, monkeypatch):
    file = tmp_path / "a.png"
    file.write_bytes(b"old")
    figure = new_figure(1, 1)

    def fail(handle, **_):
        handle.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        write_png(figure, file)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_pixels_are_rgb_and_own_their_memory():
    figure = new_figure(1, 1)
    figure.patch.set_facecolor((1, 0, 0))
    picture = pixels(figure)
    assert picture.dtype == np.uint8
    assert picture.base is None
    assert (picture == (255, 0, 0)).all()


def test_figures_need_neither_torch_nor_pyplot():
    code = (
        "import sys, unet_exp.figure.panel, unet_exp.figure.curves, unet_exp.figure.confusion;"
        "print([m for m in ('torch', 'matplotlib.pyplot') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
