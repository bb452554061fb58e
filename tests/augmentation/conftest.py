import random

import numpy as np
import pytest

IGNORE = 255


def sample(height: int = 128, width: int = 128, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A coloured texture and class ids 0 to 4 in blobs; neither may be written to, as training images are shared."""
    import cv2

    generator = np.random.default_rng(seed)
    image = cv2.GaussianBlur(generator.integers(0, 256, (height, width, 3)).astype(np.uint8), (0, 0), 2)
    image = np.clip(image.astype(int) * 3 - 230, 0, 255).astype(np.uint8)
    labels = cv2.resize(generator.integers(0, 5, (5, 5)).astype(np.uint8), (width, height), interpolation=0)
    image.flags.writeable = labels.flags.writeable = False
    return image, labels


@pytest.fixture
def apply():
    """Applies a transform or pipeline as the dataset does: a fresh random state for every sample."""

    def run(transform, seed: int = 0, **data):
        transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
        return transform(**data)

    return run
