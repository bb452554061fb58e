"""Samples as the network will see them, for people to judge an augmentation by."""

from collections.abc import Sequence

import numpy as np

from unet_exp.data._case import Image, Labels
from unet_exp.data._dataset import Arrays, Augmentation
from unet_exp.data._sampling import sample_generator
from unet_exp.data._source import ImageSource
from unet_exp.data._store import StoredCase


def preview_samples(
    source: ImageSource, cases: Sequence[StoredCase], augmentation: Augmentation, *, versions: int, seed: int
) -> list[list[tuple[Image, Labels]]]:
    """One training sample of each case, followed by augmented versions of the same sample.

    Args:
        source: The dataset; its own training samples are drawn.
        cases: The cases.
        augmentation: The pipeline to judge.
        versions: Augmented versions of each sample.
        seed: Seed of everything drawn.

    Returns:
        Per case, `versions` + 1 pairs of image (H, W, 3) and class ids (H, W).
    """
    result = []
    for position, case in enumerate(cases):
        dataset = source.train_dataset([case], [], augmentation, seed)
        arrays = dataset.draw(0, sample_generator(seed, (0, position)))
        augmented = [
            dataset.augment(dict(arrays), sample_generator(seed, (1 + version, position)))
            for version in range(versions)
        ]
        result.append([_drawable(one) for one in (arrays, *augmented)])
    return result


def _drawable(arrays: Arrays) -> tuple[Image, Labels]:
    """Image and mask; of a stack of slices the middle one, in grey."""
    image = np.array(arrays["image"])
    if image.shape[-1] != 3:
        image = np.repeat(image[..., image.shape[-1] // 2, None], 3, axis=-1)
    return image, np.array(arrays["mask"])
