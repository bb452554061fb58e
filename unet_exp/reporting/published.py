"""Results that others have published on the datasets, with their protocol."""

from importlib.resources import files
from typing import Literal

from omegaconf import OmegaConf
from pydantic import BaseModel, ConfigDict, TypeAdapter

MEAN_SCORES = ("dice", "iou", "accuracy", "thresholded_iou")
"""Scores over all classes; any other is of one class."""

_TITLES = {"dice": "Dice", "iou": "IoU"}


class PublishedResult(BaseModel):
    """One row of published.yaml.

    Args:
        model: The network.
        scores: Values between 0 and 1 by the name that our own results have: `dice`, `iou_tumor`, ...
        source: Where the figures were read.
        link: Address of the source, None where it has none.
        protocol: On which data, and how, the figures were obtained.
        comparable: Whether they may stand beside ours, if ours follow the same protocol.
        why: The reason.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    scores: dict[str, float]
    source: str
    link: str | None = None
    protocol: str
    comparable: Literal["yes", "partly", "no"]
    why: str

    @property
    def per_class(self) -> str:
        """Scores of single classes in words; empty where none were published."""
        words = []
        for name, value in self.scores.items():
            if name not in MEAN_SCORES:
                score, _, class_name = name.partition("_")
                words.append(f"{_TITLES[score]} {class_name} {value:.3f}")
        return "; ".join(words)


class PublishedTable(BaseModel):
    """published.yaml: a `version`, the date it was `collected`, and results by dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int
    collected: str
    datasets: dict[str, list[PublishedResult]]


def published_results() -> PublishedTable:
    """The table that comes with the package."""
    text = files("unet_exp.reporting").joinpath("published.yaml").read_text(encoding="utf-8")
    return TypeAdapter(PublishedTable).validate_python(OmegaConf.to_container(OmegaConf.create(text)))
