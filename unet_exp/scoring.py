"""Scoring a finished run again: the work behind ``python -m unet_exp.evaluate``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from omegaconf import OmegaConf

from unet_exp.build import build_datamodule
from unet_exp.check import check_train_config
from unet_exp.cost import measure_cost
from unet_exp.data._case import Case
from unet_exp.data._datamodule import SegmentationDataModule
from unet_exp.ensemble import Member, build_ensemble, read_members, same_classes
from unet_exp.errors import ConfigError, UserError
from unet_exp.evaluation import DEFAULT_SETTINGS, PartResult, draw_results, evaluate_part, write_results
from unet_exp.evaluation_settings import EvaluationSettings
from unet_exp.inference import members_of
from unet_exp.run.console import print_table, score_rows
from unet_exp.run.distributed import together
from unet_exp.run.folder import RunFolder
from unet_exp.run.history import read_history, train_seconds
from unet_exp.staging import require_writable, staged
from unet_exp.task import SegmentationTask
from unet_exp.training import build_trainer, quieten


def score_runs(
    folders: Sequence[RunFolder],
    config: Mapping[str, Any],
    *,
    part: str,
    checkpoints: Sequence[str],
    output: Path | None,
    allow_train_images: bool = False,
    settings: EvaluationSettings = DEFAULT_SETTINGS,
) -> Path:
    """Score one part of a run's dataset, or of another one with the same classes.

    Several runs or checkpoints are scored as one, by the mean of their probabilities.

    Args:
        folders: The runs, at least one.
        config: Configuration of the first one, possibly with another dataset or trainer.
        part: `train`, `val` or `test`.
        checkpoints: `best`, `last`, or both; none: of each run the one that its training has scored.
        output: Where the results go; None: the folder `evaluation` of the run. Several must be given one.
        allow_train_images: Score images that a run was trained on too, and mark the result.
        settings: How the scores are summarised.

    Returns:
        The folder of the results.

    Raises:
        UserError: If a run has no such checkpoint, the part is empty, the classes differ, or it was trained on.
    """
    quieten()
    members = read_members(folders, checkpoints)
    saved = members[0].config
    _require_same_classes(saved["data"], config["data"])
    plain = check_train_config(OmegaConf.create(dict(config)))
    if len(members) > 1 and output is None:
        raise ConfigError(["output: several runs or checkpoints belong to no run folder; give output=<folder>."])
    require_writable(output or folders[0].path)
    trainer = _build_trainer(plain, folders[0])
    datamodule = build_datamodule(plain)
    datamodule.prepare_data()
    datamodule.split.require(part)
    trained = _trained_on_by_any(members, plain, datamodule, part)
    if not allow_train_images:
        _refuse_trained(trained, len(datamodule.split.cases(part)), part, plain["data"]["root"])
    task = build_ensemble(members, plain, datamodule.source)
    target = output or folders[0].evaluation / _label(members[0], plain, part, trained=bool(trained))
    context = {
        "run": _one_or_all([str(folder.path) for folder in folders]),
        "checkpoint": _one_or_all(list(dict.fromkeys(member.checkpoint for member in members))),
        "data_root": plain["data"]["root"],
        "images_trained_on": len(trained),
        **_cost(members, task, datamodule),
    }
    with together(trainer, "Start the evaluation again, with fewer processes if it was memory."):
        result = evaluate_part(trainer, task, datamodule, part, trained_on=trained, settings=settings)
        if trainer.is_global_zero:
            _write(result, task, datamodule, target, context, settings)
    return target


def _write(
    result: PartResult,
    task: SegmentationTask,
    datamodule: SegmentationDataModule,
    target: Path,
    context: dict[str, Any],
    settings: EvaluationSettings,
) -> None:
    """Write and print the scores of one part."""
    source = datamodule.source
    with staged(target) as folder:
        write_results([result], source, folder, context, settings)
        draw_results(result, task, datamodule, folder / "figures")
    print_table(f"{result.part} of {context['data_root']}", score_rows(result.scores, source.class_names))
    if trained := context["images_trained_on"]:
        print_table("Warning", [("trained on", f"{trained} of these images: the scores flatter")])
    print_table("Written", [("scores", target / "metrics.json"), ("pictures", target / "figures")])


def _one_or_all(values: Sequence[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else list(values)


def _build_trainer(plain: Mapping[str, Any], folder: RunFolder) -> Trainer:
    try:
        return build_trainer(plain, folder, callbacks=())
    except ConfigError as error:
        hint = "trainer: choose trainer=cpu or trainer=auto, or change trainer.accelerator and trainer.devices."
        raise ConfigError([*error.mistakes, hint]) from None


def _cost(members: Sequence[Member], task: SegmentationTask, datamodule: SegmentationDataModule) -> dict[str, float]:
    """What the networks cost, and what their training took as far as that was recorded; added up."""
    source = datamodule.source
    costs = [measure_cost(network, source.in_channels, source.sample_size) for network in members_of(task.network)]
    measured: dict[str, float] = {
        "parameters": sum(cost.parameters for cost in costs),
        "gmacs": sum(cost.gmacs for cost in costs),
    }
    histories = {member.folder.path: member.folder.history_file for member in members}.values()
    if all(file.is_file() for file in histories):
        measured["train_seconds"] = sum(train_seconds(read_history(file)) for file in histories)
    return measured


def _label(member: Member, plain: Mapping[str, Any], part: str, *, trained: bool) -> str:
    """Name of the result folder: the part, and what differs from the run's own evaluation."""
    names, saved = [part], member.config
    if saved["data"]["_target_"] != plain["data"]["_target_"] or saved["data"]["root"] != plain["data"]["root"]:
        names.insert(0, f"{plain['data']['_target_'].rpartition('.')[2].lower()}-{Path(plain['data']['root']).name}")
    if member.checkpoint != member.folder.scored_checkpoint(saved):
        names.append(member.checkpoint)
    if trained:
        names.append("with_train_images")
    return "-".join(names)


def _require_same_classes(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse a dataset whose classes are not those the network has learned."""
    if not same_classes(saved, wanted):
        before, after = (f"{', '.join(d.get('classes', {}))} ({d.get('num_classes')} outputs)" for d in (saved, wanted))
        raise UserError(
            f"data: the run was trained for the classes {before}, but this dataset has {after}. "
            "Choose a dataset of the same task."
        )


def _trained_on_by_any(
    members: Sequence[Member], plain: Mapping[str, Any], datamodule: SegmentationDataModule, part: str
) -> list[Case]:
    """Cases of a part that at least one of several runs was trained on."""
    seen = {case.id for member in members for case in _trained_on(member.content, plain, datamodule, part)}
    return [case for case in datamodule.split.cases(part) if case.id in seen]


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
