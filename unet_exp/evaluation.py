"""Scoring one part of a split: numbers, the table of images, pictures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Timer
from torch import Tensor

from unet_exp.aggregate import describe_part
from unet_exp.boundary import boundary_rule
from unet_exp.calibration import calibration_summary
from unet_exp.case_files import DrawnCase, write_case_files
from unet_exp.conventions import conventions
from unet_exp.data._case import Case, Image, Labels
from unet_exp.data._datamodule import SegmentationDataModule
from unet_exp.data._source import ImageSource
from unet_exp.data._voxel_spacing import voxel_spacing
from unet_exp.evaluation_settings import EvaluationSettings
from unet_exp.figure.confusion import save_confusion_matrix
from unet_exp.figure.panel import Example, save_prediction_panel, select_examples
from unet_exp.figure.reliability import save_reliability_diagram
from unet_exp.files import write_json
from unet_exp.metric import image_scores, summary
from unet_exp.observation import CaseObserver, Details, observing_device
from unet_exp.per_image import Row, case_rows, empty_score, write_table
from unet_exp.run.checkpoint_io import apply_weights, read_checkpoint
from unet_exp.run.memory import peak_memory_mb
from unet_exp.task import SegmentationTask

DEFAULT_SETTINGS = EvaluationSettings()

_COSTS = ("parameters", "gmacs", "training_memory_mb", "train_seconds")


@dataclass(frozen=True)
class PartResult:
    """The scores of one part.

    Args:
        part: `train`, `val` or `test`.
        cases: The cases that were scored.
        matrices: One confusion matrix per case, (N, K, K) int64.
        scores: Named aggregates, see `unet_exp.metric.summary`.
        trained_on: Ids of cases that the network was trained on.
        details: What else was measured of the cases.
        seconds: How long it took to read, predict and measure them.
    """

    part: str
    cases: Sequence[Case]
    matrices: Tensor
    scores: Mapping[str, float]
    trained_on: frozenset[str] = frozenset()
    details: Details | None = None
    seconds: float = math.nan


def load_weights(task: SegmentationTask, checkpoint: Path, content: Mapping[str, Any] | None = None) -> None:
    """Load the network of a checkpoint.

    Args:
        task: Holds the network.
        checkpoint: The file.
        content: What `read_checkpoint` gave, if it was read already.

    Raises:
        UserError: If the file is damaged or belongs to another network.
    """
    content = content or read_checkpoint(checkpoint)
    apply_weights(task, content["state_dict"], checkpoint)


def evaluate_part(
    trainer: Trainer,
    task: SegmentationTask,
    datamodule: SegmentationDataModule,
    part: str,
    *,
    trained_on: Sequence[Case] = (),
    settings: EvaluationSettings = DEFAULT_SETTINGS,
) -> PartResult:
    """Score every case of a part once.

    Args:
        trainer: Decides hardware and precision.
        task: Holds the weights to score.
        datamodule: Serves the cases.
        part: `train`, `val` or `test`; it must not be empty.
        trained_on: Cases that the network was trained on, to be marked in the result.
        settings: How boundaries are compared.
    """
    task.test_name = f"final/{part}"
    source, cases = datamodule.source, datamodule.split.cases(part)
    rule = boundary_rule(source, settings.surface_tolerance)
    observer = CaseObserver(
        num_outputs=source.num_classes,
        ignore_index=source.ignore_index,
        rule=rule,
        device=observing_device(trainer.strategy.root_device),
        spacings=[voxel_spacing(case.image) for case in cases] if rule and rule.is_of_volumes else (),
    )
    timer = Timer()  # starts once all processes run
    task.observer = observer
    trainer.callbacks.append(timer)  # type: ignore[attr-defined]
    try:
        trainer.test(task, dataloaders=datamodule.evaluation_dataloader(part), verbose=False)
    finally:
        task.observer = None
        trainer.callbacks.remove(timer)  # type: ignore[attr-defined]
    details = observer.gather()
    assert task.scored is not None
    scores = summary(
        task.scored.matrices,
        class_names=source.class_names,
        foreground=source.scored_classes,
        headline=source.headline,
    )
    scores["loss"] = float(trainer.callback_metrics[f"{task.test_name}/loss"])
    seen = frozenset(case.id for case in trained_on)
    scored = [cases[i] for i in task.scored.indexes]
    return PartResult(part, scored, task.scored.matrices, scores, seen, details, timer.time_elapsed("test"))


def per_image_rows(result: PartResult, source: ImageSource) -> list[Row]:
    """One row per image, see `case_rows`; those of images trained on are marked where there are any."""
    boundary = result.details.boundary if result.details else None
    rows = case_rows(result.part, result.cases, result.matrices, source, boundary)
    if not result.trained_on:
        return rows
    return [{**row, "trained_on": row["image"] in result.trained_on} for row in rows]


def write_results(
    results: Sequence[PartResult],
    source: ImageSource,
    folder: Path,
    context: dict[str, Any],
    settings: EvaluationSettings = DEFAULT_SETTINGS,
) -> None:
    """Write metrics.json, per_image.csv and per_image.parquet.

    Args:
        results: The parts that were scored.
        source: The dataset.
        folder: Where the files go.
        context: What else metrics.json says, e.g. the checkpoint.
        settings: How the scores are summarised.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = {
        result.part: {
            **result.scores,
            **describe_part(result.cases, result.matrices, result.details, source, settings),
        }
        for result in results
    }
    cost = {**{name: context[name] for name in _COSTS if name in context}, **_measured_cost(results)}
    metrics = {**context, "conventions": conventions(source, settings), "cost": cost, **parts}
    write_json(folder / "metrics.json", metrics)
    write_table(folder, [row for result in results for row in per_image_rows(result, source)])


