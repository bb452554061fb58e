"""``python -m unet_exp.evaluate run=<run folder>``: score a trained run again, on any part or dataset.

torch is imported after the arguments are understood, so that ``--help`` and mistakes answer at once.
"""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from unet_exp.cli import run_plain_command

_INTRODUCTION = (
    "Score a trained run.\n\n"
    "  python -m unet_exp.evaluate run=outputs/<name>/<run>\n"
    "  python -m unet_exp.evaluate run=outputs/<name>/<run> split=val data.root=/elsewhere/bcss\n"
    "  python -m unet_exp.evaluate run=outputs/<name>/<run> data=ph2 data.root=/path/to/ph2\n"
    "  python -m unet_exp.evaluate run=[<run>,<run>,<run>] output=<folder>    # the mean of their probabilities"
)
_OWN_KEYS = ("run", "split", "checkpoint", "output", "allow_train_images", "statistics")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command.

    Args:
        arguments: The command line without the program; None takes it from sys.argv.
    """
    run_plain_command(arguments, "evaluate", _INTRODUCTION, _evaluate)


def _evaluate(given: Sequence[str]) -> None:
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    from unet_exp.check import check_config
    from unet_exp.config import compose_config
    from unet_exp.errors import ConfigError
    from unet_exp.evaluation_settings import EvaluationSettings, StatisticsBlock
    from unet_exp.run.folder import RunFolder
    from unet_exp.run.overrides import apply_overrides, parse_overrides

    parsed = parse_overrides(given)
    own = [o.input_line or "" for o in parsed if _is_own(o.key_or_group)]
    try:
        settings = compose_config("evaluate", own)
    except HydraException as error:
        known = ", ".join(field.name for field in fields(EvaluationSettings))
        raise ConfigError([f"{str(error).splitlines()[0]} The keys of statistics are {known}."]) from None
    if "run" not in [line.partition("=")[0] for line in own]:
        raise ConfigError(["run: which run shall be scored? Give its folder, run=outputs/<name>/<run>."])
    if settings.split not in ("train", "val", "test"):
        raise ConfigError([f"split: must be train, val or test, got {settings.split!r}."])
    if not isinstance(settings.allow_train_images, bool):
        raise ConfigError([f"allow_train_images: must be true or false, got {settings.allow_train_images!r}."])
    statistics = check_config(OmegaConf.masked_copy(settings, ["statistics"]), StatisticsBlock)["statistics"]
    runs = _texts("run", settings.run)
    checkpoints = () if settings.checkpoint is None else _texts("checkpoint", settings.checkpoint)
    folders = [RunFolder.open(Path(run)) for run in runs]
    others = [o.input_line or "" for o in parsed if not _is_own(o.key_or_group)]
    config = apply_overrides(folders[0].config(), others)

    from unet_exp.scoring import score_runs

    output = None if settings.output is None else Path(str(settings.output))
    score_runs(
        folders,
        config,
        part=settings.split,
        checkpoints=checkpoints,
        output=output,
        allow_train_images=settings.allow_train_images,
        settings=EvaluationSettings(**statistics),
    )


def _texts(key: str, value: Any) -> list[str]:
    """One text or a list of them, as a list."""
    values = [value] if isinstance(value, str | int | float) else value
    if not isinstance(values, Sequence) or not values or not all(isinstance(v, str | int | float) for v in values):
        from unet_exp.errors import ConfigError

        raise ConfigError([f"{key}: must be a name, or names in brackets: {key}=[a,b]; got {value}."])
    return [str(one) for one in values]


def _is_own(key: str) -> bool:
    return key.partition(".")[0] in _OWN_KEYS


if __name__ == "__main__":
    main()
