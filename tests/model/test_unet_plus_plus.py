import pytest
import torch
import torch.nn.functional as F

from unet_exp.model.unet_plus_plus import UNetPlusPlus


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_parameter_count_of_the_paper():
    """9.04 million (2018, table 2), with 32 to 512 channels and without normalisation."""
    with torch.device("meta"):
        net = UNetPlusPlus(1, 1, norm="none", ensemble=False)
    assert sum(weight.numel() for weight in net.parameters()) == 9_041_601


def test_parameter_count_by_hand():
    with torch.device("meta"):
        net = UNetPlusPlus(3, 5, norm="none")
    widths = [32, 64, 128, 256, 512]

    def pair(narrow, wide):
        return 9 * narrow * wide + wide + 9 * wide * wide + wide

    encoder = sum(pair(narrow, wide) for narrow, wide in zip([3, *widths], widths, strict=False))
    nodes = sum(
        4 * widths[row + 1] * widths[row] + widths[row] + pair((column + 1) * widths[row], widths[row])
        for column in range(1, 5)
        for row in range(5 - column)
    )
    assert sum(weight.numel() for weight in net.parameters()) == encoder + nodes + 4 * (32 * 5 + 5)


def test_nodes_follow_the_recursion_of_the_paper():
    net = UNetPlusPlus(3, 2, base_channels=2, depth=3, ensemble=False).eval()
    image = torch.randn(1, 3, 16, 24)

    def node(row, column):
        if column == 0:
            return net.encoder[row](image if row == 0 else F.max_pool2d(node(row - 1, 0), 2))
        module = net.columns[column - 1][row]
        inputs = [*(node(row, left) for left in range(column)), module.up(node(row + 1, column - 1))]
        return module.convolutions(torch.cat(inputs, 1))

    torch.testing.assert_close(net(image), net.heads.summed[0](node(0, 3)))


def shallower(deep, depth):
    """The UNet++ of smaller depth that a deep one contains, with the head that belongs to it."""
    net = UNetPlusPlus(3, 2, base_channels=4, depth=depth, ensemble=False)
    source = deep.state_dict()
    if depth < deep.depth:
        source |= {
            f"heads.summed.0.{name}": source[f"ensemble_heads.{depth - 1}.{name}"] for name in ("weight", "bias")
        }
    net.load_state_dict({name: source[name] for name in net.state_dict()})
    return net.train(deep.training)


@pytest.mark.parametrize("training", [True, False])
def test_ensemble_is_the_average_of_the_networks_of_all_depths(training):
    deep = UNetPlusPlus(3, 2, base_channels=4, depth=4).train(training)
    image = torch.randn(2, 3, 32, 48)
    alone = [shallower(deep, depth)(image) for depth in (1, 2, 3, 4)]
    assert not torch.allclose(alone[0], alone[3])
    torch.testing.assert_close(deep(image), sum(alone) / 4)


def test_without_ensemble_the_deepest_decides():
    deep = UNetPlusPlus(3, 2, base_channels=4, depth=2, ensemble=False)
    assert len(deep.ensemble_heads) == 0


def test_coarser_losses_leave_the_prediction_alone():
    """Heads at coarser scales are no part of the average."""
    net = UNetPlusPlus(3, 2, base_channels=4, supervision_weights=[1, 0.5, 0.25])
    image = torch.randn(2, 3, 32, 48)
    before = net(image)
    for head in net.heads.separate.values():
        torch.nn.init.zeros_(head.weight)
    after = net(image)
    assert torch.equal(after[0], before[0])
    assert not after[1].any()
    assert not after[2].any()
