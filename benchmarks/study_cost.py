"""What a study will cost: its runs, and hours from a few real training steps and scored images of every arm.

    python -m benchmarks.study_cost experiment=study_bcss data.root=/path/to/bcss
    python -m benchmarks.study_cost experiment=study_bcss data=bcss_demo          # before the data is there
    python -m benchmarks.study_cost --steps 20 experiment=study_isic data.root=/path/to/isic2017 arm=unet,deep

It takes the overrides of ``python -m unet_exp.train -m``, and measures on the device that the study would use, one arm
after the other; runs that differ in seed or fold are measured once. Nothing is written but the store of the data.
"""

import argparse
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks._timing import table
from unet_exp.budget import within_budget
from unet_exp.build import build_datamodule, build_task
from unet_exp.check import check_train_config
from unet_exp.cli import run_command
from unet_exp.config import compose_config
from unet_exp.cost import NetworkCost, measure_cost
from unet_exp.data._datamodule import SegmentationDataModule
from unet_exp.errors import ConfigError
from unet_exp.evaluation import evaluate_part
from unet_exp.instantiate import build
from unet_exp.locations import CONFIG_FOLDER
from unet_exp.run.environment import device_name
from unet_exp.training import quieten

_REPEATS = ("seed", "data.split.fold")
"""What runs of one arm differ in; they cost the same."""
_WARM_UP = 3
"""Steps and images that are not counted."""
_START = 15.0
"""Seconds of a run that are neither training nor scoring: imports, opening the store, figures."""


@dataclass(frozen=True)
class ArmCost:
    """What one run of an arm was measured to cost.

    Args:
        name: Its overrides.
        runs: How many runs of it the study has.
        network: Parameters and multiply-accumulates.
        step_seconds: Of a training step, the reading of its batch included.
        steps: Of a training.
        pixel_seconds: Of a million pixels that are scored, at the network's resolution.
        megapixels: That a run scores, while it trains and at its end.
    """

    name: str
    runs: int
    network: NetworkCost
    step_seconds: float
    steps: int
    pixel_seconds: float
    megapixels: float

    @property
    def hours(self) -> float:
        """Of one run."""
        return (self.step_seconds * self.steps + self.pixel_seconds * self.megapixels + _START) / 3600


class StepClock(Callback):
    """Times training steps after the first few.

    Args:
        steps: So many are timed.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._start = self.seconds = 0.0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Start after the warm-up, stop after the last step."""
        if trainer.global_step not in (_WARM_UP, _WARM_UP + self._steps):
            return
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds, self._start = (now - self._start) / self._steps, now


def arms_of(overrides: Sequence[str]) -> Counter[tuple[str, ...]]:
    """The arms of a sweep, each as its overrides without seed and fold, and the number of its runs.

    Raises:
        ConfigError: If an override is not understood.
    """
    parser = OverridesParser.create()
    try:
        fixed = [one.input_line for one in parser.parse_overrides(list(overrides)) if not one.is_sweep_override()]
        params = _params([str(one) for one in fixed])
        given = [f"{key}={values}" for key, values in params.items()]
        (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides([*given, *overrides]), None)
    except HydraException as error:
        raise ConfigError([" ".join(str(error).split())]) from None
    return Counter(tuple(one for one in job if one.partition("=")[0] not in _REPEATS) for job in jobs)


def _params(overrides: Sequence[str]) -> dict[str, str]:
    """What the experiment varies by itself."""
    with initialize_config_dir(config_dir=CONFIG_FOLDER, version_base="1.3"):
        composed = compose("train", list(overrides), return_hydra_config=True)
    return {str(key): str(values) for key, values in (composed.hydra.sweeper.get("params") or {}).items()}


def measure_arm(name: str, runs: int, overrides: Sequence[str], *, steps: int, images: int) -> tuple[ArmCost, str]:
    """Train a few steps and score a few images of one arm.

    Args:
        name: For the table.
        runs: How many runs of it the study has.
        overrides: Its command line.
        steps: That are timed.
        images: That are scored, at most.

    Returns:
        Its cost, and the device.
    """
    config = within_budget(check_train_config(compose_config("train", list(overrides))), overrides)
    datamodule = build_datamodule(config)
    datamodule.prepare_data()
    task = build_task(config, datamodule.source, {})
    network = measure_cost(task.network, datamodule.source.in_channels, datamodule.source.sample_size)
    clock = StepClock(steps)
    trainer = _trainer(config, [*build(config, "callback").values(), clock], _WARM_UP + steps, images)
    total_steps = len(datamodule.train_dataset) // config["loader"]["batch_size"] * config["trainer"]["max_epochs"]
    trainer.fit(task, datamodule=datamodule)
    result = evaluate_part(trainer, task, datamodule, "val")
    scored = _megapixels(datamodule, [case.id for case in result.cases])
    cost = ArmCost(
        name, runs, network, clock.seconds, total_steps, result.seconds / scored, _scored_in_a_run(config, datamodule)
    )
    return cost, f"{device_name(trainer.strategy.root_device)}, {trainer.precision}"


