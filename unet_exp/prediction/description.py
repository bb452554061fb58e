"""What a trained network expects and what its outputs mean: all that is needed to run it, as plain values.

Nothing here imports torch, Hydra or Lightning: a bundle is described without them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from unet_exp.errors import UserError

Color = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """What a trained network expects and what its outputs mean.

    Images reach the network in one of three ways: resampled to `mpp` (or as they are, if that is None too), stretched
    to `image_size`, or as stacks of `slices` of a volume.

    Args:
        name: Of the model, for people: ``unet-bcss``.
        class_names: In the order of the class ids.
        palette: One colour per class.
        scored_classes: Ids of the classes that are drawn and measured; the others are background.
        num_outputs: Channels of the logits; 1 for two classes told apart by one logit.
        in_channels: Channels of the input.
        mean: Per channel, of images scaled to 0..1.
        std: Per channel, of images scaled to 0..1.
        inference: Arguments of `unet_exp.inference.SlidingWindow`.
        mpp: Micrometres per pixel that the network works at.
        image_size: Height and width that whole images are stretched to.
        slices: Channels that are neighbouring slices of a volume.
        intensity_window: With `slices`, the values of the volume that become 0 and 255.
        stain: Stain normalisation of the images: none, macenko or reinhard.
    """

    name: str
    class_names: Sequence[str]
    palette: Sequence[Color]
    scored_classes: Sequence[int]
    num_outputs: int
    in_channels: int
    mean: Sequence[float]
    std: Sequence[float]
    inference: Mapping[str, Any] = field(default_factory=dict)
    mpp: float | None = None
    image_size: tuple[int, int] | None = None
    slices: int | None = None
    intensity_window: tuple[float, float] | None = None
    stain: str = "none"

    @property
    def background_classes(self) -> list[int]:
        """Ids of the classes that are neither drawn nor outlined."""
        return [index for index in range(len(self.class_names)) if index not in self.scored_classes]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: object) -> "ModelDescription":
        """Read what `to_dict` gave, possibly by way of JSON.

        Args:
            values: By field name.
            source: Where they come from, for the message.

        Raises:
            UserError: If a field is missing or unknown.
        """
        try:
            read = cls(**values)
        except TypeError as error:
            raise UserError(f"{source} does not describe a model: {error}") from None
        tuples = {name: tuple(value) for name in ("image_size", "intensity_window") if (value := values.get(name))}
        return cls(**{**values, **tuples, "palette": [tuple(color) for color in read.palette]})

    def same_task(self, other: "ModelDescription") -> bool:
        """Whether the outputs of both may be averaged: same classes, seen at the same resolution."""
        return all(
            _plain(getattr(self, name)) == _plain(getattr(other, name))
            for name in (
                "class_names",
                "num_outputs",
                "in_channels",
                "mpp",
                "image_size",
                "slices",
                "intensity_window",
                "stain",
            )
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
