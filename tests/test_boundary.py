"""Boundaries of volumes whose slices come one by one, in any order, to any process."""

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing

from unet_exp.boundary import BoundaryRule, PictureBoundaries, VolumeBoundaries
from unet_exp.volume_distance import volume_boundary_scores

IGNORE = 255
SPACINGS = [(1.0, 0.7, 0.7), (2.5, 0.8, 0.9), (5.0, 0.6, 0.6), (1.0, 1.0, 1.0)]
CPU = torch.device("cpu")


def volumes():
    """Truth and prediction of four volumes with two structures; the last one has no label at all."""
    generator = torch.Generator().manual_seed(0)
    pairs = []
    for index in range(4):
        size = (4 + index, 16 + index, 18)
        truth = torch.nn.functional.avg_pool2d(torch.rand(size, generator=generator), 5, 1, 2).mul(40).sub(18).round()
        prediction = truth.roll((1, 0, 2), (0, 1, 2)).clamp(0, 2)
        pairs.append((truth.clamp(0, 2).to(torch.uint8), prediction.to(torch.uint8)))
    pairs[0][0][:, :4] = IGNORE
    pairs[1][0][pairs[1][0] == 2], pairs[1][1][pairs[1][1] == 2] = 0, 0  # the second structure is in neither
    pairs[2][1][pairs[2][1] == 2] = 0  # missed
    pairs[3][0][:] = IGNORE
    return pairs


def places():
    return [(index, view) for index, (truth, _) in enumerate(volumes()) for view in range(len(truth))]


def compare(seen, classes=(1, 2)):
    rule = BoundaryRule(classes, tolerance=1.0, unit="mm")
    boundaries, pairs = VolumeBoundaries(rule, IGNORE, CPU, SPACINGS), volumes()
    for index, view in seen:
        truth, prediction = pairs[index]
        boundaries.update(prediction[view], truth[view], index, view)
    return boundaries.gather()


def test_equals_the_comparison_of_whole_volumes():
    found = compare(places())
    assert found.shape == (4, 2, 2)
    for index, (truth, prediction) in enumerate(volumes()[:3]):
        valid = truth != IGNORE
        for position, one in enumerate((1, 2)):
            masks = [((ids == one) & valid).numpy() for ids in (prediction, truth)]
            expected = volume_boundary_scores(*masks, shape=truth.shape, tolerance=1.0, spacing=SPACINGS[index])
            if any(mask.any() for mask in masks):
                assert tuple(found[index, position].tolist()) == expected


def test_absent_missed_and_unlabelled_structures():
    found = compare(places())
    assert found[1, 1].isnan().all()
    truth = volumes()[2][0]
    diagonal = np.linalg.norm(np.multiply(truth.shape, SPACINGS[2]))
    assert found[2, 1].tolist() == [pytest.approx(diagonal), 0]
    assert found[3].isnan().all()


def test_a_single_structure_in_neither_is_right():
    found = compare(places(), classes=(2,))
    assert found[1, 0].tolist() == [0, 1]
    assert found[3].isnan().all()


def test_the_order_of_slices_does_not_matter():
    torch.testing.assert_close(compare(places()[::-1]), compare(places()), rtol=0, atol=0, equal_nan=True)


def _serve(rank, folder, shares):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=len(shares))
    torch.save(compare(shares[rank]), folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.parametrize("processes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_slices_of_one_volume_may_lie_with_several_processes(processes, tmp_path):
    shares = [places()[rank::processes] for rank in range(processes)]
    shares[-1].append(places()[0])  # served twice
    multiprocessing.spawn(_serve, args=(tmp_path, shares), nprocs=processes)
    alone = compare(places())
    for rank in range(processes):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), alone, rtol=0, atol=0, equal_nan=True)


@pytest.mark.slow
def test_a_process_without_slices_takes_part(tmp_path):
    multiprocessing.spawn(_serve, args=(tmp_path, [places(), []]), nprocs=2)
    assert torch.equal(torch.load(tmp_path / "1.pt").nan_to_num(-1), compare(places()).nan_to_num(-1))


def test_pictures_are_measured_in_the_unit_of_their_pixels():
    truth, prediction = torch.zeros(2, 20, 20, dtype=torch.uint8)
    truth[5:15, 5:15], prediction[5:15, 8:18] = 1, 1
    boundaries = PictureBoundaries(BoundaryRule((1,), 1.0, "µm", spacing=0.25), IGNORE, CPU)
    boundaries.update(prediction, truth, 0, 0)
    assert boundaries.gather().tolist() == [[[0.75, 1.0]]]
