import numpy as np
import pytest
from PIL import Image

from unet_exp.figure.reliability import save_reliability_diagram


def one_bin(low, count, accuracy):
    return {"low": low, "high": low + 0.1, "count": count, "confidence": low + 0.05, "accuracy": accuracy}


def test_bins_without_pixels_are_left_out(tmp_path):
    empty = {"low": 0.0, "high": 0.1, "count": 0, "confidence": None, "accuracy": None}
    bins = [one_bin(0.6, 10, 0.5), one_bin(0.9, 90, 0.8)]
    save_reliability_diagram(bins, tmp_path / "without.png", ece=0.1)
    save_reliability_diagram([empty, *bins], tmp_path / "with.png", ece=0.1)
    pictures = [np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("with", "without")]
    assert (pictures[0] == pictures[1]).all()
    assert pictures[0].std() > 10


def test_accuracy_is_drawn(tmp_path):
    for name, accuracy in (("good", 0.95), ("poor", 0.3)):
        save_reliability_diagram([one_bin(0.9, 10, accuracy)], tmp_path / f"{name}.png", ece=0.1)
    assert (tmp_path / "good.png").read_bytes() != (tmp_path / "poor.png").read_bytes()


def test_without_pixels_there_is_nothing_to_draw(tmp_path):
    with pytest.raises(ValueError, match="at least one bin"):
        save_reliability_diagram([], tmp_path / "none.png", ece=0)
