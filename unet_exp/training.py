"""One training run, from composed configuration to finished run folder."""

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig
from torch import nn

from unet_exp.budget import within_budget
from unet_exp.build import build_datamodule, build_task
from unet_exp.callback._checkpoint import CheckpointWriter
from unet_exp.callback._finite import StopOnNonFiniteLoss
from unet_exp.callback._history import HistoryWriter
from unet_exp.check import check_train_config
from unet_exp.cost import NetworkCost, measure_cost
from unet_exp.data._datamodule import SegmentationDataModule
from unet_exp.data._sampling import share_of_batch
from unet_exp.errors import ConfigError
from unet_exp.evaluation import draw_results, evaluate_part, load_weights, write_results
from unet_exp.figure.curves import save_curves
from unet_exp.files import write_json
from unet_exp.instantiate import build
from unet_exp.run.checkpoint_io import DurableCheckpointIO, usable_checkpoint
from unet_exp.run.console import print_table, score_rows
from unet_exp.run.distributed import together
from unet_exp.run.environment import describe_environment
from unet_exp.run.folder import RunFolder
from unet_exp.run.history import read_history, train_seconds
from unet_exp.run.opening import Opened, held, open_run
from unet_exp.run.rank import is_first_process
from unet_exp.run.signals import StopRequest, stop_request
from unet_exp.run.team import Team, devices_of_torchrun
from unet_exp.run.whole_batch_layers import WholeBatchLayers
from unet_exp.signature import did_you_mean
from unet_exp.start_summary import print_start, samples_per_device
from unet_exp.sweep.slurm.cluster import cluster_plugins
from unet_exp.sweep.slurm.membership import warning_signals
from unet_exp.task import SegmentationTask


