"""Several networks in the place of one."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from unet_exp.inference._predictor import to_logits, to_probabilities


class Ensemble(nn.Module):
    """Several networks as one; their outputs are averaged as probabilities.

    Args:
        networks: Each takes (N, C, H, W) and gives logits (N, K, h, w).
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K, h, w) float32 of the mean probabilities."""
        total: Tensor = sum(to_probabilities(network(images).float()) for network in self.networks)  # type: ignore[assignment]
        return to_logits(total / len(self.networks))


def members_of(network: nn.Module) -> list[nn.Module]:
    """The networks of an ensemble, or the network alone."""
    return list(network.networks) if isinstance(network, Ensemble) else [network]


def common_inference(first: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """How several networks predict together: as the first does, in windows that suit all of them.

    Args:
        first: Arguments of its `SlidingWindow`.
        others: Those of the others; only the widest surroundings and the alignment are taken from them.
    """
    alike = dict(first)
    for other in others:
        wanted = {
            "surroundings": max(alike.get("surroundings", 0), other.get("surroundings", 0)),
            "alignment": math.lcm(alike.get("alignment", 1), other.get("alignment", 1)),
        }
        # An engine that knows neither is not given them.
        alike |= {key: value for key, value in wanted.items() if key in alike or key in other}
    return alike
