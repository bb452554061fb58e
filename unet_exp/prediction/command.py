"""From the arguments of `python -m unet_exp.predict` to its settings; nothing here imports torch."""

from collections.abc import Sequence
from typing import Any

from unet_exp.arguments import parse_arguments, read_root
from unet_exp.errors import ConfigError
from unet_exp.prediction.settings import PredictSettings
from unet_exp.signature import call_mistakes

_TEXT_KEYS = ("run", "bundle", "input", "output", "device")
_INFERENCE_KEYS = ("tta", "tissue_only", "batch_size", "window_size", "halo", "overlap", "blend", "precision")


def parse_settings(arguments: Sequence[str]) -> PredictSettings:
    """Read and check the arguments.

    Raises:
        ConfigError: With every mistake found.
    """
    shortened = [argument for argument in arguments if argument.partition("=")[0] in _INFERENCE_KEYS]
    if shortened:
        raise ConfigError([f"{one.partition('=')[0]}: write inference.{one}" for one in shortened])
    values = parse_arguments(arguments, read_root("predict"), text_keys=_TEXT_KEYS, blocks=("inference",))
    values["continue_"] = values.pop("continue")  # a word that Python keeps to itself
    mistakes = [m.replace("continue_", "continue") for m in call_mistakes("", PredictSettings, values)]
    mistakes += _model_mistakes(values)
    if mistakes:
        raise ConfigError(mistakes)
    return PredictSettings(**values)


def _model_mistakes(values: dict[str, Any]) -> list[str]:
    given = [key for key in ("run", "bundle") if values[key]]
    if len(given) == 1:
        return []
    if given:
        return ["run, bundle: give one of them, not both."]
    return ["run: which network shall predict? Give run=outputs/<name>/<run>, or bundle=<folder of an export>."]
