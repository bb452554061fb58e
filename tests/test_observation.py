"""What is measured of each case is the same on one, two and three processes."""

import pytest
import torch
from torch import distributed, multiprocessing

from unet_exp.boundary import BoundaryRule
from unet_exp.case_table import CaseTable
from unet_exp.observation import CaseObserver

IGNORE = 255
RULE = BoundaryRule(classes=(1,), tolerance=2.0, unit="px")


def samples():
    """Seven images; one has no labelled pixel, one no foreground."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 1, 1, 24, 30, generator=generator)
    masks = torch.randint(2, (7, 24, 30), generator=generator).to(torch.uint8)
    masks[:, :3] = IGNORE
    masks[4], masks[5, 3:] = IGNORE, 0
    return [(logits[i], {"mask": masks[i], "index": i, "view": 0}) for i in range(7)]


def observe(indexes):
    observer = CaseObserver(num_outputs=1, ignore_index=IGNORE, rule=RULE, device=torch.device("cpu"))
    everything = samples()
    for index in indexes:
        logits, sample = everything[index]
        observer(logits, (logits[0, 0] > 0).to(torch.uint8), sample)
    return observer.gather()


def _serve(rank, folder, shares):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=len(shares))
    details = observe(shares[rank])
    torch.save((details.calibration, details.boundary), folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(
    "shares", [[[0, 2, 4, 6], [1, 3, 5]], [[6, 3, 0], [4, 1, 6], [5, 2, 0]]], ids=["2 processes", "3, padded"]
)
def test_processes_agree_to_the_last_bit(shares, tmp_path):
    multiprocessing.spawn(_serve, args=(tmp_path, shares), nprocs=len(shares))
    alone = observe(range(7))
    for rank in range(len(shares)):
        calibration, boundary = torch.load(tmp_path / f"{rank}.pt")
        assert torch.equal(calibration, alone.calibration)
        torch.testing.assert_close(boundary, alone.boundary, rtol=0, atol=0, equal_nan=True)


@pytest.mark.slow
def test_a_process_without_cases_takes_part(tmp_path):
    multiprocessing.spawn(_serve, args=(tmp_path, [[3], []]), nprocs=2)
    calibration, _ = torch.load(tmp_path / "1.pt")
    assert torch.equal(calibration, observe([3]).calibration)


def test_ignored_pixels_belong_to_no_structure():
    logits, sample = samples()[0]
    prediction = (logits[0, 0] > 0).to(torch.uint8)
    spoiled = prediction.clone()
    spoiled[:3] = 1 - spoiled[:3]
    boundaries = []
    for one in (prediction, spoiled):
        observer = CaseObserver(num_outputs=1, ignore_index=IGNORE, rule=RULE, device=torch.device("cpu"))
        observer(logits, one, sample)
        boundaries.append(observer.gather().boundary)
    assert torch.equal(*boundaries)


def test_without_labelled_pixels_there_is_no_distance():
    assert observe([4]).boundary.isnan().all()


def test_views_of_a_case_are_added_up():
    table = CaseTable(2)
    for view, row in enumerate(([1, 2], [3, 4])):
        table.update(torch.tensor(row, dtype=torch.float64), 5, view)
    table.update(torch.tensor([9, 9], dtype=torch.float64), 2)
    assert table.compute().tolist() == [[9, 9], [4, 6]]


def test_a_row_of_another_width_or_type_is_refused():
    with pytest.raises(ValueError, match="Expected 2 float64 numbers"):
        CaseTable(2).update(torch.zeros(3, dtype=torch.float64), 0)
    with pytest.raises(ValueError, match="float32"):
        CaseTable(2).update(torch.zeros(2), 0)
