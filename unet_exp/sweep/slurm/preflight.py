"""Before anything is submitted: does what is asked of SLURM fit the trainer, and does the cluster have it?"""

from collections.abc import Mapping, Sequence
from typing import Any

from unet_exp.sweep.slurm.commands import Partition
from unet_exp.sweep.slurm.settings import SlurmSettings

_PREFIX = "hydra.launcher"


def trainer_mistakes(settings: SlurmSettings, configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What does not fit between the settings and the trainers, each with the line that puts it right.

    Args:
        settings: What is asked of SLURM.
        configs: Plain configurations of the jobs.
    """
    found: dict[str, None] = {}
    for config in configs:
        found |= dict.fromkeys(_of_one(settings, config["trainer"]))
    if settings.signal_delay_s >= 60 * settings.timeout_min:
        found[
            f"{_PREFIX}.signal_delay_s: the warning would come {settings.signal_delay_s} s before the end of a job of "
            f"{settings.timeout_min} min. Fix: {_PREFIX}.signal_delay_s={30 * settings.timeout_min}"
        ] = None
    return list(found)


def _of_one(settings: SlurmSettings, trainer: Mapping[str, Any]) -> list[str]:
    gpus = settings.gpus_per_node or 0
    found = _accelerator_mistakes(settings, trainer)
    devices, nodes = _devices(trainer, gpus), int(trainer.get("num_nodes") or 1)
    fixes = []
    if devices != settings.tasks_per_node:
        fixes.append(f"trainer.devices={settings.tasks_per_node}")
    if nodes != settings.nodes:
        fixes.append(f"trainer.num_nodes={settings.nodes}")
    if fixes:
        found.append(
            f"trainer: {nodes} x {devices} processes (trainer.num_nodes x trainer.devices), but SLURM would start "
            f"{settings.nodes} x {settings.tasks_per_node} ({_PREFIX}.nodes x tasks_per_node). Fix: {' '.join(fixes)}  "
            f"or: {_PREFIX}.nodes={nodes} {_PREFIX}.tasks_per_node={devices}"
        )
    return found


def _accelerator_mistakes(settings: SlurmSettings, trainer: Mapping[str, Any]) -> list[str]:
    accelerator, gpus = trainer.get("accelerator", "auto"), settings.gpus_per_node or 0
    needed = settings.tasks_per_node
    if accelerator in ("gpu", "cuda") and not gpus:
        return [f"trainer.accelerator={accelerator}, but no GPU is asked for. Fix: {_PREFIX}.gpus_per_node={needed}"]
    if accelerator == "cpu" and gpus:
        return [
            f"trainer.accelerator=cpu would leave {gpus} GPUs per node idle. Fix: trainer.accelerator=gpu  "
            f"or: {_PREFIX}.gpus_per_node=null"
        ]
    if gpus and gpus != needed:
        return [
            f"{_PREFIX}: {gpus} GPUs per node for {needed} tasks; each task uses one. "
            f"Fix: {_PREFIX}.tasks_per_node={gpus} trainer.devices={gpus}  or: {_PREFIX}.gpus_per_node={needed}"
        ]
    return []


def _devices(trainer: Mapping[str, Any], gpus: int) -> int:
    """Processes that the trainer wants on each node, as Lightning reads its devices."""
    devices = trainer.get("devices", "auto")
    if isinstance(devices, list):
        return len(devices)
    if isinstance(devices, str) and devices.isdigit():
        devices = int(devices)
    if isinstance(devices, int) and devices > 0:
        return devices
    return gpus if gpus and trainer.get("accelerator") != "cpu" else 1


def cluster_mistakes(settings: SlurmSettings, known: Mapping[str, Partition]) -> list[str]:
    """What is asked for that the cluster does not have.

    Args:
        settings: What is asked for.
        known: Its partitions, the default one under the empty name.
    """
    names = sorted(name for name in known if name)
    asked = settings.partition or ""
    missing = [name for name in asked.split(",") if name not in known]
    if missing and asked:
        return [f"{_PREFIX}.partition: there is no partition {missing[0]!r} here. Choose from: {', '.join(names)}"]
    if missing or "," in asked:
        return (
            [] if asked else [f"{_PREFIX}.partition: this cluster has no default one. Choose from: {', '.join(names)}"]
        )
    partition, found = known[asked], []
    if partition.minutes is not None and settings.timeout_min > partition.minutes:
        found.append(
            f"{_PREFIX}.timeout_min: {settings.timeout_min}, but the partition allows {partition.minutes} minutes; "
            f"longer trainings are requeued and continue. Fix: {_PREFIX}.timeout_min={partition.minutes}"
        )
    if settings.nodes > partition.nodes:
        found.append(f"{_PREFIX}.nodes: {settings.nodes}, but the partition has {partition.nodes}.")
    if (settings.gpus_per_node or 0) > partition.gpus:
        has = f"at most {partition.gpus} GPUs" if partition.gpus else "no GPUs"
        found.append(f"{_PREFIX}.gpus_per_node: {settings.gpus_per_node}, but nodes of the partition have {has}.")
    return found
