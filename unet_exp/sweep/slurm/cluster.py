"""How Lightning's processes find each other in a SLURM job: said, never guessed."""

from typing import Any

from unet_exp.sweep.slurm.membership import slurm_membership


def cluster_plugins() -> list[Any]:
    """The trainer's plugin for the cluster, empty where Lightning may choose by itself.

    Lightning takes every process that sees SLURM's variables for one of ``srun --ntasks``, also a single training
    inside an allocation, and resumes whatever checkpoint it finds for requeued jobs.
    """
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    membership = slurm_membership()
    if membership is not None and membership.tasks > 1:
        return [SLURMEnvironment(auto_requeue=False)]
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        return [LightningEnvironment()]
    return []
