"""Where the yaml files are."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def config_folder() -> Path:
    """Folder with the yaml groups: inside an installed wheel, or beside the package in a checkout.

    Raises:
        FileNotFoundError: If neither exists, i.e. the installation is damaged.
    """
    for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise FileNotFoundError(f"No conf/ folder in or beside {_PACKAGE}. Please install unet_exp again.")


CONFIG_FOLDER = str(config_folder())
