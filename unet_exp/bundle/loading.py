"""Loading a bundle. Nothing here imports Lightning, Hydra or OmegaConf; onnx bundles need onnxruntime alone."""

from pathlib import Path

from unet_exp.bundle.manifest import read_manifest
from unet_exp.bundle.running import open_network
from unet_exp.inference._predictor import Network
from unet_exp.prediction.description import ModelDescription


def load_bundle(folder: Path, *, device: str) -> tuple[ModelDescription, Network, str]:
    """Load a bundle that `python -m unet_exp.export` wrote.

    A file of the format torch_export may hold pickled code: load only those that you trust. One of the format onnx
    holds none.

    Args:
        folder: The bundle.
        device: Where it computes: ``cpu``, ``cuda``, ``cuda:1``.

    Returns:
        What the network expects, the network, which takes images of any size, and a text that is equal for equal
        bundles.

    Raises:
        UserError: If it is no bundle, a file is missing or damaged, or the library that runs it is not installed.
    """
    manifest, identity = read_manifest(folder)
    return manifest.model, open_network(folder / manifest.network.file, manifest.network, device=device), identity
