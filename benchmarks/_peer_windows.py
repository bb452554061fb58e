"""How MONAI and nnU-Net (version 2) predict a whole image in windows, with the same network."""

import importlib.util
import sys
from contextlib import redirect_stdout

import torch
from torch import nn

from benchmarks._whole_images import CLASSES, Labels, Predict, to_labels, whole_tensor
from unet_exp.inference import ImageReader


def is_installed(package: str) -> bool:
    """Whether a peer can be imported."""
    return importlib.util.find_spec(package) is not None


def monai(network: nn.Module, window: int, overlap: float) -> Predict:
    """MONAI's `SlidingWindowInferer` with Gaussian blending, one window at a time.

    Args:
        network: Takes normalised images.
        window: Side of a window in pixels.
        overlap: Share of a window that the next one repeats.
    """
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer((window, window), sw_batch_size=1, overlap=overlap, mode="gaussian")

    def predict(reader: ImageReader) -> Labels:
        return to_labels(inferer(whole_tensor(reader), network)[0])

    return predict


def nnunet(network: nn.Module, window: int, step: float = 0.5) -> Predict:
    """nnU-Net's `nnUNetPredictor` as shipped, but without mirroring, which would take four passes.

    Only its sliding window is run: no resampling, no softmax, no export. It adds up in float16, and keeps its sums on
    the host, since `perform_everything_on_device` is for CUDA.

    Args:
        network: Takes normalised images.
        window: Side of a window in pixels.
        step: Stride as a share of a window.
    """
    predictor = _predictor(network, window, step)

    def predict(reader: ImageReader) -> Labels:
        volume = whole_tensor(reader)[0][:, None]  # a 2D configuration takes (C, 1, H, W)
        return to_labels(predictor.predict_sliding_window_return_logits(volume)[:, 0])

    return predict


def _predictor(network: nn.Module, window: int, step: float) -> "nnUNetPredictor":  # noqa: F821
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

    labels = {"background": 0, **{f"class {number}": number for number in range(1, CLASSES)}}
    with redirect_stdout(sys.stderr):  # it says that everything on the device is for CUDA
        predictor = nnUNetPredictor(
            tile_step_size=step,
            use_gaussian=True,
            use_mirroring=False,
            perform_everything_on_device=True,
            device=torch.device("cpu"),
            allow_tqdm=False,
        )
    predictor.manual_initialization(
        network,
        PlansManager({"label_manager": "LabelManager"}),
        ConfigurationManager({"architecture": {}, "patch_size": [window, window]}),
        None,
        {"labels": labels},
        "nnUNetTrainer",
        None,
    )
    return predictor
