"""Batches of worker processes travel through shared memory that is used again, and nobody notices."""

from types import SimpleNamespace

import pytest
import torch

from tests.data.test_sampling import digest, loader
from unet_exp.data import _handover
from unet_exp.data._handover import Handover, Parcel


def all_batches(train_loader, epochs=3):
    """Kept until the end, when their places have been written to many times."""
    kept = []
    for epoch in range(epochs):
        train_loader.batch_sampler.sampler.set_epoch(epoch)
        kept += list(train_loader)
    return [digest(batch) for batch in kept]


@pytest.mark.parametrize("persistent", [True, False])
def test_batches_that_are_kept_do_not_change(bcss_root, persistent):
    workers = loader(bcss_root, workers=2)
    workers.__dict__["persistent_workers"] = persistent  # as loader.persistent_workers sets it
    assert all_batches(workers) == all_batches(loader(bcss_root))


def test_abandoned_iterations_take_no_place_for_good(bcss_root, monkeypatch):
    received = []
    receive = Handover.receive
    monkeypatch.setattr(Handover, "receive", lambda self, sent: received.append(sent) or receive(self, sent))
    workers = loader(bcss_root, workers=2)
    for _ in range(6):
        next(iter(workers))
    received.clear()
    assert all_batches(workers) == all_batches(loader(bcss_root))
    # The last abandoned batches may arrive when the next iteration has begun, and count as taken in that one.
    settled = received[len(received) // 3 :]
    assert all(isinstance(sent, Parcel) for sent in settled)
    assert (
        sum(sent.tensors is not None for sent in received if isinstance(sent, Parcel)) <= 6
    )  # two workers with three places each


@pytest.fixture
def handover(monkeypatch):
    """One end of it, as in a worker; the other end is the same object, as the memory is shared."""
    monkeypatch.setattr(_handover, "get_worker_info", lambda: SimpleNamespace(id=0))
    one = Handover(1, places=2, pin=False)
    one.begin()
    return one


def batch(value, size=4):
    return {"image": torch.full((2, 3, size, size), value, dtype=torch.uint8)}


def test_a_place_is_free_again_once_it_was_read(handover):
    sent = [handover.send(batch(1)), handover.send(batch(2))]
    assert [parcel.place for parcel in sent] == [(0, 0), (0, 1)]
    assert handover.receive(sent[1])["image"].unique().item() == 2
    again = handover.send(batch(3))
    assert again.place == (0, 1)
    assert again.tensors is None  # the main process knows its memory
    assert handover.receive(sent[0])["image"].unique().item() == 1
    assert handover.receive(again)["image"].unique().item() == 3


def test_a_batch_without_a_free_place_travels_by_itself(handover):
    handover.send(batch(1))
    handover.send(batch(2))
    third = batch(3)
    assert handover.send(third) is third
    assert handover.receive(third) is third


def test_a_batch_of_another_size_travels_by_itself(handover):
    handover.receive(handover.send(batch(1)))
    smaller = batch(2, size=3)
    assert handover.send(smaller) is smaller


def test_the_memory_layout_is_kept(handover):
    sent = {"image": torch.zeros(2, 3, 8, 8, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)}
    received = handover.receive(handover.send(sent))
    assert received["image"].is_contiguous(memory_format=torch.channels_last)
