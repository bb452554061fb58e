"""Scoring a finished run again: the work behind ``python -m unet_exp.evaluate``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from unet_exp.build import build_datamodule, build_task
from unet_exp.check import check_train_config
from unet_exp.data._datamodule import SegmentationDataModule
from unet_exp.errors import UserError
from unet_exp.evaluation import draw_results, evaluate_part, load_weights, write_results
from unet_exp.run.console import print_table, score_rows
from unet_exp.run.folder import RunFolder
from unet_exp.training import build_trainer, quieten


def score_run(folder: RunFolder, config: Mapping[str, Any], *, part: str, checkpoint: str, output: Path | None) -> Path:
    """Score one part of a run's dataset, or of another one with the same classes.

    Args:
        folder: The run.
        config: Its configuration, possibly with another dataset or trainer.
        part: `train`, `val` or `test`.
        checkpoint: `best` or `last`.
        output: Where the results go; None: the folder `evaluation` of the run.

    Returns:
        The folder of the results.

    Raises:
        UserError: If the run has no such checkpoint, the part is empty, or the classes differ.
    """
    quieten()
    saved = folder.config()
    _same_classes(saved["data"], config["data"])
    plain = check_train_config(OmegaConf.create(dict(config)))
    weights = folder.checkpoint(checkpoint)
    datamodule = build_datamodule(plain)
    datamodule.prepare_data()
    datamodule.split.require(part)
    _same_split(folder, saved, plain, datamodule)
    task = build_task(plain, datamodule.source, {})
    load_weights(task, weights)
    trainer = build_trainer(plain, folder, callbacks=())
    result = evaluate_part(trainer, task, datamodule, part)
    target = output or folder.evaluation / _label(saved, plain, part, checkpoint)
    if trainer.is_global_zero:
        context = {"run": str(folder.path), "checkpoint": checkpoint, "data_root": plain["data"]["root"]}
        write_results([result], datamodule.source, target, context)
        draw_results(result, task, datamodule, target / "figures")
        print_table(f"{part} of {plain['data']['root']}", score_rows(result.scores, datamodule.source.class_names))
        print_table("Written", [("scores", target / "metrics.json"), ("pictures", target / "figures")])
    return target


def _label(saved: Mapping[str, Any], plain: Mapping[str, Any], part: str, checkpoint: str) -> str:
    """Name of the result folder: the part, and what differs from the run's own evaluation."""
    names = [part]
    if saved["data"]["_target_"] != plain["data"]["_target_"] or saved["data"]["root"] != plain["data"]["root"]:
        names.insert(0, f"{plain['data']['_target_'].rpartition('.')[2].lower()}-{Path(plain['data']['root']).name}")
    if checkpoint != "best":
        names.append(checkpoint)
    return "-".join(names)


def _same_classes(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse a dataset whose classes are not those the network has learned."""
    before, after = ((data.get("num_classes"), list(data.get("classes", {}))) for data in (saved, wanted))
    if before[0] != after[0] or (before[0] != 1 and before[1] != after[1]):
        raise UserError(
            f"data: the run was trained for the classes {', '.join(before[1])} ({before[0]} outputs), but this "
            f"dataset has {', '.join(after[1])} ({after[0]} outputs). Choose a dataset of the same task."
        )


def _same_split(
    folder: RunFolder, saved: Mapping[str, Any], plain: Mapping[str, Any], datamodule: SegmentationDataModule
) -> None:
    """Refuse to score images as validation or test that the run has trained on.

    The same dataset at another place may hold other files, and a hold-out would then be drawn differently.
    """
    split = folder.split()
    if saved["data"]["_target_"] != plain["data"]["_target_"] or split is None:
        return
    trained = set(split["train"])
    for part in ("val", "test"):
        seen = sorted(case.id for case in datamodule.split.cases(part) if case.id in trained)
        if seen:
            raise UserError(
                f"{len(seen)} {part} images of {plain['data']['root']} were trained on by this run, e.g. {seen[0]}: "
                "the split differs from the run's own. Use the same files and data.split settings."
            )
