"""``python -m unet_exp.replay run=<run folder>``: where does the NaN of a stopped training come from?

torch is imported after the arguments are understood, so that ``--help`` and mistakes answer at once.
"""

from collections.abc import Sequence
from pathlib import Path

from unet_exp.cli import run_plain_command

_INTRODUCTION = (
    "Compute the batch again whose loss was NaN or infinite, and name the first module at fault.\n\n"
    "  python -m unet_exp.replay run=outputs/<name>/<run>"
)
_DEVICES = ("auto", "cpu", "cuda")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command.

    Args:
        arguments: The command line without the program; None takes it from sys.argv.
    """
    run_plain_command(arguments, "replay", _INTRODUCTION, _replay)


def _replay(given: Sequence[str]) -> None:
    from hydra.errors import HydraException

    from unet_exp.config import compose_config
    from unet_exp.errors import ConfigError
    from unet_exp.run.folder import RunFolder
    from unet_exp.run.overrides import parse_overrides

    if "run" not in [override.key_or_group for override in parse_overrides(given)]:
        raise ConfigError(["run: which run shall be looked at? Give its folder, run=outputs/<name>/<run>."])
    try:
        settings = compose_config("replay", given)
    except HydraException as error:
        raise ConfigError([str(error).splitlines()[0]]) from None
    if settings.device not in _DEVICES:
        raise ConfigError([f"device: must be one of {', '.join(_DEVICES)}, got {settings.device!r}."])
    folder = RunFolder.open(Path(settings.run))

    from unet_exp.replaying import replay_run

    replay_run(folder, device=settings.device)


if __name__ == "__main__":
    main()
