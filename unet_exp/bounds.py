"""Number types with a range, for the signatures of networks, losses, datasets and callbacks.

A constructor that says ``base_channels: PositiveInt`` states its own range; the configuration check
(:mod:`unet_exp.check`) reads it from the signature, so no range is written twice.
"""

from typing import Annotated

from annotated_types import Ge, Gt, Interval

PositiveInt = Annotated[int, Gt(0)]
NonNegativeInt = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
Probability = Annotated[float, Interval(ge=0, le=1)]
