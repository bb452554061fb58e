"""Less is kept, and nothing else is different: not a bit of loss, gradient and running statistics."""

import copy

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tests.networks import MODELS, model_block
from tests.ranks import on_ranks
from tests.runs import run, tiny
from unet_exp.gradient_checkpointing import checkpoint_gradients
from unet_exp.model._optional import MissingPackageError
from unet_exp.run.checkpoint_io import read_checkpoint
from unet_exp.run.whole_batch_layers import WholeBatchLayers


def build(model: str) -> torch.nn.Module:
    torch.manual_seed(0)
    weights = [1.0] if model == "smp_unet" else [1.0, 0.5]  # it has no deep supervision
    groups = {"data": {"in_channels": 3, "num_classes": 4}, "supervision": {"weights": weights}}
    config = OmegaConf.create({**groups, "model": model_block(model)})
    try:
        return instantiate(OmegaConf.merge(config, {"model": {"base_channels": 8}}).model)
    except InstantiationException as error:
        if isinstance(error.__cause__, MissingPackageError):
            pytest.skip(str(error.__cause__))
        raise


def step(network: torch.nn.Module, images: torch.Tensor):
    """Loss, gradients and buffers after two passes, and the bytes that were kept for the gradient."""
    kept = 0

    def pack(tensor):
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    torch.manual_seed(1)
    for _ in range(2):
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = sum(logits.square().mean() for logits in network.train()(images))
        loss.backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    return loss.detach(), gradients, dict(network.named_buffers()), kept


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_loss_gradients_and_statistics_are_the_same_bits(model):
    plain = build(model)
    thrifty = copy.deepcopy(plain)
    blocks = checkpoint_gradients(thrifty)
    assert len(blocks) >= 8
    assert list(thrifty.state_dict()) == list(plain.state_dict())
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    loss, gradients, buffers, kept = step(plain, images)
    other_loss, other_gradients, other_buffers, other_kept = step(thrifty, images)
    assert torch.equal(loss, other_loss)
    assert all(torch.equal(value, other_gradients[name]) for name, value in gradients.items())
    assert all(torch.equal(value, other_buffers[name]) for name, value in buffers.items())
    assert other_kept < 0.6 * kept
    images = images[:1]
    assert torch.equal(plain.eval()(images), thrifty.eval()(images))


def test_two_processes_compute_again_in_step(tmp_path):
    """Normalisation over the batch of both exchanges sums in the second pass too."""
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(2))

    def work(rank):
        results = []
        for thrifty in (False, True):
            network = WholeBatchLayers(batch_norm=True).apply(build("unet"))
            if thrifty:
                checkpoint_gradients(network)
            loss, gradients, buffers, _ = step(network, images[rank::2])
            results.append([loss, *gradients.values(), *buffers.values()])
        return results

    for plain, thrifty in on_ranks(2, tmp_path / "store", work):
        assert all(torch.equal(one, other) for one, other in zip(plain, thrifty, strict=True))


@pytest.mark.slow
def test_a_training_is_the_same_to_the_bit(bcss_root, tmp_path):
    """With an average of the weights, which copies the network."""
    settings = ("trainer.max_epochs=1", "data.patches_per_epoch=12", "callback=ema", "test_after_training=false")
    states = []
    for thrifty in ("false", "true"):
        given = tiny(bcss_root, tmp_path / thrifty, *settings, f"gradient_checkpointing={thrifty}")
        states.append(read_checkpoint(run(given).last_checkpoint)["state_dict"])
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
