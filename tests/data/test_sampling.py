"""Randomness is a function of (seed, epoch, index): never of workers, ranks, or where training was resumed."""

import hashlib

import numpy as np
import pytest
import torch

from tests import fake
from unet_exp.build import build_datamodule
from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.data import _sampling
from unet_exp.data._sampling import EpochSampler, EvaluationBatches
from unet_exp.errors import UserError


def loader(root, *overrides, data="bcss", workers=0, seed=0, augmentation="nnunet_like"):
    given = [f"data={data}", f"data.root={root}", f"augmentation={augmentation}", f"seed={seed}"]
    given += [f"loader.num_workers={workers}", "loader.batch_size=4"]
    if data == "bcss":
        given += ["data.patch_size=32", "data.patches_per_epoch=24"]
    else:
        given += ["data.image_size=32"]
    return build_datamodule(check_train_config(compose_config("train", [*given, *overrides]))).train_dataloader()


def digest(batch) -> str:
    return hashlib.sha256(b"".join(batch[name].numpy().tobytes() for name in sorted(batch))).hexdigest()


def epochs(train_loader, count=2) -> list[list[str]]:
    result = []
    for epoch in range(count):
        train_loader.batch_sampler.sampler.set_epoch(epoch)
        result.append([digest(batch) for batch in train_loader])
    return result


SAMPLINGS = [
    ("bcss", []),
    ("bcss", ["data.balance=uniform", "data.context_mpp=[1.0,2.0]"]),
    ("isic2017", []),
]


@pytest.mark.parametrize(("data", "overrides"), SAMPLINGS)
def test_batches_do_not_depend_on_the_number_of_workers(data, overrides, tmp_path):
    root = fake.MAKERS[data](tmp_path / "data")
    reference = epochs(loader(root, *overrides, data=data))
    for workers in (1, 4):
        assert epochs(loader(root, *overrides, data=data, workers=workers)) == reference


@pytest.mark.parametrize(("data", "overrides"), SAMPLINGS)
def test_samples_do_not_depend_on_the_number_of_ranks(data, overrides, tmp_path, monkeypatch):
    """Every step of an epoch holds the same samples, whoever trains on them."""
    root = fake.MAKERS[data](tmp_path / "data")
    streams = {}
    for world_size in (1, 2, 4):
        ranks = []
        for rank in range(world_size):
            monkeypatch.setattr(_sampling, "rank_and_world_size", lambda r=rank, w=world_size: (r, w))
            one = loader(root, *overrides, data=data)
            one.batch_sampler.sampler.set_epoch(1)
            ranks.append([digest({name: x[i] for name, x in b.items()}) for b in one for i in range(len(b["mask"]))])
        streams[world_size] = [digest_ for together in zip(*ranks, strict=True) for digest_ in together]
    assert len(streams[1]) >= 4
    assert streams[1] == streams[2] == streams[4]


def test_context_crops_are_part_of_a_batch(bcss_root):
    batch = next(iter(loader(bcss_root, "data.context_mpp=[1.0,2.0]")))
    assert set(batch) == {"image", "mask", *(f"{n}_x{f}" for n in ("image", "mask", "valid") for f in (2, 4))}
    assert batch["image_x4"].shape == batch["image"].shape
    assert batch["mask_x2"].shape == batch["valid_x4"].shape == batch["mask"].shape
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)


def test_every_sample_of_every_epoch_is_different(bcss_root):
    first, second = epochs(loader(bcss_root))
    assert len({*first, *second}) == len(first) + len(second)


def test_augmentation_alone_differs_between_epochs(isic_root):
    """Whole images are drawn the same in each epoch; what differs is the augmentation."""
    dataset = loader(isic_root, data="isic2017").dataset
    versions = {dataset[epoch, 0]["image"].numpy().tobytes() for epoch in range(100)}
    assert len(versions) >= 85  # some samples are only mirrored, which gives few versions
    assert torch.equal(dataset[3, 0]["image"], dataset[3, 0]["image"])


def test_transforms_are_applied_independently_of_each_other(isic_root):
    """Seeding each transform alike would apply the rarer one only together with the likelier one."""
    import albumentations

    dataset = loader(isic_root, data="isic2017").dataset
    dataset._augmentation = albumentations.Compose(
        [albumentations.InvertImg(p=0.5), albumentations.Solarize(threshold_range=(0, 0), p=0.5)]
    )
    original = dataset._cases[0].image.transpose(2, 0, 1)
    inverted = [bool((dataset[epoch, 0]["image"].numpy() != original).any()) for epoch in range(400)]
    assert 0.4 < np.mean(inverted) < 0.6  # one of the two, but not both: half of the time; alike would be never


def test_the_seed_changes_the_batches(bcss_root):
    assert epochs(loader(bcss_root, seed=0)) != epochs(loader(bcss_root, seed=1))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_loader_continues_in_mid_epoch(bcss_root, workers):
    whole = epochs(loader(bcss_root))[1]
    stopped = loader(bcss_root, workers=workers)
    stopped.batch_sampler.sampler.set_epoch(1)
    iterator = iter(stopped)
    seen = [digest(next(iterator)) for _ in range(3)]
    state = stopped.state_dict()

    resumed = loader(bcss_root, workers=workers)
    resumed.load_state_dict(state)
    resumed.batch_sampler.sampler.set_epoch(1)
    assert seen + [digest(batch) for batch in resumed] == whole
    resumed.batch_sampler.sampler.set_epoch(2)
    assert len(list(resumed)) == len(whole)  # the next epoch is whole again


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("size", [50, 6])
def test_ranks_share_one_global_order(monkeypatch, world_size, size):
    batch = 12
    order = list(np.random.default_rng([7, 2]).permutation(size))
    streams = []
    for rank in range(world_size):
        monkeypatch.setattr(_sampling, "rank_and_world_size", lambda rank=rank: (rank, world_size))
        sampler = EpochSampler(size, seed=7, batch_size=batch)
        sampler.set_epoch(2)
        streams.append([index for _, index in sampler])
    assert len({len(stream) for stream in streams}) == 1  # nobody waits for a rank that has more
    used = len(streams[0]) * world_size
    assert used == (size - size % batch or size)
    merged = [streams[i % world_size][i // world_size] for i in range(used)]
    assert merged == order[:used]


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_every_case_is_evaluated_exactly_once_and_in_the_same_company(monkeypatch, world_size):
    seen = []
    for rank in range(world_size):
        monkeypatch.setattr(_sampling, "rank_and_world_size", lambda rank=rank: (rank, world_size))
        batches = EvaluationBatches(11, 4)
        seen += [batch for batch in batches if batch]
        assert len(batches) == len(list(batches))
    assert sorted(seen) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]


@pytest.mark.parametrize(
    ("size", "world_size", "message"),
    [
        (50, 3, r"16 samples of a step cannot be divided among 3 processes. Set loader.batch_size=15 or .*=18"),
        (50, 32, r"16 samples of a step cannot be divided among 32 processes. Set loader.batch_size=32, or"),
        (7, 2, r"An epoch has 7 samples, which 2 processes cannot share evenly. Set loader.batch_size=6."),
        (1, 2, r"An epoch has 1 sample, which 2 processes cannot share evenly. Use fewer."),
    ],
)
def test_a_batch_that_cannot_be_shared_is_refused_with_the_remedy(monkeypatch, size, world_size, message):
    monkeypatch.setattr(_sampling, "rank_and_world_size", lambda: (0, world_size))
    with pytest.raises(UserError, match=message):
        len(EpochSampler(size, seed=0, batch_size=16))
