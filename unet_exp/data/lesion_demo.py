"""Generated skin lesions in the layout of ISIC 2017, read by the same code: runs anywhere, needs no download."""

from dataclasses import dataclass
from pathlib import Path

from unet_exp.bounds import NonNegativeInt
from unet_exp.data._generated import generate_once
from unet_exp.data.isic import ISIC

_RECIPE_VERSION = 1


@dataclass(kw_only=True)
class LesionDemo(ISIC):
    """Procedural dermoscopy with hairs, rulers and low-contrast borders.

    Args:
        generation_seed: Seed of the pictures; part of the data, not of the training seed.
    """

    generation_seed: NonNegativeInt = 0

    @property
    def name(self) -> str:
        """Short name for folders and messages."""
        return "lesion_demo"

    def prepare(self) -> None:
        """Make the files under `root` unless they are there."""
        from unet_exp.data._demo_lesion import make_lesion_demo

        recipe: dict[str, int | str] = {
            "dataset": "lesion_demo",
            "version": _RECIPE_VERSION,
            "seed": self.generation_seed,
        }
        generate_once(Path(self.root), recipe, lambda folder: make_lesion_demo(folder, seed=self.generation_seed))
