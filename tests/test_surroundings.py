"""How data and network agree on surroundings."""

import pytest

from tests.conftest import REPOSITORY
from unet_exp.config import compose_config
from unet_exp.surroundings import context_margin, context_mpp, window_alignment


@pytest.mark.parametrize(
    ("overrides", "served", "margin", "alignment"),
    [
        (["data=bcss", "model=ctx_resunet"], [2.0], 384, 64),
        (["data=bcss", "model=ctx_resunet", "data.patch_size=128", "data.mpp=1.2"], [4.8], 192, 64),
        (["data=bcss", "model=ctx_resunet", "model.context_factor=2"], [1.0], 128, 32),
        (["data=bcss", "model=ctx_resunet", "model.context_factor=0"], [], 0, 16),
        (["data=bcss", "model=ctx_resunet", "data.context_mpp=[]"], [], 0, 64),
        (["data=bcss", "model=unet"], [], 0, 16),
        (["data=bcss", "model=unet", "model.depth=5"], [], 0, 32),
        (["data=isic2017", "model=ctx_resunet"], None, 0, 64),
    ],
)
def test_the_dataset_serves_what_the_network_asks_for(overrides, served, margin, alignment):
    config = compose_config("train", overrides)
    assert config.data.get("context_mpp") == served
    assert config.model.get("context_margin", 0) == config.inference.surroundings == margin
    assert config.inference.alignment == alignment


def test_values_of_a_wrong_kind_count_as_absent():
    assert context_mpp("half", 4) == []
    assert context_mpp(None, 4) == []
    assert context_margin("large", 0.5, [2.0], 4) == 0
    assert context_margin(128, 0.5, ["far"], 4) == 0
    assert window_alignment("five", 4) == 16


def test_it_needs_nothing_heavy():
    lines = (REPOSITORY / "unet_exp" / "surroundings.py").read_text().splitlines()
    assert not [line for line in lines if line.startswith(("import torch", "import numpy", "from torch"))]
