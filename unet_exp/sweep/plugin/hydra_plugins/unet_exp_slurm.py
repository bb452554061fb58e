"""Where Hydra finds the launcher for SLURM."""

from unet_exp.sweep.slurm.launcher import SlurmSweepLauncher


class SlurmLauncher(SlurmSweepLauncher):
    """The launcher of conf/hydra/launcher/slurm.yaml."""
