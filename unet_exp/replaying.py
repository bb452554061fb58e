"""Computing a saved batch again, module by module: the work behind ``python -m unet_exp.replay``."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from unet_exp.build import build_task
from unet_exp.check import check_train_config
from unet_exp.errors import UserError
from unet_exp.global_batch import in_place_of
from unet_exp.instantiate import build
from unet_exp.run.checkpoint_io import read_checkpoint
from unet_exp.run.console import print_table
from unet_exp.run.folder import RunFolder
from unet_exp.run.whole_batch_layers import WholeBatchLayers
from unet_exp.task import SegmentationTask

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class Finding:
    """Where a batch becomes infinite or not a number.

    Args:
        loss: The loss, computed again.
        weights: Names of weights and buffers that were already.
        module: The first module that makes it of finite input; None if there is none.
        input_range: Least and greatest value that module was given.
    """

    loss: float
    weights: tuple[str, ...]
    module: str | None
    input_range: tuple[float, float] | None


def replay_run(folder: RunFolder, *, device: str) -> list[Finding]:
    """Compute every saved batch of a run again and say where it goes wrong.

    Args:
        folder: The run.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UserError: If the run has saved none.
    """
    files = sorted(p for p in folder.path.glob("nonfinite_loss*.ckpt") if not p.stem.endswith("-previous"))
    if not files:
        raise UserError(f"{folder.path} holds no nonfinite_loss.ckpt: no loss of this run was NaN or infinite.")
    config = check_train_config(OmegaConf.create(folder.config()))
    task = build_task(config, build(config, "data"), {})
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    return [_replay_file(path, task, torch.device(chosen)) for path in files]


def _replay_file(path: Path, task: SegmentationTask, device: torch.device) -> Finding:
    content = read_checkpoint(path, map_location=device)
    task.to(device).load_state_dict(content["state_dict"])
    finding = find_non_finite(task, content)
    _print(path, content, finding, device)
    return finding


def find_non_finite(task: SegmentationTask, content: dict[str, Any]) -> Finding:
    """Compute the loss of a saved batch as training did.

    Args:
        task: Holds the weights of the file, on the device of the batch.
        content: What the file holds.
    """
    batch = content["batch"]
    weights = tuple(name for name, value in content["state_dict"].items() if not _is_finite(value))
    task.train()
    task.seed_batch(content["epoch"], content["batch_index"])
    processes = content.get("processes", 1)
    if processes > 1:
        WholeBatchLayers(batch_norm=False).apply(task)
    with (
        torch.no_grad(),
        in_place_of(content["rank"], processes),
        _first_non_finite(task) as found,
        _autocast(content["precision"], batch["image"].device),
    ):
        outputs = task.network(task.normalize(batch["image"]))
        loss = float(task.criterion(outputs, batch["mask"].long()))
    module, input_range = found[0] if found else (None, None)
    return Finding(loss, weights, module, input_range)


@contextmanager
def _first_non_finite(task: nn.Module) -> Iterator[list[tuple[str, tuple[float, float]]]]:
    """Note the modules whose output is the first that is not finite; the innermost comes first."""
    found: list[tuple[str, tuple[float, float]]] = []

    def watch(name: str) -> Any:
        def hook(_module: nn.Module, given: Any, output: Any) -> None:
            if not found and not all(_is_finite(tensor) for tensor in _tensors(output)):
                values = torch.cat([tensor.float().flatten() for tensor in _tensors(given)])
                found.append((name, (float(values.min()), float(values.max()))))

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in task.named_modules() if name]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    kind = _AUTOCAST.get(precision)
    return torch.autocast(device.type, kind) if kind else nullcontext()


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)


def _is_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


def _print(path: Path, content: dict[str, Any], finding: Finding, device: torch.device) -> None:
    weights = ", ".join(finding.weights[:3]) + (f" and {len(finding.weights) - 3} more" if finding.weights[3:] else "")
    first = "none: all is finite here" if finding.module is None else finding.module
    if finding.input_range is not None:
        first += ", given values from {:.3g} to {:.3g}".format(*finding.input_range)
    rows = [
        ("loss", f"{content['loss']} in training, {finding.loss} now on {device}, {content['precision']}"),
        ("place", f"epoch {content['epoch'] + 1}, batch {content['batch_index'] + 1}"),
        *(("sample", f"{s['case']} at {s['place']}, key ({s['epoch']}, {s['index']})") for s in content["samples"]),
        ("weights", f"not finite already: {weights}" if weights else "all finite"),
        ("first module with NaN or infinite output", first),
    ]
    print_table(str(path), rows)
