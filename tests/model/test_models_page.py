"""docs/models.md tells of every network, and the sizes it prints are those of the code."""

import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.conftest import REPOSITORY
from tests.model.conftest import MODEL_NAMES

ROWS = {
    name: cells
    for name, *cells in re.findall(
        r"^\| `(\w+)` \|.*\| ([\d.]+ M|of the encoder) \| ([\d.]+|of the encoder) \|",
        (REPOSITORY / "docs" / "models.md").read_text(),
        re.MULTILINE,
    )
}


def test_it_has_every_network():
    assert sorted(ROWS) == MODEL_NAMES


def test_sizes(build, model_config, model_name):
    if ROWS[model_name][0] == "of the encoder":
        pytest.skip("depends on the encoder")
    config = model_config(model_name)
    with torch.device("meta"):
        net = build(model_name, num_classes=5, base_channels=config.base_channels, depth=config.depth).eval()
    images = [torch.empty(1, 3, 256, 256, device="meta") for _ in range(2 if getattr(net, "context_factor", 0) else 1)]
    with FlopCounterMode(display=False) as counter:
        net(*images)
    parameters = sum(weight.numel() for weight in net.parameters())
    assert ROWS[model_name] == [f"{parameters / 1e6:.2f} M", f"{counter.get_total_flops() / 2e9:.2f}"]
