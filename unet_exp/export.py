"""``python -m unet_exp.export run=<run folder>``: make a bundle of a trained network that runs elsewhere.

torch is imported after the arguments are understood.
"""

from collections.abc import Sequence

from unet_exp.cli import run_plain_command

_INTRODUCTION = (
    "Export a trained run as a bundle: network, description, model card.\n\n"
    "  python -m unet_exp.export run=outputs/<name>/<run>\n"
    "  python -m unet_exp.export run=outputs/<name>/<run> format=torch_export output=/elsewhere/my_bundle\n"
    "  python -m unet_exp.export run=outputs/<name>/<run> checkpoint=last data_root=/path/to/bcss"
)
_TEXT_KEYS = ("run", "output", "data_root")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command.

    Args:
        arguments: The command line without the program; None takes it from sys.argv.
    """
    run_plain_command(arguments, "export", _INTRODUCTION, _export)


def _export(given: Sequence[str]) -> None:
    from unet_exp.arguments import parse_arguments, read_root
    from unet_exp.bundle.settings import ExportSettings
    from unet_exp.errors import ConfigError
    from unet_exp.signature import call_mistakes

    values = parse_arguments(given, read_root("export"), text_keys=_TEXT_KEYS, blocks=())
    mistakes = list(call_mistakes("", ExportSettings, values))
    if mistakes:
        raise ConfigError(mistakes)

    from unet_exp.bundle.build import export_run

    export_run(ExportSettings(**values))


if __name__ == "__main__":
    main()
