"""Networks of other libraries, which not every installation has."""

import importlib
from typing import Any


class MissingPackageError(ValueError):
    """The library of a network is not there, or cannot be imported."""


def import_optional(package: str, *, network: str, extra: str) -> Any:
    """Import the library of a network.

    Args:
        package: Name of the module.
        network: Name of the network for people.
        extra: Which extra of unet_exp installs the library.

    Raises:
        MissingPackageError: With what to do.
    """
    install = f"pip install 'unet_exp[{extra}]'"
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name == package.partition(".")[0]:
            raise MissingPackageError(f"{network} needs the package {error.name}: {install}") from None
        reason: Exception = error
    # Not every library fails with an ImportError: torchvision that does not fit torch raises a RuntimeError.
    except (ImportError, RuntimeError, OSError) as error:
        reason = error
    text = (str(reason).strip() or type(reason).__name__).splitlines()[0]
    raise MissingPackageError(f"{network} needs the package {package}, which cannot be imported ({text}): {install}")
