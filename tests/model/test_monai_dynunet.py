import pytest
import torch
import torch.nn.functional as F

from unet_exp.model.monai_dynunet import MonaiDynUNet

nets = pytest.importorskip("monai.networks.nets")


def library_network(filters, **arguments):
    depth = len(filters) - 1
    return nets.DynUNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=5,
        kernel_size=[3] * (depth + 1),
        strides=[1] + [2] * depth,
        upsample_kernel_size=[2] * depth,
        filters=filters,
        **arguments,
    )


def test_parameter_count_of_the_library():
    with torch.device("meta"):
        net = MonaiDynUNet(3, 5)
        library = library_network([32, 64, 128, 256, 512, 512, 512])
    shared = {id(weight): weight.numel() for weight in library.parameters()}
    assert sum(weight.numel() for weight in net.parameters()) == sum(shared.values())


@pytest.mark.parametrize("residual", [False, True])
def test_same_answers_as_the_library(residual):
    torch.manual_seed(0)
    filters = [4, 8, 16, 24, 24]
    library = library_network(filters, res_block=residual, deep_supervision=True, deep_supr_num=2)
    net = MonaiDynUNet(
        3, 5, base_channels=4, channel_cap=6, depth=4, residual=residual, supervision_weights=[1, 0.5, 0.25]
    )
    sources = [library.input_block, *library.downsamples, library.bottleneck]
    for block, source in zip([*net.encoder, *net.decoder], [*sources, *library.upsamples], strict=True):
        block.load_state_dict(source.state_dict())
    heads = [net.heads.summed[0], *net.heads.separate.values()]
    for head, source in zip(heads, [library.output_block, *library.deep_supervision_heads], strict=True):
        head.load_state_dict({name.rpartition(".")[2]: weight for name, weight in source.state_dict().items()})
    image = torch.randn(2, 3, 64, 96)
    expected = library(image).unbind(1)
    predictions = net(image)
    assert [logits.shape[-2:] for logits in predictions] == [(64, 96), (32, 48), (16, 24)]
    for logits, wanted in zip(predictions, expected, strict=True):
        torch.testing.assert_close(F.interpolate(logits, (64, 96)), wanted)
    torch.testing.assert_close(net.eval()(image), library.eval()(image))


def test_no_weight_is_held_twice():
    net = MonaiDynUNet(3, 2, base_channels=4, supervision_weights=[1, 0.5])
    assert len({weight.data_ptr() for weight in net.state_dict().values()}) == len(net.state_dict())


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_norm_and_dropout(norm):
    net = MonaiDynUNet(3, 2, base_channels=5.3, depth=2, norm=norm, dropout=0.5)
    image = torch.randn(2, 3, 16, 16)
    assert not torch.equal(net(image), net(image))
    assert torch.equal(net.eval()(image), net(image))
