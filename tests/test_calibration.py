"""Calibration sums against NumPy written from the definitions."""

import numpy as np
import pytest
import torch

from unet_exp import calibration
from unet_exp.calibration import (
    BINS,
    THRESHOLDS,
    CalibrationLayout,
    calibration_row,
    calibration_summary,
    threshold_table,
)

IGNORE = 255


def example(channels, seed=0, size=(23, 31)):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(channels, *size, generator=generator)
    target = torch.randint(max(2, channels), size, generator=generator)
    target[torch.rand(size, generator=generator) < 0.2] = IGNORE
    return logits, target


def probabilities(logits, target):
    """(K, P) and (P,) of the labelled pixels, in float64."""
    values = logits.double().numpy().reshape(len(logits), -1)
    if len(values) == 1:
        values = np.concatenate([np.zeros_like(values), values])
    exponents = np.exp(values - values.max(0))
    valid = target.numpy().ravel() != IGNORE
    return (exponents / exponents.sum(0))[:, valid], target.numpy().ravel()[valid]


def summary_of(*cases):
    rows = torch.stack([calibration_row(*case, ignore_index=IGNORE) for case in cases])
    return calibration_summary(rows, CalibrationLayout(len(cases[0][0])))


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_ece_and_brier_follow_the_definitions(channels):
    cases = [example(channels, seed) for seed in range(3)]
    parts = [probabilities(*case) for case in cases]
    p, true = np.concatenate([part[0] for part in parts], axis=1), np.concatenate([part[1] for part in parts])
    confidence, right = p.max(0), p.argmax(0) == true
    ece = 0.0
    for low in np.arange(BINS) / BINS:
        inside = (confidence > low) & (confidence <= low + 1 / BINS)
        if inside.any():
            ece += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    squared = (p - np.eye(len(p))[true].T) ** 2
    found = summary_of(*cases)
    assert found["ece"] == pytest.approx(ece, abs=1e-12)
    assert found["brier"] == pytest.approx(squared[1].mean() if channels <= 2 else squared.sum(0).mean(), abs=1e-12)
    assert sum(one["count"] for one in found["bins"]) == len(true)


def test_one_logit_equals_two():
    logits, target = example(1)
    two = torch.cat([torch.zeros_like(logits), logits])
    one, other = summary_of((logits, target)), summary_of((two, target))
    assert one["ece"] == pytest.approx(other["ece"], abs=1e-12)
    assert one["brier"] == pytest.approx(other["brier"], abs=1e-12)


def test_an_overconfident_network_is_found_out():
    logits = torch.full((1, 10, 10), 20.0)
    target = torch.zeros(10, 10, dtype=torch.int64)
    target[:, :7] = 1
    found = summary_of((logits, target))
    assert found["ece"] == pytest.approx(0.3, abs=1e-6)
    assert found["brier"] == pytest.approx(0.3, abs=1e-6)
    (filled,) = (one for one in found["bins"] if one["count"])
    assert (filled["count"], filled["accuracy"]) == (100, pytest.approx(0.7))


def test_pixels_without_label_are_in_no_bin():
    logits, target = example(3)
    spoiled = logits.clone()
    spoiled[:, target == IGNORE] = 50
    assert summary_of((spoiled, target)) == summary_of((logits, target))


def test_without_a_labelled_pixel_there_is_no_number():
    found = summary_of((torch.zeros(3, 4, 4), torch.full((4, 4), IGNORE)))
    assert (found["ece"], found["brier"]) == (None, None)


def test_large_images_are_counted_in_pieces(monkeypatch):
    logits, target = example(2)
    whole = calibration_row(logits, target, ignore_index=IGNORE)
    monkeypatch.setattr(calibration, "_CHUNK", 100)
    torch.testing.assert_close(calibration_row(logits, target, ignore_index=IGNORE), whole, rtol=0, atol=1e-10)


def test_thresholds_follow_from_masks():
    cases = [example(1, seed) for seed in range(3)]
    empty = (torch.full((1, 8, 8), -9.0), torch.zeros(8, 8, dtype=torch.int64))  # nothing there, nothing claimed
    unlabelled = (torch.zeros(1, 8, 8), torch.full((8, 8), IGNORE))
    rows = torch.stack([calibration_row(*case, ignore_index=IGNORE) for case in (*cases, empty, unlabelled)])
    table = threshold_table(rows, CalibrationLayout(1))
    assert [row["threshold"] for row in table] == list(THRESHOLDS)
    for row in table:
        dice, hits, claimed, present = [1.0], 0, 0, 0
        for case in cases:
            p, true = probabilities(*case)
            found = p[1] > row["threshold"]
            both = (found & (true == 1)).sum()
            dice.append(2 * both / (found.sum() + (true == 1).sum()))
            hits, claimed, present = hits + both, claimed + found.sum(), present + (true == 1).sum()
        assert row["dice"] == pytest.approx(np.mean(dice), abs=1e-12)
        assert row["global_dice"] == pytest.approx(2 * hits / (claimed + present), abs=1e-12)
        assert row["precision"] == pytest.approx(hits / claimed, abs=1e-12)
        assert row["recall"] == pytest.approx(hits / present, abs=1e-12)


def test_several_classes_have_no_threshold():
    rows = calibration_row(*example(3), ignore_index=IGNORE)[None]
    assert threshold_table(rows, CalibrationLayout(3)) == []
