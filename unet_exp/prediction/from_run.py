"""The network of a run folder, ready to predict."""

import hashlib
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import nn

from unet_exp.check import check_train_config
from unet_exp.data._source import ImageSource
from unet_exp.inference._predictor import Network
from unet_exp.instantiate import build
from unet_exp.prediction.byte_network import ByteNetwork
from unet_exp.prediction.description import ModelDescription
from unet_exp.prediction.description_of_run import describe_run
from unet_exp.run.checkpoint_io import apply_weights, usable_checkpoint
from unet_exp.run.folder import RunFolder

_PREFIX = "network."


def load_run(path: Path, checkpoint: str | None, device: torch.device) -> tuple[ModelDescription, Network, str]:
    """Load a network with its weights.

    Args:
        path: The run folder.
        checkpoint: `best` or `last`; None: the one that the training has scored.
        device: Where it will compute.

    Returns:
        What it expects, the network, and a text that is equal for equal weights.

    Raises:
        UserError: If it is no run folder, or the checkpoint is missing, damaged or another network's.
    """
    folder = RunFolder.open(path)
    config = check_train_config(OmegaConf.create(folder.config()))
    source: ImageSource = build(config, "data")
    file, content = usable_checkpoint(folder.checkpoint(checkpoint or folder.scored_checkpoint(config)))
    network: nn.Module = build(config, "model")
    weights = content["state_dict"]
    own = {name.removeprefix(_PREFIX): value for name, value in weights.items() if name.startswith(_PREFIX)}
    apply_weights(network, own, file)
    description = describe_run(config, source, path.resolve().name)
    layout = torch.channels_last if config["channels_last"] else torch.contiguous_format
    ready = ByteNetwork(network, description.mean, description.std).eval().to(device, memory_format=layout)  # type: ignore[call-overload]
    digest = hashlib.sha256()
    for name in sorted(own):
        digest.update(own[name].contiguous().numpy().tobytes())
    return description, ready, digest.hexdigest()[:16]