def train(config: DictConfig, *, names: Mapping[str, str], overrides: Sequence[str]) -> Path:
    """Train, score and draw.

    Everything that can be wrong with configuration and training data is found before the run folder is made.

    Args:
        config: The composed configuration.
        names: Chosen option of the groups model, data and loss, for people to read; of arm and recipe in a study.
        overrides: The command-line overrides.

    Returns:
        The run folder.

    Raises:
        UserError: If something outside the program is wrong.
        RunInterruptedError: If a signal stopped it; the state is saved.
    """
    plain = within_budget(check_train_config(config), overrides)
    quieten()
    seed_everything(plain["seed"], workers=True, verbose=False)
    team = Team.of_this_process()
    with team.in_turn() if team else nullcontext():
        _check_hardware(plain)
        datamodule = _prepared(plain)
    split = datamodule.split.description()
    extras = {"config": plain, "split": split, "class_names": datamodule.source.class_names}
    task = build_task(plain, datamodule.source, extras)
    _check_monitor(plain["monitor"], task)
    cost = measure_cost(task.network, datamodule.source.in_channels, datamodule.source.sample_size)
    opened = open_run(plain, names, split, team)
    folder = opened.folder
    with stop_request(warning_signals()) as request, held(folder):
        checkpoint = usable_checkpoint(folder.checkpoint("last"))[0] if opened.resumed else None
        with _recorded(folder), _tracked(plain, folder) as tracker:
            trainer = build_trainer(plain, folder, _callbacks(plain, folder, request, tracker), tracker)
            environment = describe_environment(overrides, trainer.strategy.root_device)
            _write_beginnings(opened, plain, split, environment)
            print_start(folder, names, plain, cost, datamodule, trainer)
            _warn_of_separate_batch_norm(trainer, task, plain)
            with together(trainer, "Continue with resume=<run folder>."):
                trainer.fit(task, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
                _conclude(trainer, task, datamodule, folder, plain, cost)
    return folder.path


def quieten() -> None:
    """Silence what Lightning says at every start and nobody can act on."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*number of training batches.*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.* is deprecated.*")
    warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
    warnings.filterwarnings(
        "ignore", message=".*recommended to use `self.log.*sync_dist=True.*"
    )  # the task sums itself
    warnings.filterwarnings("ignore", message=".*distributed.nn.functional.all_gather is deprecated.*")
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")


def build_trainer(
    config: Mapping[str, Any], folder: RunFolder, callbacks: Sequence[Callback], tracker: Any = None
) -> Trainer:
    """The Lightning trainer of the configuration.

    Args:
        config: The plain, resolved configuration.
        folder: Whatever Lightning writes by itself goes here, never to the working directory.
        callbacks: Callbacks of the run.
        tracker: The experiment tracker, or None.
    """
    layers = WholeBatchLayers(batch_norm=bool(config["trainer"].get("sync_batchnorm")))
    trainer: Trainer = build(
        config,
        "trainer",
        **devices_of_torchrun(config["trainer"]),
        default_root_dir=str(folder.path),
        logger=tracker.lightning_logger if tracker else False,
        callbacks=list(callbacks),
        plugins=[DurableCheckpointIO(), layers, *cluster_plugins()],
        enable_model_summary=False,
        # In a log file Lightning would print a bar of its own; the lines of HistoryWriter are for that.
        enable_progress_bar=config["trainer"]["enable_progress_bar"] and sys.stderr.isatty(),
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # our samplers divide the work without padding
    )
    layers.on_gpu = trainer.strategy.root_device.type == "cuda"
    return trainer


def _prepared(config: Mapping[str, Any]) -> SegmentationDataModule:
    """The data, all faults of which are found before the run folder is made."""
    datamodule = build_datamodule(config)
    datamodule.prepare_data()
    datamodule.split.require("train", "val")
    _ = datamodule.train_dataset
    return datamodule


def _check_hardware(config: Mapping[str, Any]) -> None:
    """Build a trainer only to see whether this machine has what it asks for, and can share the batches."""
    given = devices_of_torchrun(config["trainer"])
    try:
        trainer = build(
            config,
            "trainer",
            **given,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            plugins=cluster_plugins(),
        )
    except ConfigError as error:
        hint = "trainer: choose trainer=cpu or trainer=auto, or change trainer.accelerator and trainer.devices."
        raise ConfigError([*error.mistakes, hint]) from None
    share_of_batch(config["loader"]["batch_size"], trainer.world_size)


def _check_monitor(monitor: str, task: SegmentationTask) -> None:
    known = [f"val/{name}" for name in task.score_names]
    if monitor not in known:
        hint = did_you_mean(monitor, known, otherwise="Choose one of")
        raise ConfigError([f"monitor: no score is called {monitor!r}. {hint}"])


@contextmanager
def _recorded(folder: RunFolder) -> Iterator[None]:
    """Keep status.json truthful; one process writes it."""
    if not is_first_process():
        yield
        return
    with folder.recorded():
        yield


@contextmanager
def _tracked(config: Mapping[str, Any], folder: RunFolder) -> Iterator[Any]:
    """The experiment tracker, told the truth about how the run ended."""
    if not config["logger"]:
        yield None
        return
    tracker = build(config, "logger")(run_folder=folder.path, name=folder.path.name, config=dict(config))
    try:
        yield tracker
    except BaseException as error:
        tracker.finish(exit_code=getattr(error, "exit_code", 1))
        raise
    tracker.finish(exit_code=0)


def _callbacks(config: Mapping[str, Any], folder: RunFolder, request: StopRequest, tracker: Any) -> list[Callback]:
    """What every run has, what the tracker brings, and what the user has chosen."""
    checkpoint = CheckpointWriter(
        last=folder.last_checkpoint,
        best=folder.best_checkpoint,
        monitor=config["monitor"],
        request=request,
        settings=build(config, "checkpoint"),
    )
    callbacks: list[Callback] = [
        *build(config, "callback").values(),
        *(tracker.callbacks if tracker else ()),
        StopOnNonFiniteLoss(folder.path, request),
        HistoryWriter(folder.history_file, config["monitor"]),
        checkpoint,
    ]
    if config["trainer"]["enable_progress_bar"] and sys.stderr.isatty():
        callbacks.append(TQDMProgressBar(leave=True))  # keeps one line per epoch
    return callbacks


@rank_zero_only
def _write_beginnings(
    opened: Opened, config: Mapping[str, Any], split: Mapping[str, Any], environment: Mapping[str, Any]
) -> None:
    if not opened.resumed:
        opened.folder.write_config(config)
    write_json(opened.folder.environment_file, environment)
    write_json(opened.folder.split_file, split)


@rank_zero_only
def _warn_of_separate_batch_norm(trainer: Trainer, task: SegmentationTask, config: Mapping[str, Any]) -> None:
    """Say so where the number of processes is part of the result."""
    separate = trainer.world_size > 1 and not config["trainer"].get("sync_batchnorm")
    if separate and any(isinstance(module, nn.BatchNorm2d) for module in task.network.modules()):
        sys.stderr.write(
            "warning: each process normalises its own part of a batch, so the number of devices is part of the result; "
            "trainer.sync_batchnorm=true normalises the whole batch.\n"
        )


def _conclude(
    trainer: Trainer,
    task: SegmentationTask,
    datamodule: SegmentationDataModule,
    folder: RunFolder,
    config: Mapping[str, Any],
    cost: NetworkCost,
) -> None:
    """Score the checkpoint that stands for the run, write and draw."""
    name = config.get("scored_checkpoint", "best")
    if name == "best" and not folder.best_checkpoint.is_file():
        name = "last"  # without validation there is no best one
    load_weights(task, folder.checkpoint(name))
    parts = ["val", "test"] if config["test_after_training"] and datamodule.split.test else ["val"]
    results = [evaluate_part(trainer, task, datamodule, part) for part in parts]
    if not trainer.is_global_zero:
        return
    history = read_history(folder.history_file)
    best = max(
        (row for row in history if config["monitor"] in row),
        key=lambda row: row[config["monitor"]],
        default={},
    )
    context = {
        "checkpoint": name,
        "best_epoch": int(best.get("epoch", -1)) + 1,
        "epochs": trainer.current_epoch,
        "parameters": cost.parameters,
        "gmacs": cost.gmacs,
        "training_memory_mb": cost.training_memory_mb(samples_per_device(config, trainer)),
        "train_seconds": train_seconds(history),
    }
    write_results(results, datamodule.source, folder.path, context)
    source = datamodule.source
    colors = dict(zip(source.class_names, source.palette, strict=True))
    save_curves(history, folder.figures / "curves.png", monitor=config["monitor"], colors=colors)
    for result in results:
        draw_results(result, task, datamodule, folder.figures)
        rows = score_rows(result.scores, source.class_names)
        scored = f"best epoch {context['best_epoch']} of" if name == "best" else "last epoch of"
        print_table(f"{result.part}, {scored} {context['epochs']}", rows)
    print_table("Written", [("scores", folder.metrics_file), ("pictures", folder.figures)])
