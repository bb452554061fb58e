"""Bytes are normalised in the graph exactly as in training."""

import pytest
import torch
from torch import nn

from unet_exp.prediction.byte_network import ByteNetwork
from unet_exp.task import DataProperties, SegmentationTask

MEAN, STD = [0.7, 0.59, 0.54], [0.16, 0.17, 0.19]


def task(network: nn.Module) -> SegmentationTask:
    data = DataProperties(
        class_names=["a", "b"],
        scored_classes=[1],
        num_outputs=2,
        ignore_index=255,
        headline="global",
        mean=MEAN,
        std=STD,
    )
    return SegmentationTask(
        network=network,
        criterion=nn.CrossEntropyLoss(),
        inference=lambda net, images: net(images),
        data=data,
        optimizer=torch.optim.SGD,
        scheduler=lambda *_, **__: None,
    )


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_numbers_are_those_of_training_to_the_last_bit(layout):
    every_byte = torch.arange(256, dtype=torch.uint8).repeat(3, 1).view(1, 3, 16, 16).contiguous(memory_format=layout)
    seen = ByteNetwork(nn.Identity(), MEAN, STD)(every_byte)
    assert seen.dtype == torch.float32
    assert torch.equal(seen, task(nn.Identity()).normalize(every_byte))


def test_it_is_in_evaluation_mode_and_keeps_the_names_of_the_parameters():
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Dropout(0.5))
    ready = ByteNetwork(network, MEAN, STD)
    assert not network[1].training
    assert set(ready.state_dict()) == {"network.0.weight", "network.0.bias"}


def test_mean_and_std_must_be_of_one_length():
    with pytest.raises(ValueError, match="3 values and `std` has 2"):
        ByteNetwork(nn.Identity(), MEAN, STD[:2])
