"""Tiny datasets with the true folder layouts: the real reading code runs on them, no download."""

import json
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from unet_exp.data._official import official_parts

BCSS_INSTITUTIONS = ("A2", "AR", "D8", "BH", "A1", "OL", "GM")
BCSS_CODES = (0, 1, 2, 3, 4, 9, 10, 20)


def _blobs(rng: np.random.Generator, size: tuple[int, int], values: tuple[int, ...]) -> np.ndarray:
    """A mosaic of rectangles holding every value."""
    cells = rng.choice(values, (4, 5))
    cells.flat[: len(values)] = values
    return np.kron(cells, np.ones((-(-size[0] // 4), -(-size[1] // 5))))[: size[0], : size[1]].astype(np.uint8)


def bcss(root: Path, *, images: str = "images", institutions: tuple[str, ...] = BCSS_INSTITUTIONS) -> Path:
    """BCSS: one region per institution, colour tied to the code so that something can be learned."""
    rng = np.random.default_rng(0)
    (root / images).mkdir(parents=True)
    (root / "masks").mkdir()
    for number, institution in enumerate(institutions):
        codes = _blobs(rng, (70 + 4 * number, 90), BCSS_CODES)
        colours = np.random.default_rng(1).integers(0, 230, (22, 3))
        image = (colours[codes] + rng.integers(0, 25, (*codes.shape, 3))).astype(np.uint8)
        name = f"TCGA-{institution}-A{number:03d}-DX1_xmin{number * 100}_ymin7_MPP-0.5000.png"
        Image.fromarray(image).save(root / images / name)
        Image.fromarray(codes).save(root / "masks" / name)
    return root


_ISIC_FOLDERS = {
    2016: [("ISBI2016_ISIC_Part1_{}_Data", "ISBI2016_ISIC_Part1_{}_GroundTruth", ("Training", "Test"))],
    2017: [
        ("ISIC-2017_{}_Data", "ISIC-2017_{}_Part1_GroundTruth", ("Training", "Validation", "Test_v2")),
    ],
    2018: [("ISIC2018_Task1-2_{}_Input", "ISIC2018_Task1_{}_GroundTruth", ("Training", "Validation", "Test"))],
}


_ISIC_PARTS = {"Training": "train", "Validation": "val", "Test": "test", "Test_v2": "test"}


def isic(root: Path, *, year: int, parts: tuple[str, ...] | None = None) -> Path:
    """ISIC Task 1 of one year: photographs of several sizes, a superpixel file to skip."""
    rng = np.random.default_rng(year)
    ending = "_Segmentation.png" if year == 2016 else "_segmentation.png"
    for images, masks, names in _ISIC_FOLDERS[year]:
        for part in parts or names:
            ids = iter(sorted(i for i, p in official_parts(f"isic{year}").items() if p == _ISIC_PARTS[part]))
            image_folder, mask_folder = root / images.format(part), root / masks.format(part)
            image_folder.mkdir(parents=True)
            mask_folder.mkdir()
            for _ in range(6 if part == "Training" else 3):
                name = next(ids)
                _lesion(image_folder / f"{name}.jpg", mask_folder / f"{name}{ending}", rng)
            Image.fromarray(np.zeros((4, 4), np.uint8)).save(image_folder / "ISIC_0000000_superpixels.png")
    return root


def ph2(root: Path) -> Path:
    """PH2: 1-bit masks, one of them 8-bit, as in the original."""
    rng = np.random.default_rng(2)
    for number in range(5):
        name = f"IMD{number:03d}"
        folder = root / "PH2 Dataset images" / name
        image = folder / f"{name}_Dermoscopic_Image" / f"{name}.bmp"
        mask = folder / f"{name}_lesion" / f"{name}_lesion.bmp"
        image.parent.mkdir(parents=True)
        mask.parent.mkdir()
        _lesion(image, mask, rng)
        if number:
            Image.open(mask).convert("1").save(mask)
    return root


def folder(root: Path) -> Path:
    """Any pair of folders."""
    rng = np.random.default_rng(3)
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for number in range(6):
        _lesion(root / "images" / f"{number}.jpg", root / "masks" / f"{number}_mask.png", rng)
    return root


def _lesion(image_path: Path, mask_path: Path, rng: np.random.Generator) -> None:
    height, width = rng.integers(40, 60, 2)
    y, x = np.mgrid[:height, :width]
    inside = (y - height / 2) ** 2 + (x - width / 2) ** 2 < rng.integers(100, 250)
    image = np.where(inside[..., None], (90, 50, 40), (210, 170, 150)) + rng.integers(-15, 15, (height, width, 3))
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(image_path)
    Image.fromarray(np.where(inside, 255, 0).astype(np.uint8)).save(mask_path)


def lits(root: Path) -> Path:
    """LiTS: both batch folders, CT volumes whose axes point anywhere, one without lesion, a test volume to skip."""
    rng = np.random.default_rng(4)
    for number, axes in enumerate(("LPS", "RAS", "LAS", "PSR", "RPI", "SAL", "LPI")):
        folder = root / f"Training Batch {1 + number % 2}"
        codes = _liver(rng, (4 + number % 3, 40 + number, 44), lesion=number != 2)
        hounsfield = np.choose(codes, (-1000, 60, 0)) + rng.integers(-20, 21, codes.shape)
        ending = ".nii.gz" if number % 3 == 2 else ".nii"
        spacing = (1.0 + number, 0.7, 0.75)
        save_nifti(folder / f"volume-{number}{ending}", hounsfield.astype(np.int16), axes, spacing)
        save_nifti(folder / f"segmentation-{number}{ending}", codes, axes, spacing)
    save_nifti(root / "Test Data" / "test-volume-0.nii", np.zeros((2, 8, 8), np.int16))
    return root


def _liver(rng: np.random.Generator, shape: tuple[int, int, int], *, lesion: bool) -> np.ndarray:
    """Codes (Z, H, W): a body of background, a liver on one side of it, perhaps a lesion in the liver."""
    z, y, x = np.indices(shape)
    row, column = rng.integers(14, 20, 2)
    codes = np.zeros(shape, np.uint8)
    codes[(z > 0) & ((y - row) ** 2 + (x - column) ** 2 < 130)] = 1
    if lesion:
        codes[(z > 1) & ((y - row - 3) ** 2 + (x - column) ** 2 < 20)] = 2
    return codes


def save_nifti(
    path: Path, volume: np.ndarray, axes: str = "LPS", spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> None:
    """Write a volume (Z, H, W), seen as radiologists do, to a file whose axes point to the given sides.

    Axes and affine matrix are worked out here by hand, not by nibabel's functions for it.
    """
    opposite = dict(zip("LRAPIS", "RLPASI", strict=True))
    here = dict(zip("SPL", range(3), strict=True))  # the sides that the axes of `volume` point to
    order = [here.get(side, here.get(opposite[side])) for side in axes]
    flips = [axis for axis, side in enumerate(axes) if side not in here]
    stored = np.flip(volume.transpose(order), flips)
    world = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, side in enumerate(axes):
        row, sign = world[side]
        affine[row, axis] = sign * spacing[order[axis]]
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(stored, affine).to_filename(path)


NNUNET_LABELS = {"background": 0, "gland": 1, "tumor": 2, "ignore": 3}


def nnunet(root: Path, *, labels: dict = NNUNET_LABELS, channels: tuple[str, ...] = ("R", "G", "B")) -> Path:
    """nnU-Net's raw format: RGB images, every label on each; two test cases."""
    rng = np.random.default_rng(5)
    colours = np.random.default_rng(1).integers(0, 230, (len(labels), 3))
    for part, count in (("Tr", 6), ("Ts", 2)):
        (root / f"images{part}").mkdir(parents=True)
        (root / f"labels{part}").mkdir()
        for number in range(count):
            codes = _blobs(rng, (40 + 3 * number, 50), tuple(range(len(labels))))
            image = (colours[codes] + rng.integers(0, 25, (*codes.shape, 3))).astype(np.uint8)
            Image.fromarray(image).save(root / f"images{part}" / f"{part}_{number:03d}_0000.png")
            Image.fromarray(codes).save(root / f"labels{part}" / f"{part}_{number:03d}.png")
    description = {
        "channel_names": dict(enumerate(channels)),
        "labels": labels,
        "numTraining": 6,
        "file_ending": ".png",
        "overwrite_image_reader_writer": "NaturalImage2DIO",
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return root


MAKERS = {
    "bcss": bcss,
    "isic2016": lambda root: isic(root, year=2016),
    "isic2017": lambda root: isic(root, year=2017),
    "isic2018": lambda root: isic(root, year=2018),
    "ph2": ph2,
    "folder": folder,
    "lits": lits,
    "nnunet": nnunet,
    "bcss_demo": lambda root: root,  # generated by the dataset itself
    "lesion_demo": lambda root: root,
}
"""How to make a tiny copy of every dataset of conf/data; a new dataset adds its own."""
