"""``python -m unet_exp.prepare``: download, verify and convert a dataset, and show what training will see of it.

Nothing here imports torch: only the preview needs it.
"""

import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from unet_exp.cli import run_command, with_data_for_help
from unet_exp.locations import CONFIG_FOLDER


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="prepare")
def _job(config: DictConfig) -> None:
    run_command(lambda: _prepare(config))


def _prepare(config: DictConfig) -> None:
    from unet_exp.preparation import prepare

    prepare(config, names=HydraConfig.get().runtime.choices)


def main() -> None:
    """Entry point of the command."""
    sys.argv[1:] = with_data_for_help(sys.argv[1:])
    run_command(_job)


if __name__ == "__main__":
    main()
