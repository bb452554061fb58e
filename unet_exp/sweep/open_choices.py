"""An experiment that is a sweep (`hydra.sweeper.params`), started as a single training."""

from collections.abc import Mapping
from typing import Any

from unet_exp.errors import ConfigError


def refuse_open_choices(params: Mapping[str, Any] | None, choices: Mapping[str, Any]) -> None:
    """Refuse a single training that leaves open which of the options of a sweep it shall be.

    Without this it would be none of them: the network of train.yaml, under the name of the study.

    Args:
        params: What the sweep varies, by key: values with commas between them.
        choices: Chosen option of every group.

    Raises:
        ConfigError: Naming what to choose, and how to start the sweep.
    """
    varied = params or {}
    left_open = [key for key in varied if key in choices and choices[key] is None]
    if left_open:
        experiment = choices.get("experiment") or "this configuration"
        raise ConfigError(
            [
                f"{key}: {experiment} is a sweep over {', '.join(varied)}. Start it with -m; or, for one of its "
                f"runs, choose {key}= one of {', '.join(part.strip() for part in str(varied[key]).split(','))}."
                for key in left_open
            ]
        )
