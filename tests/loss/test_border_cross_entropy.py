import numpy as np
import pytest
import torch

from unet_exp.loss.border_cross_entropy import border_cross_entropy_loss, border_weights

from . import reference
from .reference import IGNORE, random_case, valid_pixels


def brute_force(foreground, labels, *, w0, sigma):
    """Distances to every pixel of every object, by hand."""
    weights = np.zeros(foreground.shape)
    objects = [np.argwhere(labels == number) for number in range(1, labels.max() + 1)]
    for position in np.argwhere(~foreground):
        distances = sorted(np.sqrt(((pixels - position) ** 2).sum(axis=1)).min() for pixels in objects)
        if len(distances) > 1:
            weights[tuple(position)] = w0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))
    return weights


def three_cells():
    labels = np.zeros((24, 30), dtype=int)
    labels[2:10, 3:12] = 1
    labels[2:10, 13:20] = 2  # one column of gap
    labels[14:22, 8:26] = 3
    return labels


@pytest.mark.parametrize("sigma", [1.0, 5.0])
def test_weight_map_agrees_with_brute_force(sigma):
    """With sigma = 1 the distances are cut off at 6 pixels, which must not show."""
    labels = three_cells()
    result = border_weights(labels > 0, border_weight=10.0, sigma=sigma)
    np.testing.assert_allclose(result, brute_force(labels > 0, labels, w0=10.0, sigma=sigma), rtol=1e-5, atol=1e-6)


def test_gap_of_one_pixel_has_the_paper_value():
    result = border_weights(three_cells() > 0, border_weight=10.0, sigma=5.0)
    assert result[5, 12] == pytest.approx(10 * np.exp(-((1 + 1) ** 2) / 50))
    assert result[5, 5] == 0  # inside a cell


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_objects_give_no_border(count):
    foreground = np.zeros((16, 16), dtype=bool)
    foreground[4:9, 4:9] = count == 1
    assert (border_weights(foreground, border_weight=10.0, sigma=5.0) == 0).all()


def test_objects_that_meet_at_a_corner_stay_two():
    foreground = np.zeros((8, 8), dtype=bool)
    foreground[1:4, 1:4] = foreground[4:7, 4:7] = True
    assert border_weights(foreground, border_weight=10.0, sigma=5.0)[3, 4] == pytest.approx(
        10 * np.exp(-((1 + 1) ** 2) / 50)
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_loss_agrees_with_numpy(channels):
    labels = three_cells()
    target = torch.from_numpy(np.where(labels == 3, max(1, channels - 1), labels > 0)).long()[None]
    target[0, 12, :4] = IGNORE
    logits = torch.randn(1, channels, *labels.shape, generator=torch.manual_seed(0)).double()
    class_weights = np.array([1.0, 2.0, 3.0])[: max(2, channels)]
    p, y = valid_pixels(logits, target)
    weights = brute_force(labels > 0, labels, w0=10.0, sigma=5.0)[target[0].numpy() != IGNORE]
    weights = weights + class_weights[y]
    expected = (-np.log(p[np.arange(len(y)), y]) * weights).sum() / weights.sum()
    result = border_cross_entropy_loss(
        logits, target, ignore_index=IGNORE, class_weights=torch.from_numpy(class_weights)
    )
    assert float(result) == pytest.approx(expected, rel=1e-6)


def test_one_region_is_plain_cross_entropy():
    logits, target = random_case(1, size=16)
    target[:] = 0
    target[:, 4:9, 4:9] = 1
    result = border_cross_entropy_loss(logits, target, ignore_index=IGNORE)
    assert float(result) == pytest.approx(reference.cross_entropy(logits, target), rel=1e-10)


def test_errors_in_the_gap_cost_more():
    target = torch.from_numpy(three_cells() > 0).long()[None]
    logits = torch.where(target == 1, 5.0, -5.0).unsqueeze(1)
    gap, elsewhere = logits.clone(), logits.clone()
    gap[0, 0, 4:8, 12] = 5.0
    elsewhere[0, 0, 4:8, 28] = 5.0
    gap_loss = border_cross_entropy_loss(gap, target, ignore_index=IGNORE)
    assert gap_loss > 2 * border_cross_entropy_loss(elsewhere, target, ignore_index=IGNORE)
