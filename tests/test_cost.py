"""What a network costs: against counts from the shapes of its layers, and against the tensors of real steps."""

import copy

import pytest
import torch
from torch import nn

from tests.networks import MODELS, LiveTensors, composed, multiply_accumulates, network_of
from unet_exp.cost import (
    NetworkCost,
    count_gmacs,
    count_parameters,
    count_sample_bytes,
    count_state_bytes,
    measure_cost,
    network_inputs,
)
from unet_exp.errors import ConfigError
from unet_exp.gradient_checkpointing import checkpoint_gradients

BATCH = 4
WHOLE = ("model.context_margin=0",)  # as with datasets of whole images


class Context(nn.Module):
    """A network that sees the surroundings as well."""

    def __init__(self, context_factor):
        super().__init__()
        self.context_factor = context_factor
        self.layer = nn.Conv2d(3, 2, 1)

    def forward(self, image, context):
        return self.layer(image) + self.layer(context)


def live_peak(network):
    """Bytes of all tensors at the peak of the second of two real steps with Adam, on the CPU."""
    optimizer = torch.optim.Adam(network.parameters())
    for _ in range(2):
        state = [t for values in optimizer.state.values() for t in values.values()]
        live = LiveTensors([*network.parameters(), *network.buffers(), *state])
        with live:
            optimizer.zero_grad()
            inputs = [torch.rand(*x.shape) for x in network_inputs(network, 3, (64, 64), BATCH)]
            logits = network.train()(*inputs)
            logits = logits if isinstance(logits, list) else [logits]
            torch.stack([scale.square().mean() for scale in logits]).sum().backward()
            optimizer.step()
    return live.peak


def test_by_hand():
    network = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(5, 2, 1), nn.Sigmoid())
    cost = measure_cost(network, 3, (8, 10))
    assert cost.parameters == 3 * 5 * 9 + 5 * 2 + 2
    assert cost.gmacs == pytest.approx((3 * 5 * 9 + 5 * 2) * 80 / 1e9)
    assert cost.state_bytes == 4 * 4 * cost.parameters
    # The image, what the ReLU gives (which the next convolution needs too) and what the sigmoid gives.
    assert cost.sample_bytes == (3 + 5 + 2) * 80 * 4
    assert cost.training_memory_mb(7) == pytest.approx((cost.state_bytes + 7 * cost.sample_bytes) / 2**20)


def test_what_is_not_trained_has_neither_gradient_nor_adam():
    network = nn.Sequential(nn.Conv2d(3, 5, 1, bias=False), nn.BatchNorm2d(5))
    network[0].weight.requires_grad = False
    assert count_parameters(network) == 10
    assert count_state_bytes(network) == 4 * 15 + 4 * 4 * 10 + (4 * 10 + 8)  # frozen, trained, running statistics


def test_inputs_of_a_network_with_and_without_context():
    assert [tuple(x.shape) for x in network_inputs(Context(4), 3, (8, 10), 2)] == [(2, 3, 8, 10)] * 2
    assert [tuple(x.shape) for x in network_inputs(Context(0), 3, (8, 10), 2)] == [(2, 3, 8, 10)]
    served_none = Context(4)
    served_none.context_margin = 0  # it makes them from the image
    assert len(network_inputs(served_none, 3, (8, 10), 2)) == 1
    assert [x.device.type for x in network_inputs(nn.Conv2d(3, 2, 1), 3, (8, 10), 2)] == ["meta"]
    cost = measure_cost(Context(4), 3, (8, 10))
    assert cost.gmacs == pytest.approx(2 * 3 * 2 * 80 / 1e9)


@pytest.mark.parametrize("model", MODELS)
def test_multiply_accumulates_are_those_of_the_layers(model):
    network = network_of(composed(model, "model.base_channels=6.7"))
    inputs = network_inputs(network, 3, (96, 64), 1)
    assert count_gmacs(network, 3, (96, 64)) == pytest.approx(multiply_accumulates(network, inputs) / 1e9, rel=1e-9)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.slow
def test_memory_is_that_of_the_tensors_of_a_real_step(model):
    config = composed(model, "model.base_channels=6")
    real = network_of(config, on="cpu")
    estimated = measure_cost(real, 3, (64, 64)).training_memory_mb(BATCH) * 2**20
    assert 0.85 < estimated / live_peak(real) < 1.15


@pytest.mark.parametrize("model", ["unet", "resunet"])
def test_memory_with_gradient_checkpointing(model):
    real = network_of(composed(model, "model.base_channels=6"), on="cpu")
    plain = measure_cost(real, 3, (64, 64))
    checkpoint_gradients(real)
    cost = measure_cost(real, 3, (64, 64))
    assert cost.gmacs == plain.gmacs
    assert cost.sample_bytes < 0.75 * plain.sample_bytes
    assert 0.85 < cost.training_memory_mb(BATCH) * 2**20 / live_peak(real) < 1.15


def test_surroundings_are_counted_where_the_dataset_serves_them():
    served, pooled = (measure_cost(network_of(composed("ctx_resunet", *data)), 3, (256, 256)) for data in ((), WHOLE))
    assert served.parameters == pooled.parameters
    # A branch that sees 256x256 pixels of its own computes sixteen times as much as one that sees the image pooled.
    branch = network_of(composed("ctx_resunet")).context
    shares = [multiply_accumulates(branch, [torch.empty(1, 3, side, side, device="meta")]) for side in (256, 64)]
    assert served.gmacs - pooled.gmacs == pytest.approx((shares[0] - shares[1]) / 1e9, rel=0.01)


def test_counting_changes_nothing():
    network = network_of(composed("unet", "model.base_channels=2"), on="cpu").train()
    before = copy.deepcopy(network.state_dict())
    measure_cost(network, 3, (32, 32))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_activations_grow_with_the_image():
    network = network_of(composed("unet"))
    small, large = (count_sample_bytes(network, 3, (height, 64)) for height in (64, 128))
    assert large == pytest.approx(2 * small, rel=0.01)


def test_a_size_that_the_network_refuses_is_a_mistake_in_the_configuration():
    network = network_of(composed("unet", "model.padding=valid", "model.base_channels=2"))
    with pytest.raises(ConfigError, match="resize or crop to 188 or 204 pixels"):
        measure_cost(network, 3, (200, 200))


def test_a_cost_without_memory_is_possible():
    assert NetworkCost(parameters=10, gmacs=1.0).training_memory_mb(8) == 0.0
