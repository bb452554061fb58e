"""Generated H&E-like tissue in the layout of BCSS, read by the same code: runs anywhere, needs no download."""

from dataclasses import dataclass
from pathlib import Path

from unet_exp.bounds import NonNegativeInt
from unet_exp.data._generated import generate_once
from unet_exp.data.bcss import BCSS

_RECIPE_VERSION = 1


@dataclass(kw_only=True)
class BCSSDemo(BCSS):
    """Procedural tissue of five classes from institutions with different stain.

    Args:
        generation_seed: Seed of the pictures; part of the data, not of the training seed.
    """

    generation_seed: NonNegativeInt = 0

    @property
    def name(self) -> str:
        """Short name for folders and messages."""
        return "bcss_demo"

    def prepare(self) -> None:
        """Make the files under `root` unless they are there."""
        from unet_exp.data._demo_tissue import make_tissue_demo

        recipe: dict[str, int | str] = {
            "dataset": "bcss_demo",
            "version": _RECIPE_VERSION,
            "seed": self.generation_seed,
        }
        generate_once(Path(self.root), recipe, lambda folder: make_tissue_demo(folder, seed=self.generation_seed))
