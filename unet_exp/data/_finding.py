"""What can be wrong with the files of a dataset: one catalogue of kinds, each with its meaning and its remedy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from unet_exp.data._case import Case
from unet_exp.errors import DataError, counted


@dataclass(frozen=True)
class Kind:
    """One kind of finding.

    Args:
        severity: A `fault` must be repaired before the data is used; a `warning` is handled, and told.
        meaning: What it is, and for a warning how it is handled.
        remedy: What to do about it.
    """

    severity: Literal["fault", "warning"]
    meaning: str
    remedy: str


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "missing_image": Kind("fault", "A mask has no image.", "Add the image, or remove the mask."),
        "missing_mask": Kind("fault", "An image has no mask.", "Add the mask, or remove the image."),
        "half_part": Kind(
            "fault",
            "Of an official part of the dataset, only the images or only the masks are there.",
            "Unpack the other archive beside it, or move this folder away to do without the part.",
        ),
        "other_part": Kind(
            "warning",
            "An image lies in the folder of another part than in the official list; the folder decides.",
            "Move image and mask into the folders of their official part, if you compare with published scores.",
        ),
        "incomplete_part": Kind(
            "warning",
            "A folder holds fewer images than the official part; what is there is used.",
            "Run prepare with stage=download, if all of them are wanted.",
        ),
        "same_name": Kind(
            "fault",
            "Two images, or two masks of one image, have one name, in two folders or with two file types.",
            "Keep the right one of the two.",
        ),
        "bad_name": Kind(
            "fault",
            "A file name does not follow the dataset's pattern, from which patient and resolution are read.",
            "Rename the file as the dataset's documentation says, or remove it.",
        ),
        "unknown_resolution": Kind(
            "fault",
            "The size of a pixel is needed, but the file name does not tell it.",
            "Write it into the names of image and mask, e.g. MPP-0.2500 (µm per pixel), or remove the two.",
        ),
        "wrong_count": Kind(
            "fault",
            "dataset.json promises another number of training cases than there are.",
            "Add the missing files; if none are missing, correct numTraining.",
        ),
        "unreadable": Kind(
            "fault",
            "A file cannot be decoded to its end: it was cut short, is empty, or is no picture, such as a web page.",
            "Get the file again, or remove it and its partner.",
        ),
        "damaged": Kind(
            "fault",
            "A picture can be decoded, but the end of its file is missing or a check sum is wrong.",
            "Get the file again, or remove it and its partner.",
        ),
        "too_many_bits": Kind(
            "fault",
            "An image has more than 8 bits per channel; how to show it in 8 is not for a program to guess.",
            "Convert it to 8-bit grey or RGB.",
        ),
        "colour_mask": Kind(
            "fault",
            "A mask is a colour picture, or grey with transparency: no single number per pixel says the class.",
            "Save it with one code per pixel, as grey or palette PNG.",
        ),
        "no_codes": Kind(
            "fault",
            "A mask holds values that are no codes: fractions, negative or beyond 65535, or cut to 8 of 16 bits.",
            "Save it with one whole number from 0 to 65535 per pixel, as 8-bit or 16-bit grey PNG.",
        ),
        "not_a_volume": Kind(
            "fault",
            "A NIfTI file does not hold one volume of numbers whose axes have a known direction.",
            "Get the file again, or save one volume with an affine matrix.",
        ),
        "not_finite": Kind(
            "fault",
            "A volume holds voxels that are NaN or infinite.",
            "Get the file again, or replace them by what they stand for, such as -1024 for air.",
        ),
        "size_mismatch": Kind(
            "fault",
            "Image and mask differ in height or width, after both were turned upright.",
            "Make the mask again from this image; if the image has an EXIF orientation, save it without.",
        ),
        "unknown_code": Kind(
            "fault",
            "A mask holds a code that belongs to no class and is not ignored.",
            "Assign it to a class (data.classes.<name>.codes), ignore it (data.ignore_codes), or repair the mask.",
        ),
        "conflicting_masks": Kind(
            "fault",
            "The same image, pixel by pixel, is there twice with different masks: one of them may be another image's.",
            "Look at both, and remove the wrong pair.",
        ),
        "duplicate_across_parts": Kind(
            "fault",
            "The same image, pixel by pixel, is in two parts of the split: scores would flatter.",
            "Remove one of the pairs.",
        ),
        "duplicate_image": Kind(
            "warning",
            "The same image, pixel by pixel, is there twice in one part, with the same mask: it counts twice.",
            "Remove one of the pairs.",
        ),
        "all_ignored": Kind(
            "warning",
            "No pixel of a mask carries a label: it teaches nothing and is not scored.",
            "Check the mask, and data.ignore_codes.",
        ),
        "empty_mask": Kind(
            "warning",
            "A mask holds no scored class, only what is behind it: right for an image that shows none.",
            "Check that the image really shows none.",
        ),
        "orientation_differs": Kind(
            "warning",
            "Image and mask have different EXIF orientations; both are turned upright before they are compared.",
            "Look at the preview; if the mask does not fit, save the image upright and without the tag.",
        ),
        "rotated_picture": Kind(
            "warning",
            "Image and mask are stored turned or mirrored, as their EXIF tags say; they are turned upright.",
            "Nothing, unless other programs use these files: many ignore the tag.",
        ),
        "palette_image": Kind("warning", "An image is stored with a palette; it is read as RGB.", "Nothing."),
        "grey_image": Kind("warning", "An image is grey; it is read as RGB with equal channels.", "Nothing."),
        "alpha_dropped": Kind(
            "warning",
            "An image has an alpha channel; it is dropped, whatever is transparent shows its hidden colour.",
            "Save the image without transparency if that colour is not meant.",
        ),
        "cmyk_image": Kind(
            "warning",
            "An image is stored in printing colours (CMYK); it is converted to RGB without a colour profile.",
            "Look at the preview; convert it to RGB yourself if the colours are off.",
        ),
        "depth_cut": Kind(
            "warning",
            "A colour image has 16 bits per channel; the upper 8 are used.",
            "Convert it to 8 bits yourself if it is dark.",
        ),
        "several_pages": Kind(
            "warning",
            "A file holds several pictures; only the first is read.",
            "Save the picture that is meant on its own, or ignore this if the others are smaller copies.",
        ),
        "palette_mask": Kind(
            "warning",
            "A mask is stored with a palette; its indices are the codes, its colours do not matter.",
            "Nothing, if data.classes.<name>.codes hold indices.",
        ),
        "few_bits_mask": Kind(
            "warning",
            "A grey mask has 1, 2 or 4 bits per pixel; its values are stretched to 0..255: 1-bit codes are 0 and 255.",
            "Nothing, if data.classes.<name>.codes hold the stretched values.",
        ),
        "sixteen_bit_mask": Kind(
            "warning", "A mask has 16 or 32 bits per pixel; its values are the codes.", "Nothing."
        ),
        "three_channel_mask": Kind(
            "warning",
            "A mask is stored as a colour picture whose channels are equal; the first is used.",
            "Nothing.",
        ),
        "lossy_mask": Kind(
            "warning",
            "A mask is a JPEG, whose compression changes codes near borders.",
            "Get the mask as PNG; do not assign the false codes to classes.",
        ),
        "axes_differ": Kind(
            "warning",
            "The axes of a volume and of its mask point to different sides; each is turned by its own affine matrix.",
            "Look at the preview; if the mask does not fit, its matrix is wrong: save it with that of the volume.",
        ),
        "axes_permuted": Kind(
            "warning",
            "A volume is not stored slice by slice; it is turned, which makes reading slower.",
            "Nothing.",
        ),
        "not_hounsfield": Kind(
            "warning",
            "No voxel of a volume is as dark as air: its values may not be Hounsfield units.",
            "Look at the preview; if it is grey or white throughout, correct the slope and intercept of the file.",
        ),
    }
)
"""Every kind that a finding may have. `prepare stage=verify` and docs/data.md print it."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One fault or warning.

    Args:
        kind: A key of `KINDS`.
        file: The file it concerns.
        detail: What exactly was seen, e.g. the two sizes that differ.
    """

    kind: str
    file: Path
    detail: str

    @property
    def severity(self) -> Literal["fault", "warning"]:
        """Whether it must be repaired."""
        return KINDS[self.kind].severity

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return KINDS[self.kind].remedy


@dataclass(frozen=True)
class Scan:
    """What a look at the names of a dataset's files gives.

    Args:
        cases: The complete pairs of image and mask.
        findings: Files that are not part of a pair, or whose name is not understood.
    """

    cases: list[Case]
    findings: list[Finding]


def refuse_faults(findings: Sequence[Finding], root: str) -> None:
    """Stop if a finding is a fault.

    Raises:
        DataError: Naming the first faults and how to see all of them.
    """
    faults = [finding for finding in findings if finding.severity == "fault"]
    if not faults:
        return
    shown = [f"  {fault.file}: {fault.detail} {fault.remedy}" for fault in faults[:5]]
    more = f"  ... and {len(faults) - 5} more" if len(faults) > 5 else ""
    lines = [f"{counted(len(faults), 'fault')} in the files of {root}:", *shown, more]
    listed = "`python -m unet_exp.prepare data=<name> data.root=<folder> stage=verify` lists all of them."
    raise DataError("\n".join([line for line in lines if line] + [listed]))
