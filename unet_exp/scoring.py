"""Scoring a finished run again: the work behind ``python -m unet_exp.evaluate``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from unet_exp.build import build_datamodule, build_task, measure_cost
from unet_exp.check import check_train_config
from unet_exp.data._case import Case
from unet_exp.data._datamodule import SegmentationDataModule
from unet_exp.errors import UserError
from unet_exp.evaluation import (
    DEFAULT_SETTINGS,
    draw_results,
    evaluate_part,
    load_weights,
    write_results,
)
from unet_exp.evaluation_settings import EvaluationSettings
from unet_exp.run.checkpoint_io import usable_checkpoint
from unet_exp.run.console import print_table, score_rows
from unet_exp.run.folder import RunFolder
from unet_exp.run.history import read_history, train_seconds
from unet_exp.task import SegmentationTask
from unet_exp.training import build_trainer, quieten


def score_run(
    folder: RunFolder,
    config: Mapping[str, Any],
    *,
    part: str,
    checkpoint: str,
    output: Path | None,
    allow_train_images: bool = False,
    settings: EvaluationSettings = DEFAULT_SETTINGS,
) -> Path:
    """Score one part of a run's dataset, or of another one with the same classes.

    Args:
        folder: The run.
        config: Its configuration, possibly with another dataset or trainer.
        part: `train`, `val` or `test`.
        checkpoint: `best` or `last`.
        output: Where the results go; None: the folder `evaluation` of the run.
        allow_train_images: Score images that the run was trained on too, and mark the result.
        settings: How the scores are summarised.

    Returns:
        The folder of the results.

    Raises:
        UserError: If the run has no such checkpoint, the part is empty, the classes differ, or it was trained on.
    """
    quieten()
    saved = folder.config()
    _same_classes(saved["data"], config["data"])
    plain = check_train_config(OmegaConf.create(dict(config)))
    weights_file, weights = usable_checkpoint(folder.checkpoint(checkpoint))
    datamodule = build_datamodule(plain)
    datamodule.prepare_data()
    datamodule.split.require(part)
    trained = _trained_on(weights, plain, datamodule, part)
    if not allow_train_images:
        _refuse_trained(trained, len(datamodule.split.cases(part)), part, plain["data"]["root"])
    task = build_task(plain, datamodule.source, {})
    load_weights(task, weights_file, weights)
    trainer = build_trainer(plain, folder, callbacks=())
    result = evaluate_part(trainer, task, datamodule, part, trained_on=trained, settings=settings)
    target = output or folder.evaluation / _label(saved, plain, part, checkpoint, trained=bool(trained))
    if trainer.is_global_zero:
        context = {
            "run": str(folder.path),
            "checkpoint": checkpoint,
            "data_root": plain["data"]["root"],
            "images_trained_on": len(trained),
            **_cost(folder, task, datamodule),
        }
        write_results([result], datamodule.source, target, context, settings)
        draw_results(result, task, datamodule, target / "figures")
        print_table(f"{part} of {plain['data']['root']}", score_rows(result.scores, datamodule.source.class_names))
        if trained:
            print_table("Warning", [("trained on", f"{len(trained)} of these images: the scores flatter")])
        print_table("Written", [("scores", target / "metrics.json"), ("pictures", target / "figures")])
    return target


def _cost(folder: RunFolder, task: SegmentationTask, datamodule: SegmentationDataModule) -> dict[str, float]:
    """What the network costs, and what its training took as far as that was recorded."""
    cost = measure_cost(task.network, datamodule.source.in_channels, datamodule.source.sample_size)
    measured: dict[str, float] = {"parameters": cost.parameters, "gmacs": cost.gmacs}
    if folder.history_file.is_file():
        measured["train_seconds"] = train_seconds(read_history(folder.history_file))
    return measured


def _label(saved: Mapping[str, Any], plain: Mapping[str, Any], part: str, checkpoint: str, *, trained: bool) -> str:
    """Name of the result folder: the part, and what differs from the run's own evaluation."""
    names = [part]
    if saved["data"]["_target_"] != plain["data"]["_target_"] or saved["data"]["root"] != plain["data"]["root"]:
        names.insert(0, f"{plain['data']['_target_'].rpartition('.')[2].lower()}-{Path(plain['data']['root']).name}")
    if checkpoint != "best":
        names.append(checkpoint)
    if trained:
        names.append("with_train_images")
    return "-".join(names)


def _same_classes(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse a dataset whose classes are not those the network has learned."""
    before, after = ((data.get("num_classes"), list(data.get("classes", {}))) for data in (saved, wanted))
    if before[0] != after[0] or (before[0] != 1 and before[1] != after[1]):
        raise UserError(
            f"data: the run was trained for the classes {', '.join(before[1])} ({before[0]} outputs), but this "
            f"dataset has {', '.join(after[1])} ({after[0]} outputs). Choose a dataset of the same task."
        )


def _trained_on(
    checkpoint: Mapping[str, Any], plain: Mapping[str, Any], datamodule: SegmentationDataModule, part: str
) -> list[Case]:
    """Cases of a part that the run was trained on: by name in the same dataset, by pixels in any.

    Other images of a patient trained on count as well.
    """
    known = checkpoint.get("unet_exp", {})
    split = known.get("split", {"train": [], "contents": {}})
    ids = set(split["train"])
    contents = {split["contents"][name] for name in ids if name in split["contents"]}
    same_dataset = known.get("config", {}).get("data", {}).get("_target_") == plain["data"]["_target_"]
    patients = {case.patient for case in datamodule.collection.cases if same_dataset and case.id in ids}
    return [case for case in datamodule.split.cases(part) if case.content in contents or case.patient in patients]


def _refuse_trained(trained: Sequence[Case], total: int, part: str, root: str) -> None:
    """Refuse to score images that the run was trained on as if it had never seen them."""
    if trained:
        raise UserError(
            f"{len(trained)} of the {total} {part} images of {root} were trained on by this run, e.g. {trained[0].id}: "
            "their scores would flatter. Score another part, restore the files and data.split settings of the run, or "
            "say allow_train_images=true; the result is then marked."
        )
