"""What the arms of a study share, so that an arm can say what it changes as a multiple of it."""

from dataclasses import dataclass

from unet_exp.bounds import PositiveFloat, PositiveInt


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """The keys `study.*` of train.yaml: references of an experiment and its arms, no settings of their own.

    Args:
        mpp: Micrometres per pixel that networks work at, and all predictions are scored at.
        patch_size: Side of a training patch in pixels.
        batch_size: Patches of a step.
        steps_per_epoch: Steps of an epoch.
        epochs: Epochs of a training.
    """

    mpp: PositiveFloat | None = None
    patch_size: PositiveInt | None = None
    batch_size: PositiveInt | None = None
    steps_per_epoch: PositiveInt | None = None
    epochs: PositiveInt | None = None


def times(value: float | None, factor: float) -> float:
    """The resolver `${times:value,factor}` of the yaml files.

    Args:
        value: A number; a whole one stays one if the product is whole.
        factor: What it is multiplied by.

    Raises:
        ValueError: If there is no value.
    """
    if value is None:
        raise ValueError("this is a multiple of a study's setting; choose experiment=study_bcss, or give study.<key>=")
    product = value * factor
    return int(product) if isinstance(value, int) and float(product).is_integer() else product
