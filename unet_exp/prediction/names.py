"""What the results of an image are called."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

_DOUBLE_SUFFIXES = (".nii.gz", ".ome.tif", ".ome.tiff")


def result_names(images: Sequence[Path]) -> dict[Path, str]:
    """Where the results of each image go in the output folder, without a suffix.

    That is its path below the folder that all images share, so that images of one name in two folders do not meet;
    images that differ only in their suffix keep it.
    """
    resolved = [image.resolve() for image in images]
    shared = Path(os.path.commonpath([str(image.parent) for image in resolved]))
    relative = {image: one.relative_to(shared) for image, one in zip(images, resolved, strict=True)}
    bare = {image: path.with_name(_stem(path)).as_posix() for image, path in relative.items()}
    taken = Counter(bare.values())
    return {image: name if taken[name] == 1 else relative[image].as_posix() for image, name in bare.items()}


def _stem(path: Path) -> str:
    for suffix in _DOUBLE_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem
