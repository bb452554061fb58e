"""From one block of the checked configuration to an object: the only caller of `hydra.utils.instantiate`."""

from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from unet_exp.errors import ConfigError, UserError

Config = Mapping[str, Any]
"""The plain, resolved configuration."""

_MISTAKES = (ValueError, TypeError)


def build(config: Config, key: str, **arguments: Any) -> Any:
    """Build one block of the configuration.

    Args:
        config: The plain, resolved configuration.
        key: Name of the block.
        arguments: Built parts it is called with.

    Raises:
        ConfigError: If the constructor refuses its arguments.
    """
    try:
        return instantiate(config[key], **arguments, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        # Lightning's own type of mistake is known by name: importing it would import torch.
        if isinstance(cause, _MISTAKES) or type(cause).__name__ == "MisconfigurationException":
            raise ConfigError([f"{key}: {str(cause).splitlines()[0]}"]) from None
        raise
