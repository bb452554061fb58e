"""Counts of imaginary runs, whose true scores are known."""

import numpy as np

from unet_exp.statistics.counts import CaseCounts

PIXELS = 10_000


def random_matrices(images, classes, seed=0, *, absent=0.3):
    """Confusion matrices (N, K, K) in which classes are absent here and there."""
    rng = np.random.default_rng(seed)
    matrices = rng.integers(1, 1000, size=(images, classes, classes))
    gone = rng.random((images, classes)) < absent
    return np.where(gone[:, :, None] | gone[:, None, :], 0, matrices)


def counts_of(matrices, *, clusters=None, scored=None, names=None, ids=None):
    matrices = np.asarray(matrices)
    cases, classes = matrices.shape[:2]
    return CaseCounts.from_confusion_matrices(
        matrices,
        ids or [f"image{i:04}" for i in range(cases)],
        class_names=names or [f"class{k}" for k in range(classes)],
        scored=range(classes) if scored is None else scored,
        clusters=clusters,
    )


def lesion_run(true_shares, *, clusters=None):
    """One lesion of half the image's pixels, of which the given shares are found, without false alarms."""
    hits = np.round(np.asarray(true_shares) * PIXELS).astype(np.int64)
    matrices = np.zeros((len(hits), 2, 2), np.int64)
    matrices[:, 0, 0] = PIXELS
    matrices[:, 1, 1], matrices[:, 1, 0] = hits, PIXELS - hits
    return counts_of(matrices, clusters=clusters, scored=[1], names=["background", "lesion"])


def model_runs(rng, base, *, seeds, shift=0.0, seed_sd=0.01, noise=0.02):
    """Runs of one model: each seed has its own luck, each image its own difficulty and noise."""
    luck = rng.normal(0, seed_sd, seeds)
    return [lesion_run(np.clip(base + shift + one + rng.normal(0, noise, len(base)), 0, 1)) for one in luck]


def difficulty(rng, images):
    return np.clip(rng.normal(0.75, 0.08, images), 0.4, 0.9)
