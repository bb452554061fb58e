"""What `python -m unet_exp.export` may be asked for."""

from dataclasses import dataclass
from typing import Literal

NetworkFormat = Literal["onnx", "torch_export"]


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """The keys of export.yaml.

    Args:
        run: The run folder.
        format: Of the network: `onnx` for onnxruntime and others, `torch_export` for PyTorch.
        checkpoint: Which checkpoint of the run; None: the one that its training has scored.
        output: Folder of the bundle; None means `bundle-<format>` in the run folder.
        overwrite: Whether a bundle that is there already is replaced.
        data_root: Where the run's dataset is now, whose images the exported network is tried on; None means where it
            was.
    """

    run: str
    format: NetworkFormat
    checkpoint: Literal["best", "last"] | None
    output: str | None
    overwrite: bool
    data_root: str | None
