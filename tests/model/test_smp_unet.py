"""What we add to the library: widths, any size, one sentence for a mistake. Most tests play the library."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from unet_exp.model.smp_unet import SmpUNet


class PlayedUnet(nn.Module):
    """Keeps what it was called with; as strict about sizes and names as the library's first releases."""

    def __init__(self, encoder_name, encoder_depth, encoder_weights, decoder_channels, in_channels, classes):
        super().__init__()
        if encoder_name != "resnet34":
            raise KeyError(f"Wrong encoder name `{encoder_name}`, supported encoders: ['resnet34']")
        assert len(decoder_channels) == encoder_depth
        self.widths, self.weights, self.stride = list(decoder_channels), encoder_weights, 2**encoder_depth
        self.head = nn.Conv2d(in_channels, classes, 1)

    def forward(self, image):
        assert image.shape[-2] % self.stride == 0
        assert image.shape[-1] % self.stride == 0
        return self.head(image)


@pytest.fixture
def played(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", SimpleNamespace(Unet=PlayedUnet))


@pytest.mark.usefixtures("played")
class TestWrapper:
    @pytest.mark.parametrize(
        ("base_channels", "depth", "widths"),
        [(16, 5, [256, 128, 64, 32, 16]), (16, 3, [64, 32, 16]), (8.4, 4, [67, 34, 17, 8])],
    )
    def test_widths_of_the_decoder(self, base_channels, depth, widths):
        assert SmpUNet(3, 2, base_channels=base_channels, depth=depth).body.widths == widths

    def test_nothing_is_downloaded_unless_asked_for(self):
        assert SmpUNet(3, 2).body.weights is None
        assert SmpUNet(3, 2, encoder_weights="imagenet").body.weights == "imagenet"

    @pytest.mark.parametrize("size", [(64, 96), (33, 100), (1, 1)])
    def test_any_size(self, size):
        net = SmpUNet(3, 2)
        image = torch.randn(2, 3, *size)
        torch.testing.assert_close(net(image), net.body.head(image))

    def test_unknown_encoder(self):
        with pytest.raises(ValueError, match=r"^Wrong encoder name `resnet35`"):
            SmpUNet(3, 2, encoder_name="resnet35")


def test_deep_supervision_is_refused():
    with pytest.raises(ValueError, match="at full resolution only: use supervision=none"):
        SmpUNet(3, 2, supervision_weights=[1, 0.5])


def test_widths_of_the_real_library():
    library = pytest.importorskip("segmentation_models_pytorch", exc_type=ImportError)
    net = SmpUNet(3, 5)
    original = library.Unet("resnet34", encoder_weights=None, in_channels=3, classes=5)
    assert {n: w.shape for n, w in net.body.state_dict().items()} == {
        n: w.shape for n, w in original.state_dict().items()
    }
