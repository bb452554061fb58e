"""The torchmetrics shell; the functions that make numbers of its matrices are tested in test_metric.py."""

import pytest
import torch
from torch import distributed, multiprocessing

from unet_exp.metric import Cases, SegmentationMetric, confusion_matrix

IGNORE = 255


def masks():
    """Six images of three classes, some pixels ignored."""
    generator = torch.Generator().manual_seed(0)
    preds = torch.randint(3, (6, 8, 8), generator=generator)
    target = torch.tensor([0, 1, 2, IGNORE])[torch.randint(4, (6, 8, 8), generator=generator)]
    return preds, target


def matrices_of(preds, target):
    pairs = zip(preds, target, strict=True)
    return torch.stack([confusion_matrix(p, t, num_classes=3, ignore_index=IGNORE) for p, t in pairs])


def assert_same(cases, indexes, matrices):
    assert isinstance(cases, Cases)
    assert cases.indexes == indexes
    assert torch.equal(cases.matrices, matrices)


def test_returns_the_cases_in_the_order_of_their_index():
    preds, target = masks()
    metric = SegmentationMetric(3, ignore_index=IGNORE)
    metric.update(preds[3:], target[3:], torch.tensor([30, 40, 50]))
    metric.update(preds[:2], target[:2], [0, 10])
    metric.update(preds[2], target[2], 20)
    assert_same(metric.compute(), [0, 10, 20, 30, 40, 50], matrices_of(preds, target))


def test_single_case_keeps_its_shape():
    """torchmetrics squeezes tensors with one element."""
    metric = SegmentationMetric(2, ignore_index=IGNORE)
    metric.update(torch.zeros(4, 4).long(), torch.zeros(4, 4).long(), 5)
    assert_same(metric.compute(), [5], torch.tensor([[[16, 0], [0, 0]]]))


def test_repeated_case_counts_once():
    preds, target = masks()
    metric = SegmentationMetric(3, ignore_index=IGNORE)
    metric.update(preds, target, range(6))
    metric.update(preds[:2], target[:2], [0, 1])
    assert_same(metric.compute(), list(range(6)), matrices_of(preds, target))


def test_repeated_index_of_another_case_is_refused():
    metric = SegmentationMetric(2, ignore_index=IGNORE)
    metric.update(torch.zeros(4).long()[None], torch.zeros(4).long()[None], 3)
    metric.update(torch.zeros(4).long()[None], torch.ones(4).long()[None], 3)
    with pytest.raises(ValueError, match="index 3 came with two different truths"):
        metric.compute()


def test_number_of_indexes_must_fit():
    preds, target = masks()
    with pytest.raises(ValueError, match="one case index for each of the 6 images, but got 6 and 1"):
        SegmentationMetric(3, ignore_index=IGNORE).update(preds, target, 0)


def test_reset_forgets():
    preds, target = masks()
    metric = SegmentationMetric(3, ignore_index=IGNORE)
    metric.update(preds, target, range(6))
    metric.compute()
    metric.reset()
    metric.update(preds[0], target[0], 7)
    assert_same(metric.compute(), [7], matrices_of(preds[:1], target[:1]))


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
def test_without_any_case_is_empty():
    cases = SegmentationMetric(3, ignore_index=IGNORE).compute()
    assert_same(cases, [], torch.zeros(0, 3, 3, dtype=torch.int64))


def test_keeps_nothing_in_the_checkpoint():
    metric = SegmentationMetric(3, ignore_index=IGNORE)
    metric.update(*masks(), range(6))
    assert metric.state_dict() == {}


def _serve(rank, folder, shares):
    """One of two processes: for each share-out, update with the cases given to this rank and compute."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    preds, target = masks()
    metric = SegmentationMetric(3, ignore_index=IGNORE)
    results = []
    for share in shares:
        for index in share[rank]:
            metric.update(preds[index], target[index], index)
        results.append(tuple(metric.compute()))
        metric.reset()
    torch.save(results, folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_agree_with_one(tmp_path):
    """A sampler that pads serves case 0 twice; with a single case, the second process has none."""
    shares = [([4, 2, 0], [3, 1, 0]), ([5], [])]
    multiprocessing.spawn(_serve, args=(tmp_path, shares), nprocs=2)
    expected = matrices_of(*masks())
    for rank in range(2):
        (padded_indexes, padded), (one_index, one) = torch.load(tmp_path / f"{rank}.pt")
        assert padded_indexes == [0, 1, 2, 3, 4]
        assert torch.equal(padded, expected[:5])
        assert one_index == [5]
        assert torch.equal(one, expected[5:])
