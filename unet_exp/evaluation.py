"""Scoring one part of a split: numbers, the table of images, pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from unet_exp.data._case import Case, Image, Labels
from unet_exp.data._datamodule import SegmentationDataModule
from unet_exp.data._source import ImageSource
from unet_exp.errors import UserError
from unet_exp.figure.confusion import save_confusion_matrix
from unet_exp.figure.panel import Example, save_prediction_panel, select_examples
from unet_exp.files import write_csv, write_json
from unet_exp.metric import class_scores, image_scores, pixel_accuracy
from unet_exp.task import SegmentationTask


@dataclass(frozen=True)
class PartResult:
    """The scores of one part.

    Args:
        part: `train`, `val` or `test`.
        cases: The cases that were scored.
        matrices: One confusion matrix per case, (N, K, K) int64.
        scores: Named aggregates, see `unet_exp.metric.summary`.
        trained_on: Ids of cases that the network was trained on.
    """

    part: str
    cases: Sequence[Case]
    matrices: Tensor
    scores: Mapping[str, float]
    trained_on: frozenset[str] = frozenset()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Content of a checkpoint, on the CPU.

    Raises:
        UserError: If the file is damaged.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        _ = content["state_dict"]
    except Exception as error:  # torch.load raises a dozen types on damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is damaged and cannot be loaded ({reason}). Is there another checkpoint?") from None
    return content


def load_weights(task: SegmentationTask, checkpoint: Path) -> None:
    """Load the network of a checkpoint.

    Raises:
        UserError: If the file is damaged or belongs to another network.
    """
    content = read_checkpoint(checkpoint)
    try:
        task.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        raise UserError(f"{checkpoint} cannot be loaded into this network: {str(error).splitlines()[0]}") from None


def evaluate_part(
    trainer: Trainer,
    task: SegmentationTask,
    datamodule: SegmentationDataModule,
    part: str,
    *,
    trained_on: Sequence[Case] = (),
) -> PartResult:
    """Score every case of a part once.

    Args:
        trainer: Decides hardware and precision.
        task: Holds the weights to score.
        datamodule: Serves the cases.
        part: `train`, `val` or `test`; it must not be empty.
        trained_on: Cases that the network was trained on, to be marked in the result.
    """
    task.test_name = f"final/{part}"
    trainer.test(task, dataloaders=datamodule.evaluation_dataloader(part), verbose=False)
    assert task.scored is not None
    cases = datamodule.split.cases(part)
    prefix = f"{task.test_name}/"
    scores = {n.removeprefix(prefix): float(v) for n, v in trainer.callback_metrics.items() if n.startswith(prefix)}
    seen = frozenset(case.id for case in trained_on)
    return PartResult(part, [cases[i] for i in task.scored.indexes], task.scored.matrices, scores, seen)


def per_image_rows(result: PartResult, source: ImageSource) -> list[dict[str, Any]]:
    """One row per image: who it is, its scores, its scores per class; an absent class has an empty cell."""
    scores = class_scores(result.matrices)
    overall = image_scores(result.matrices, classes=source.scored_classes, empty=_empty_score(source))
    accuracy = pixel_accuracy(result.matrices)
    rows = []
    for i, case in enumerate(result.cases):
        row: dict[str, Any] = {
            "part": result.part,
            "image": case.id,
            "patient": case.patient,
            "institution": case.institution,
            "labelled_pixels": int(result.matrices[i].sum()),
            "dice": overall.dice[i],
            "iou": overall.iou[i],
            "accuracy": accuracy[i],
        }
        if result.trained_on:
            row["trained_on"] = case.id in result.trained_on
        for index in source.scored_classes:
            name = source.class_names[index]
            row |= {f"dice_{name}": scores.dice[i, index], f"iou_{name}": scores.iou[i, index]}
        rows.append({key: _cell(value) for key, value in row.items()})
    return rows


def _empty_score(source: ImageSource) -> float:
    """The ISIC rule: nothing to find and nothing claimed is right. Several classes: no score."""
    return 1.0 if len(source.scored_classes) == 1 else float("nan")


def _cell(value: Any) -> Any:
    if isinstance(value, Tensor):
        number = float(value)
        return "" if np.isnan(number) else number
    return value


def write_results(results: Sequence[PartResult], source: ImageSource, folder: Path, context: dict[str, Any]) -> None:
    """Write metrics.json and per_image.csv.

    Args:
        results: The parts that were scored.
        source: The dataset.
        folder: Where the files go.
        context: What else metrics.json says, e.g. the checkpoint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    conventions = {
        "headline": source.headline,
        "scored_classes": [source.class_names[index] for index in source.scored_classes],
        "absent_class": "excluded from means and counted; an image without the single scored class is 1 if none "
        "is predicted",
    }
    parts = {result.part: dict(result.scores) for result in results}
    write_json(folder / "metrics.json", {**context, "conventions": conventions, **parts})
    write_csv(folder / "per_image.csv", [row for result in results for row in per_image_rows(result, source)])


def draw_results(result: PartResult, task: SegmentationTask, datamodule: SegmentationDataModule, folder: Path) -> None:
    """Draw the confusion matrix, and the best, median and worst case of a part.

    Args:
        result: Scores of the part.
        task: The network that was scored, to predict the chosen cases again.
        datamodule: Reads the chosen cases.
        folder: Where the pictures go.
    """
    source = datamodule.source
    folder.mkdir(parents=True, exist_ok=True)
    save_confusion_matrix(
        result.matrices.sum(0).numpy(),
        folder / f"confusion_{result.part}.png",
        class_names=source.class_names,
    )
    dice = image_scores(result.matrices, classes=source.scored_classes, empty=_empty_score(source)).dice.numpy()
    examples = [
        _example(f"{label}: {result.cases[i].id}, Dice {dice[i]:.3f}", result.cases[i], task, datamodule)
        for label, i in select_examples(dice)
    ]
    if examples:
        save_prediction_panel(
            examples,
            folder / f"predictions_{result.part}.png",
            class_names=source.class_names,
            palette=source.palette,
            ignore_index=source.ignore_index,
            hide=[i for i in range(len(source.classes)) if i not in source.scored_classes],
        )


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
