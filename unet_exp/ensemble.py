"""One or several trained runs, scored as one: the mean of their probabilities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from unet_exp.build import build_task
from unet_exp.check import check_train_config
from unet_exp.data._source import ImageSource
from unet_exp.errors import UserError
from unet_exp.evaluation import load_weights
from unet_exp.inference import Ensemble, common_inference
from unet_exp.run.checkpoint_io import usable_checkpoint
from unet_exp.run.folder import RunFolder
from unet_exp.task import SegmentationTask

_SEEN = ("in_channels", "image_size", "mpp", "score_mpp", "stain", "slices", "window", "mean", "std")
"""Keys of a dataset that must be equal: what the networks are shown, and what is scored."""


@dataclass(frozen=True)
class Member:
    """A checkpoint of a run.

    Args:
        folder: The run.
        checkpoint: Which of its checkpoints.
        file: The checkpoint.
        config: What the run was trained with.
        content: What the checkpoint holds.
    """

    folder: RunFolder
    checkpoint: str
    file: Path
    config: Mapping[str, Any]
    content: Mapping[str, Any]


def read_members(folders: Sequence[RunFolder], checkpoints: Sequence[str]) -> list[Member]:
    """Every named checkpoint of every run.

    Args:
        folders: The runs.
        checkpoints: `best`, `last`, or both; none: of each run the one that its training has scored.

    Raises:
        UserError: If one is missing, damaged or named twice, or if the runs were not trained for one task.
    """
    members: list[Member] = []
    for folder in folders:
        config = folder.config()
        for checkpoint in checkpoints or [folder.scored_checkpoint(config)]:
            file, content = usable_checkpoint(folder.checkpoint(checkpoint))
            # Paths, not files: best.ckpt and last.ckpt are one file where the last epoch is the best.
            if any(file.resolve() == member.file.resolve() for member in members):
                raise UserError(f"run: {file} is named twice; each may count once in a mean.")
            members.append(Member(folder, checkpoint, file, config, content))
    for member in members[1:]:
        _refuse_unlike(members[0], member)
    return members


def same_classes(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether two datasets have the classes that one network can tell apart; names of a binary task may differ."""
    before, after = ((data.get("num_classes"), list(data.get("classes", {}))) for data in (saved, wanted))
    return before[0] == after[0] and (before[0] == 1 or before[1] == after[1])


def _refuse_unlike(first: Member, other: Member) -> None:
    one, two = first.config["data"], other.config["data"]
    differing = [key for key in _SEEN if one.get(key) != two.get(key)]
    if not same_classes(one, two):
        differing.insert(0, "classes")
    if differing:
        raise UserError(
            f"run: {first.folder.path} and {other.folder.path} cannot be averaged: they differ in "
            f"{', '.join(f'data.{key}' for key in differing)}."
        )


def build_ensemble(members: Sequence[Member], plain: Mapping[str, Any], source: ImageSource) -> SegmentationTask:
    """The task that scores the members: of a single one as it is, of several with an `Ensemble` as its network.

    Args:
        members: At least one; the first one's loss and inference are used.
        plain: Checked configuration of the first one, possibly with another dataset or trainer.
        source: The dataset that is scored.

    Raises:
        UserError: If a checkpoint belongs to another network than its run's configuration says.
    """
    trained = [check_train_config(OmegaConf.create(dict(member.config))) for member in members[1:]]
    inference = common_inference(plain["inference"], [own["inference"] for own in trained])
    tasks = []
    for member, own in zip(members, [plain, *trained], strict=True):
        task = build_task({**own, "data": plain["data"], "inference": inference}, source, {})
        load_weights(task, member.file, member.content)
        tasks.append(task)
    if len(tasks) > 1:
        tasks[0].network = Ensemble([task.network for task in tasks])
    return tasks[0]
