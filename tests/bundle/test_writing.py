"""Every network of conf/model can be exported in every format, for images of any size."""

import pytest
import torch
from torch import nn

from unet_exp.bundle.running import open_network
from unet_exp.bundle.writing import plan_file, write_network
from unet_exp.config import compose_config
from unet_exp.errors import UserError
from unet_exp.instantiate import build
from unet_exp.prediction.byte_network import ByteNetwork

MODELS = {
    "unet": ["model=unet"],
    "unet bilinear": ["model=unet", "model.upsampling=bilinear", "model.norm=group", "model.depth=3"],
    "resunet": ["model=resunet", "model.segmentation_levels=2"],
    "improved_unet": ["model=improved_unet"],
    "improved_unet_isensee": ["model=improved_unet_isensee"],
    "attention_unet": ["model=attention_unet", "model.gate_finest=true"],
    "unet_plus_plus": ["model=unet_plus_plus", "supervision=deep"],
    "dilated_unet": ["model=dilated_unet"],
    "dilated_unet drd": ["model=dilated_unet", "model.block=drd", "model.norm=instance"],
    "resenc_unet": ["model=resenc_unet", "model.depth=4"],
    "monai_dynunet": ["model=monai_dynunet"],
    "deep supervision": ["model=unet", "supervision=deep"],
    "one level": ["model=unet", "model.depth=1"],
}


def network(*overrides: str) -> ByteNetwork:
    torch.manual_seed(0)
    config = compose_config("train", ["data=bcss", "model.base_channels=4", *overrides])
    built = build({"model": dict(config.model)}, "model")
    for module in built.modules():  # statistics as a trained network has them
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return ByteNetwork(built, [0.7, 0.55, 0.69], [0.18, 0.2, 0.16])


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["onnx", "torch_export"])
@pytest.mark.parametrize("model", MODELS)
def test_exported_networks_compute_the_same_at_any_size(model, format_, tmp_path):
    trained = network(*MODELS[model])
    file = plan_file(trained, 3, format_)
    write_network(trained, 3, file, tmp_path)
    exported = open_network(tmp_path / file.file, file, device="cpu")
    for count, height, width in [(1, 32, 32), (3, 64, 96), (2, 128, 32), (1, 45, 77), (4, 7, 130), (1, 200, 1)]:
        images = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8)
        with torch.no_grad():
            expected = trained(images)
        scale = max(1.0, expected.abs().max().item())
        torch.testing.assert_close(exported(images), expected, rtol=0, atol=1e-4 * scale)


def test_sizes_are_those_of_the_bottleneck():
    file = plan_file(network("model=unet", "model.depth=3"), 3, "onnx")
    assert (file.size_multiple, file.smallest_side) == (8, 16)
    assert [file.padded(side) for side in (1, 16, 17, 24, 25)] == [16, 16, 24, 24, 32]


def test_valid_padding_is_refused():
    with pytest.raises(UserError, match=r"model\.padding=same"):
        plan_file(network("model=unet", "model.padding=valid"), 3, "onnx")


class Shrinking(nn.Module):
    depth = 1

    def forward(self, image):
        return image[..., 1:-1, 1:-1]


def test_a_network_that_gives_fewer_pixels_is_refused():
    with pytest.raises(UserError, match=r"of 4x4 pixels: it gives \(2, 2\)"):
        plan_file(ByteNetwork(Shrinking(), [0.5], [0.5]), 1, "torch_export")


class Undecided(nn.Module):
    """Its graph depends on the values of the image."""

    depth = 1

    def forward(self, image):
        return image if image.mean() > 0 else -image


@pytest.mark.parametrize("format_", ["onnx", "torch_export"])
def test_a_network_that_cannot_be_followed_is_named(format_, tmp_path, capfd):
    trained = ByteNetwork(Undecided(), [0.5], [0.5])
    with pytest.raises(UserError, match=f"Undecided cannot be exported as {format_}"):
        write_network(trained, 1, plan_file(trained, 1, format_), tmp_path)
    out, err = capfd.readouterr()
    assert out + err == ""  # the exporter prints the whole graph where it is not stopped
