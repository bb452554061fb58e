"""Writing a network in a format of its own, with batch, height and width left open."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import torch
from torch.export import Dim

from unet_exp.bundle.manifest import NetworkFile
from unet_exp.bundle.settings import NetworkFormat
from unet_exp.errors import UserError
from unet_exp.prediction.byte_network import ByteNetwork

FILE_NAMES: dict[NetworkFormat, str] = {"onnx": "network.onnx", "torch_export": "network.pt2"}

_INPUT, _OUTPUT = "images", "logits"
_DEFAULT_MULTIPLE = 32
"""For networks that do not say how often they halve their input; the parity check tells whether it is right."""


def plan_file(network: ByteNetwork, in_channels: int, format_: NetworkFormat) -> NetworkFile:
    """Which sizes the exported network will take.

    Exported, a network takes multiples of the pixels per position of its bottleneck, two positions at least
    (normalising a single one fails); what the networks do to all other sizes is done outside, see `PaddingNetwork`.

    Args:
        network: In evaluation mode.
        in_channels: Channels of its input.
        format_: What it will be written in.

    Raises:
        UserError: If its output has not the size of its input.
    """
    depth = getattr(network.network, "depth", None)
    multiple = 2**depth if isinstance(depth, int) else _DEFAULT_MULTIPLE
    side = 2 * multiple
    try:
        with torch.no_grad():
            logits = network(torch.zeros(1, in_channels, side, side, dtype=torch.uint8))
        problem = "" if logits.shape[-2:] == (side, side) else f"it gives {tuple(logits.shape[-2:])}"
    except ValueError as error:
        problem = str(error)
    if problem:
        raise UserError(
            f"only networks that give as many pixels as they take can be exported, but of {side}x{side} pixels: "
            f"{problem} Train with model.padding=same."
        )
    return NetworkFile(
        format=format_,
        file=FILE_NAMES[format_],
        input=_INPUT,
        output=_OUTPUT,
        size_multiple=multiple,
        smallest_side=side,
    )


def write_network(network: ByteNetwork, in_channels: int, file: NetworkFile, folder: Path) -> None:
    """Write a network on the CPU into a folder.

    Raises:
        UserError: If the exporter cannot follow it.
    """
    multiple = file.size_multiple
    example = torch.zeros(2, in_channels, 3 * multiple, 4 * multiple, dtype=torch.uint8)
    smallest = file.smallest_side // multiple
    rows, columns = Dim("rows", min=smallest), Dim("columns", min=smallest)
    sizes = {0: Dim("batch", min=1), 2: multiple * rows, 3: multiple * columns}
    path = folder / file.file
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(network, (example,), dynamic_shapes={_INPUT: sizes})
            if file.format == "onnx":
                _write_onnx(program, file, path)
            else:
                torch.export.save(program, path)
    except OSError:  # the disk is full
        raise
    except Exception as error:  # the exporters raise whatever the network's code or their own tripped over
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{type(network.network).__name__} cannot be exported as {file.format}: {reason} Its forward pass must not "
            "depend on the values or, beyond multiples of "
            f"{multiple}, on the size of its input."
        ) from error


def _write_onnx(program: torch.export.ExportedProgram, file: NetworkFile, path: Path) -> None:
    written = torch.onnx.export(
        program, (), dynamo=True, input_names=[file.input], output_names=[file.output], verbose=False
    )
    assert written is not None
    written.save(path, external_data=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters tell their developers about themselves, and print the whole network where they fail."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
