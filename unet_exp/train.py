"""``python -m unet_exp.train``: train one network on one dataset, or sweep over many with ``-m``.

torch is imported after Hydra has answered ``--help`` and ``--cfg``, which must be instant.
"""

import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from unet_exp.cli import run_command, with_data_for_help
from unet_exp.locations import CONFIG_FOLDER
from unet_exp.run.overrides import refuse_null_options
from unet_exp.run.resume import resumed_arguments
from unet_exp.run.team import first_process_tells, tell_at_once
from unet_exp.sweep.launcher import SweepLauncher, offer_launcher
from unet_exp.sweep.membership import end_with_sweep
from unet_exp.sweep.open_choices import refuse_open_choices
from unet_exp.sweep.slurm.membership import requeued_when_warned


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="train")
def _job(config: DictConfig) -> None:
    run_command(lambda: _train(config))


def _train(config: DictConfig) -> None:
    runtime = HydraConfig.get()
    refuse_open_choices(runtime.sweeper.get("params"), runtime.runtime.choices)

    from unet_exp.training import train

    tell_at_once()
    with requeued_when_warned():
        train(config, names=runtime.runtime.choices, overrides=list(runtime.overrides.task))


def main() -> None:
    """Entry point of the command."""
    end_with_sweep()
    run_command(_complete_arguments)
    offer_launcher()
    with first_process_tells():
        run_command(_job)
    if SweepLauncher.exit_code:
        raise SystemExit(SweepLauncher.exit_code)


def _complete_arguments() -> None:
    refuse_null_options(sys.argv[1:])
    sys.argv[1:] = with_data_for_help(resumed_arguments(sys.argv[1:]))


if __name__ == "__main__":
    main()