def _trainer(config: dict[str, Any], callbacks: list[Callback], steps: int, images: int) -> Trainer:
    per_batch = config["inference"]["batch_size"] if config["inference"]["window_size"] is None else 1
    limited = {
        **config["trainer"],
        "max_epochs": 10_000,
        "max_steps": steps,
        "limit_val_batches": 0,
        "limit_test_batches": -(-images // per_batch),
    }
    trainer: Trainer = build(
        {**config, "trainer": limited},
        "trainer",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    return trainer


def _megapixels(datamodule: SegmentationDataModule, ids: Sequence[str]) -> float:
    """Millions of pixels of some images, at the network's resolution."""
    entries = datamodule.collection.store.entries
    sizes = [entries[id].image_shape for id in ids]
    return sum(height * width for height, width, *_ in sizes) / 1e6


def _scored_in_a_run(config: dict[str, Any], datamodule: SegmentationDataModule) -> float:
    """Millions of pixels that are predicted: in every validation of the training, and at the end."""
    validation, test = (
        _megapixels(datamodule, [case.id for case in datamodule.split.cases(part)]) for part in ("val", "test")
    )
    during = config["trainer"]["max_epochs"] // config["trainer"]["check_val_every_n_epoch"]
    return (during + 1) * validation + (test if config["test_after_training"] else 0.0)


def cost_table(arms: Sequence[ArmCost]) -> str:
    """A row per arm, and the sum."""
    header = ("arm", "parameters", "GMACs", "ms/step", "steps", "s/Mpx scored", "Mpx scored", "h/run", "runs", "hours")
    rows = [
        (
            arm.name,
            f"{arm.network.parameters / 1e6:.2f} M",
            f"{arm.network.gmacs:.2f}",
            f"{1e3 * arm.step_seconds:.0f}",
            f"{arm.steps:,}",
            f"{arm.pixel_seconds:.2f}",
            f"{arm.megapixels:.0f}",
            f"{arm.hours:.2f}",
            str(arm.runs),
            f"{arm.hours * arm.runs:.1f}",
        )
        for arm in arms
    ]
    runs, hours = sum(arm.runs for arm in arms), sum(arm.hours * arm.runs for arm in arms)
    return table(header, [*rows, ("all", *[""] * 7, str(runs), f"{hours:.1f}")])


def _short(arm: Sequence[str]) -> str:
    """What tells an arm from the others."""
    chosen = dict(one.split("=", 1) for one in arm)
    return "-".join(chosen[key] for key in ("arm", "recipe") if key in chosen) or " ".join(arm)


def _report(options: argparse.Namespace) -> None:
    quieten()
    torch.set_num_threads(options.threads)
    arms, devices = [], set()
    for overrides, runs in arms_of(options.overrides).items():
        cost, device = measure_arm(_short(overrides), runs, overrides, steps=options.steps, images=options.images)
        print(f"{cost.name}: {1e3 * cost.step_seconds:.0f} ms/step, {cost.hours:.2f} h/run", flush=True)
        arms.append(cost)
        devices.add(device)
    print(f"\n{cost_table(arms)}\n\nMeasured on {', '.join(sorted(devices))}, {torch.get_num_threads()} CPU threads.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10, help="training steps that are timed (default: 10)")
    parser.add_argument("--images", type=int, default=2, help="images that are scored (default: 2)")
    cores = len(os.sched_getaffinity(0))  # the only job of a sweep gets all
    parser.add_argument("--threads", type=int, default=cores, help="CPU threads of a run (default: all cores)")
    parser.add_argument("overrides", nargs="+", help="as of python -m unet_exp.train -m")
    options = parser.parse_args(arguments)
    run_command(lambda: _report(options))


if __name__ == "__main__":
    main()
