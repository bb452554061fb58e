"""Running the exported network of a bundle on images of any size."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unet_exp.bundle.manifest import NetworkFile
from unet_exp.errors import UserError
from unet_exp.inference._predictor import Network

_SILENT = 4
"""onnxruntime's level of messages that are fatal; all others it raises as exceptions too."""
_ALLOCATION_MESSAGE = "Failed to allocate memory"


class PaddingNetwork:
    """Repeats the bottom and right border of images up to a size that an exported network takes, and cuts it off again.

    The networks themselves do the same in training, so that the result is theirs.

    Args:
        run: Takes bytes (n, C, H, W) of such a size, gives logits (n, K, H, W).
        file: Which sizes that are.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], file: NetworkFile) -> None:
        self._run = run
        self._file = file

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (n, K, h, w) float32 of bytes (n, C, h, w)."""
        height, width = images.shape[-2:]
        for axis, side in ((-2, height), (-1, width)):
            wanted = self._file.padded(side)
            if wanted != side:  # by index, since torch pads no bytes
                images = images.index_select(axis, torch.arange(wanted, device=images.device).clamp_max(side - 1))
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):  # it computes in float32 throughout
            return self._run(images)[..., :height, :width]


def open_network(path: Path, file: NetworkFile, *, device: str) -> Network:
    """The network of a bundle, ready to run.

    Args:
        path: Where its file is.
        file: How it is run.
        device: Where it computes.

    Raises:
        UserError: If it cannot be read, or the library that runs it is not installed or cannot use the device.
    """
    openers = {"onnx": _open_onnx, "torch_export": _open_torch_export}
    if file.format not in openers:
        raise UserError(f"{path}: this version of unet_exp cannot run a network of the format {file.format!r}.")
    return PaddingNetwork(openers[file.format](path, file, torch.device(device)), file)


def _open_torch_export(path: Path, file: NetworkFile, device: torch.device) -> Callable[[Tensor], Tensor]:  # noqa: ARG001
    from torch.export.passes import move_to_device_pass

    try:
        program = torch.export.load(path)
    except Exception as error:  # torch raises many types on files of another version
        raise UserError(
            f"{path} cannot be loaded by torch {torch.__version__} ({_first_line(error)}). Use the version of torch "
            "that bundle.json names under versions.exported_with, or export as onnx."
        ) from None
    module: Callable[[Tensor], Tensor] = move_to_device_pass(program, device).module()
    return module


def _open_onnx(path: Path, file: NetworkFile, device: torch.device) -> Callable[[Tensor], Tensor]:
    onnxruntime = _import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = _SILENT
    try:
        session = onnxruntime.InferenceSession(path, options, providers=[_provider(onnxruntime, device)])
    except Exception as error:  # onnxruntime has an exception of its own for every status
        reason = f"{path} cannot be loaded by onnxruntime {onnxruntime.__version__} ({_first_line(error)})."
        raise UserError(f"{reason} Install a newer one.") from None

    def run(images: Tensor) -> Tensor:
        try:
            (logits,) = session.run([file.output], {file.input: np.ascontiguousarray(images.cpu().numpy())})
        except Exception as error:
            if _ALLOCATION_MESSAGE in str(error):  # as torch says it, so that the caller tries fewer images
                raise torch.OutOfMemoryError(_first_line(error)) from None
            raise
        return torch.from_numpy(logits).to(images.device)

    return run


def _import_onnxruntime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            "a bundle of the format onnx needs onnxruntime, which is not installed: pip install onnxruntime "
            "(onnxruntime-gpu for device=cuda)"
        ) from None
    module: ModuleType = onnxruntime
    return module


def _provider(onnxruntime: Any, device: torch.device) -> Any:
    """What onnxruntime computes with."""
    if device.type == "cpu":
        return "CPUExecutionProvider"
    if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return ("CUDAExecutionProvider", {"device_id": device.index or 0})
    raise UserError(
        f"device: the installed onnxruntime cannot compute on {device}. Use device=cpu, for an NVIDIA GPU "
        "pip install onnxruntime-gpu in place of onnxruntime, or a bundle of the format torch_export."
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
