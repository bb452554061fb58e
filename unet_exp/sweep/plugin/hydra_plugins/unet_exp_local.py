"""Where Hydra finds the launcher: it takes plugins from modules of the namespace package hydra_plugins only."""

from unet_exp.sweep.launcher import SweepLauncher


class LocalLauncher(SweepLauncher):
    """The launcher of conf/hydra/launcher/local.yaml."""
