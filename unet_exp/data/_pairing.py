"""Files of a folder, and the pairing of images and masks by their names."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from unet_exp.data._finding import Finding

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")

NamedFile = tuple[str, Path]
"""A file and the name that it shares with its partner."""


@dataclass(frozen=True)
class Pairing:
    """Images and masks that belong together.

    Args:
        pairs: Image and mask under their common name, in the order of the names.
        findings: Files without a partner, and names that occur twice.
    """

    pairs: dict[str, tuple[Path, Path]]
    findings: list[Finding]


def files_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Files of the given types in `folder`, sorted; none if the folder is not there.

    Hidden files are skipped: macOS leaves ``._name.png`` beside each picture that it copies to a foreign disk.
    """
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )


def pair_by_name(images: Iterable[NamedFile], masks: Iterable[NamedFile], *, images_in: str, masks_in: str) -> Pairing:
    """Pair images and masks of one name.

    Args:
        images: Names and image files.
        masks: Names and mask files.
        images_in: Where the image of a lonely mask was looked for, in words.
        masks_in: Where the mask of a lonely image was looked for, in words.
    """
    image_of, repeated_images = _by_name(images)
    mask_of, repeated_masks = _by_name(masks)
    lonely_masks = [
        Finding(kind="missing_image", file=mask_of[name], detail=f"There is no image of this name in {images_in}.")
        for name in sorted(mask_of.keys() - image_of.keys())
    ]
    lonely_images = [
        Finding(kind="missing_mask", file=image_of[name], detail=f"There is no mask of this name in {masks_in}.")
        for name in sorted(image_of.keys() - mask_of.keys())
    ]
    pairs = {name: (image_of[name], mask_of[name]) for name in sorted(image_of.keys() & mask_of.keys())}
    return Pairing(pairs, [*repeated_images, *repeated_masks, *lonely_masks, *lonely_images])


def same_name(file: Path, other: Path) -> Finding:
    """The finding about a second file of one name."""
    return Finding(kind="same_name", file=file, detail=f"It has the same name as {other}.")


def _by_name(files: Iterable[NamedFile]) -> tuple[dict[str, Path], list[Finding]]:
    first: dict[str, Path] = {}
    repeated = []
    for name, path in files:
        if first.setdefault(name, path) != path:
            repeated.append(same_name(path, first[name]))
    return first, repeated
