"""What the network of a run expects, from the run's configuration and dataset."""

import re
from collections.abc import Mapping
from typing import Any

from unet_exp.data._patch_source import PatchSource
from unet_exp.data._source import ImageSource
from unet_exp.data._volume_source import VolumeSource
from unet_exp.data._whole_source import WholeImageSource
from unet_exp.errors import UserError
from unet_exp.prediction.description import ModelDescription

_HASH = re.compile(r"-[0-9a-f]{8}(-\d+)?$")
_ENGINE = "unet_exp.inference.SlidingWindow"


def describe_run(config: Mapping[str, Any], source: ImageSource, name: str) -> ModelDescription:
    """Describe the network of a run.

    Args:
        config: The resolved configuration of the run.
        source: Its dataset, built; no file of it is needed.
        name: Of the run folder, ``<model>-<data>-<hash>``; the hash is left out of the model's name.

    Raises:
        UserError: If images reach the network in a way that only the training knows.
    """
    return ModelDescription(
        name=_HASH.sub("", name),
        class_names=source.class_names,
        palette=source.palette,
        scored_classes=source.scored_classes,
        num_outputs=source.num_classes,
        in_channels=source.in_channels,
        mean=[float(value) for value in source.mean],
        std=[float(value) for value in source.std],
        inference=_inference(config["inference"]),
        **_input(source),
    )


def _inference(block: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the engine, the run's window size among them."""
    if block.get("_target_") != _ENGINE:
        raise UserError(
            f"inference._target_: the run predicts with {block.get('_target_')}, but other images are predicted with "
            f"{_ENGINE}. Train with inference=sliding_window or inference=halo."
        )
    return {key: value for key, value in block.items() if not key.startswith("_")}


def _input(source: ImageSource) -> dict[str, Any]:
    """How images reach the network."""
    match source:
        case PatchSource():
            return {"mpp": None if source.mpp is None else float(source.mpp), "stain": source.stain}
        case WholeImageSource():
            return {"image_size": source.sample_size}
        case VolumeSource():
            low, high = source.window
            return {"slices": source.slices, "intensity_window": (float(low), float(high))}
    raise UserError(
        f"data: {type(source).__name__} is neither a PatchSource, a WholeImageSource nor a VolumeSource, so it is "
        "unknown how other images would reach its network."
    )
