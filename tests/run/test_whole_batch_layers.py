"""Layers on parts of a batch do what ordinary layers do with the whole one."""

import pytest
import torch
from torch import nn

from tests.ranks import on_ranks
from unet_exp.global_batch import in_place_of
from unet_exp.run.whole_batch_layers import WholeBatchDropout, WholeBatchLayers


def whole_images() -> torch.Tensor:
    return 3 + 2 * torch.randn(8, 4, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_dropout_of_the_parts_is_that_of_the_whole(processes, memory_format):
    images = whole_images().to(memory_format=memory_format)
    torch.manual_seed(7)
    expected = nn.Dropout(0.3)(images)
    assert 0.2 < (expected == 0).float().mean() < 0.4
    for rank in range(processes):
        part = images[rank::processes].contiguous(memory_format=memory_format)
        torch.manual_seed(7)
        with in_place_of(rank, processes):
            assert torch.equal(WholeBatchDropout(0.3)(part), expected[rank::processes])


def test_dropout_does_nothing_in_evaluation():
    images = whole_images()
    assert torch.equal(WholeBatchDropout(0.3).eval()(images), images)


def normalise(network, images):
    """Output, gradient and statistics after two steps, and the output in evaluation."""
    images = images.clone().requires_grad_()
    network.train()(images * 2)
    output = network(images)
    (output**3).sum().backward()
    statistics = network.state_dict()
    return [output.detach(), images.grad, network.eval()(images).detach()], statistics, network[0].weight.grad


def make_norm(dtype: torch.dtype) -> nn.Module:
    network = nn.Sequential(nn.BatchNorm2d(4))
    nn.init.uniform_(network[0].weight, generator=torch.Generator().manual_seed(1))
    return network.to(dtype)


@pytest.mark.parametrize(("processes", "dtype"), [(2, torch.float32), (4, torch.float32), (2, torch.float64)])
def test_batch_norm_of_the_parts_is_that_of_the_whole(processes, dtype, tmp_path):
    def work(rank):
        network = WholeBatchLayers(batch_norm=True).apply(make_norm(dtype))
        return normalise(network, whole_images().to(dtype)[rank::processes])

    values, statistics, weight_gradient = normalise(make_norm(dtype), whole_images().to(dtype))
    results = on_ranks(processes, tmp_path / "store", work)
    for rank, (parts, other_statistics, _) in enumerate(results):
        for part, value in zip(parts, values, strict=True):
            torch.testing.assert_close(part, value[rank::processes], rtol=1e-4, atol=1e-4)
        for name, value in statistics.items():
            torch.testing.assert_close(other_statistics[name], value, msg=name)
    torch.testing.assert_close(sum(gradient for *_, gradient in results), weight_gradient, rtol=1e-4, atol=1e-4)


def test_the_layers_are_put_back_and_hold_the_same():
    network = nn.Sequential(nn.BatchNorm2d(4), nn.Dropout(0.5))
    before, keys = list(network.parameters()), list(network.state_dict())
    layers = WholeBatchLayers(batch_norm=True)
    changed = layers.apply(network)
    assert [type(module) for module in changed] != [nn.BatchNorm2d, nn.Dropout]
    assert list(changed.state_dict()) == keys
    back = layers.revert(changed)
    assert [type(module) for module in back] == [nn.BatchNorm2d, nn.Dropout]
    assert all(one is other for one, other in zip(back.parameters(), before, strict=True))


def test_batch_norm_stays_apart_unless_wanted():
    network = WholeBatchLayers(batch_norm=False).apply(nn.Sequential(nn.BatchNorm2d(4), nn.Dropout(0.5)))
    assert [type(module) for module in network] == [nn.BatchNorm2d, WholeBatchDropout]
