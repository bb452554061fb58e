"""Widths between whole numbers."""

from itertools import pairwise

import pytest

from unet_exp.model._width import level_widths


@pytest.mark.parametrize(
    ("base", "depth", "cap", "expected"),
    [
        (64, 4, None, [64, 128, 256, 512, 1024]),
        (22, 4, 8, [22, 44, 88, 176, 176]),
        (8.4, 4, None, [8, 17, 34, 67, 134]),
        (8.5, 1, None, [9, 17]),
        (0.2, 1, None, [1, 1]),
    ],
)
def test_channels_double_and_are_rounded(base, depth, cap, expected):
    assert level_widths(base, depth, cap=cap) == expected


def test_a_wider_network_is_nowhere_narrower():
    bases = [4 + i / 50 for i in range(1000)]
    widths = [level_widths(base, 4) for base in bases]
    for narrow, wide in pairwise(widths):
        assert all(a <= b for a, b in zip(narrow, wide, strict=True))
