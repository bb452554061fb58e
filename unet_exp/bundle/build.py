"""From a run folder to a bundle: the work behind ``python -m unet_exp.export``."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from unet_exp import __version__
from unet_exp.bundle import card
from unet_exp.bundle.folder import check_target, new_folder
from unet_exp.bundle.images import find_images
from unet_exp.bundle.manifest import Manifest, checksum
from unet_exp.bundle.parity import Parity, compare
from unet_exp.bundle.running import open_network
from unet_exp.bundle.settings import ExportSettings
from unet_exp.bundle.writing import plan_file, write_network
from unet_exp.check import check_train_config
from unet_exp.data._source import ImageSource
from unet_exp.errors import UserError
from unet_exp.files import write_text
from unet_exp.instantiate import build
from unet_exp.prediction.byte_network import ByteNetwork
from unet_exp.prediction.from_run import load_run
from unet_exp.reporting.evaluations import read_json
from unet_exp.run.console import print_table
from unet_exp.run.folder import RunFolder

_WEIGHTS = "weights.safetensors"
_LIBRARIES = {"onnx": ("onnx", "onnxscript", "onnxruntime", "safetensors"), "torch_export": ("safetensors",)}


def export_run(settings: ExportSettings) -> Path:
    """Write the bundle of a run.

    Args:
        settings: What was asked for.

    Returns:
        The folder of the bundle.

    Raises:
        UserError: If the run, its checkpoint or a library is missing, something is in the way, the network cannot be
            exported, or computes something else when exported.
    """
    libraries = _require(settings.format)
    run = RunFolder.open(Path(settings.run).expanduser())
    saved = run.config()
    checkpoint = settings.checkpoint or run.scored_checkpoint(saved)
    target = _target(run, settings, "" if checkpoint == run.scored_checkpoint(saved) else f"-{checkpoint}")
    check_target(target, overwrite=settings.overwrite)
    config = check_train_config(OmegaConf.create(_moved(saved, settings.data_root)))
    source: ImageSource = build(config, "data")
    model, loaded, _ = load_run(run.path, checkpoint, torch.device("cpu"))
    assert isinstance(loaded, ByteNetwork)
    network = loaded.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    file = plan_file(network, model.in_channels, settings.format)
    split = read_json(run.split_file) if run.split_file.is_file() else {}
    with new_folder(target, overwrite=settings.overwrite) as folder:
        write_network(network, model.in_channels, file, folder)
        _write_weights(network.network, folder / _WEIGHTS)
        parity = compare(network, open_network(folder / file.file, file, device="cpu"), find_images(source, split))
        _print_parity(parity)
        parity.require()
        manifest = Manifest(
            model=model,
            network=file,
            files={name: checksum(folder / name) for name in (file.file, _WEIGHTS)},
            run={
                "name": run.path.resolve().name,
                "checkpoint": checkpoint,
                "split_hash": split.get("hash"),
            },
            versions={
                "trained_with": _trained_with(run),
                "exported_with": {"unet_exp": __version__, "torch": torch.__version__, **libraries},
            },
            parity=parity.to_dict(),
        )
        training = card.Training(config=config, metrics=_metrics(run, checkpoint), split=split)
        write_text(folder / card.FILE_NAME, card.model_card(manifest, source, training, target.name))
        manifest.write(folder)
        sizes = [(one.name, f"{one.stat().st_size / 1e6:.2f} MB") for one in sorted(folder.iterdir())]
    print_table(f"Exported {model.name}", [("bundle", target), *sizes])
    return target


def _require(format_: str) -> dict[str, str]:
    """Versions of the libraries that the export needs."""
    versions, missing = {}, []
    for name in _LIBRARIES[format_]:
        try:
            versions[name] = str(importlib.import_module(name).__version__)
        except ImportError:
            missing.append(name)
    if missing:
        raise UserError(f"format={format_} needs what is not installed: pip install {' '.join(missing)}")
    return versions


def _target(run: RunFolder, settings: ExportSettings, label: str) -> Path:
    if settings.output:
        return Path(settings.output).expanduser()
    return run.path / f"bundle-{settings.format}{label}"


def _moved(config: dict[str, Any], data_root: str | None) -> dict[str, Any]:
    """The configuration with another folder of the dataset."""
    return config if data_root is None else {**config, "data": {**config["data"], "root": data_root}}


def _write_weights(network: torch.nn.Module, path: Path) -> None:
    """Tensors only: a file that can hold no code."""
    from safetensors.torch import save_file

    save_file({name: value.detach().contiguous().clone() for name, value in network.state_dict().items()}, path)


def _print_parity(parity: Parity) -> None:
    rows = [
        ("compared on", f"{parity.images}, {parity.pixels} pixels"),
        ("crops", ", ".join(f"{count} of {height}x{width}" for count, height, width in parity.sizes)),
        ("logits differ", f"by up to {parity.largest_difference:.2e} (allowed: {parity.allowed_difference:.1e})"),
        ("same label", f"{parity.same_label:.4%} of the pixels"),
    ]
    print_table("Exported network against the trained one", rows)


def _trained_with(run: RunFolder) -> dict[str, Any]:
    environment: Mapping[str, Any] = read_json(run.environment_file) if run.environment_file.is_file() else {}
    packages = environment.get("packages") or {}
    return {
        "unet_exp": environment.get("unet_exp", "unknown"),
        "torch": packages.get("torch", "unknown"),
        "git": environment.get("git"),
    }


def _metrics(run: RunFolder, checkpoint: str) -> dict[str, Any]:
    """The run's scores, if they are those of this checkpoint."""
    metrics = read_json(run.metrics_file) if run.metrics_file.is_file() else {}
    return dict(metrics) if metrics.get("checkpoint") == checkpoint else {}
