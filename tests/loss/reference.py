"""NumPy versions of what the losses are made of, from the papers, sharing no code with the package.

They work on flat lists of the valid pixels, in float64, one class at a time.
"""

import numpy as np
import torch

IGNORE = 255


def random_case(channels, *, images=2, size=6, seed=0, dtype=torch.float64, ignored=0.2):
    """Logits ``(N, C, H, W)`` and a target ``(N, H, W)`` with all classes and some ignored pixels."""
    generator = torch.Generator().manual_seed(seed)
    classes = max(2, channels)
    logits = 2 * torch.randn(images, channels, size, size, generator=generator, dtype=dtype)
    target = torch.randint(classes, (images, size, size), generator=generator)
    target[torch.rand(target.shape, generator=generator) < ignored] = IGNORE
    target.view(images, -1)[:, :classes] = torch.arange(classes)
    return logits, target


def valid_pixels(logits, target):
    """Probabilities ``(P, K)`` and labels ``(P,)`` of the pixels that are not ignored."""
    z = np.moveaxis(logits.detach().double().numpy(), 1, -1)
    y = target.numpy()
    z, y = z[y != IGNORE], y[y != IGNORE]
    if z.shape[-1] == 1:
        foreground = 1 / (1 + np.exp(-z[:, 0]))
        return np.stack([1 - foreground, foreground], axis=1), y
    odds = np.exp(z - z.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True), y


def regions(logits, target, *, per_image):
    """The (probabilities, labels) of each image, or of the whole batch."""
    if not per_image:
        return [valid_pixels(logits, target)]
    return [valid_pixels(logits[n : n + 1], target[n : n + 1]) for n in range(len(target))]


def cross_entropy(logits, target, weights=None):
    p, y = valid_pixels(logits, target)
    w = np.ones(p.shape[1]) if weights is None else np.asarray(weights)
    return sum(-w[k] * np.log(q[k]) for q, k in zip(p, y, strict=True)) / sum(w[k] for k in y)


def dice(logits, target, *, per_image=False, classes=None, smooth=0.0):
    losses = []
    for p, y in regions(logits, target, per_image=per_image):
        for k in range(p.shape[1]) if classes is None else classes:
            truth = (y == k).astype(float)
            if truth.sum() > 0:
                ratio = (2 * (p[:, k] * truth).sum() + smooth) / (p[:, k].sum() + truth.sum() + smooth)
                losses.append(1 - ratio)
    return np.mean(losses)