def _measured_cost(results: Sequence[PartResult]) -> dict[str, float | None]:
    images, seconds = sum(len(result.cases) for result in results), sum(result.seconds for result in results)
    return {"images_per_second": images / seconds, "peak_memory_mb": peak_memory_mb()}


def draw_results(result: PartResult, task: SegmentationTask, datamodule: SegmentationDataModule, folder: Path) -> None:
    """Draw confusion matrix, reliability diagram, and the best, median and worst case of a part.

    Args:
        result: Scores of the part.
        task: The network that was scored, to predict the chosen cases again.
        datamodule: Reads the chosen cases.
        folder: Where the figures go; pictures of single cases go to the folder `cases` beside it.
    """
    source = datamodule.source
    folder.mkdir(parents=True, exist_ok=True)
    save_confusion_matrix(
        result.matrices.sum(0).numpy(),
        folder / f"confusion_{result.part}.png",
        class_names=source.class_names,
    )
    if result.details is not None:
        calibration = calibration_summary(result.details.calibration, result.details.layout)
        if calibration["ece"] is not None:
            path = folder / f"reliability_{result.part}.png"
            save_reliability_diagram(calibration["bins"], path, ece=calibration["ece"])
    dice = image_scores(result.matrices, classes=source.scored_classes, empty=empty_score(source)).dice.numpy()
    drawn = [_draw_case(label, result.cases[i], dice[i], task, datamodule) for label, i in select_examples(dice)]
    if drawn:
        save_prediction_panel(
            [case.example for case in drawn],
            folder / f"predictions_{result.part}.png",
            class_names=source.class_names,
            palette=source.palette,
            ignore_index=source.ignore_index,
            hide=source.unscored_classes,
        )
    write_case_files(folder.parent / "cases", result.part, drawn, source)


def _draw_case(
    label: str, case: Case, dice: float, task: SegmentationTask, datamodule: SegmentationDataModule
) -> DrawnCase:
    example = _example(f"{label}: {case.id}, Dice {dice:.3f}", case, task, datamodule)
    return DrawnCase(label, case.id, float(dice), example)


@torch.no_grad()
def _example(title: str, case: Case, task: SegmentationTask, datamodule: SegmentationDataModule) -> Example:
    labels = datamodule.collection.store[case.id].labels
    is_volume = labels.ndim == 3
    view = _fullest_slice(labels, datamodule.source.scored_classes) if is_volume else 0
    sample = datamodule.evaluation_dataset([case])[view]
    task.eval()
    truth = sample["mask"]
    logits = task(sample["image"][None].to(task.device))
    prediction = task.classify(task.resize(logits, truth.shape))[0].cpu().numpy()
    if is_volume:
        title, image = f"{title}, slice {view + 1} of {len(labels)}", _middle_as_grey(sample["image"])
    else:
        image, _ = datamodule.source.read_full(case)
    return Example(title=title, image=image, truth=truth.numpy(), prediction=prediction)


def _fullest_slice(labels: Labels, classes: Sequence[int]) -> int:
    """The slice of a volume (Z, H, W) with the most voxels of some classes; the middle one if it has none of them."""
    counts = [np.count_nonzero(np.isin(one, classes)) for one in labels]
    return int(np.argmax(counts)) if any(counts) else len(counts) // 2


def _middle_as_grey(channels: Tensor) -> Image:
    """The middle one of neighbouring slices (C, H, W) as a picture (H, W, 3)."""
    middle = channels[len(channels) // 2].numpy()
    return np.repeat(middle[..., None], 3, axis=2)
