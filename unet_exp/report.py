"""``python -m unet_exp.report runs=<glob or folder>``: one page that says which model is better.

Nothing here imports torch, so that the command answers in about a second.
"""

from collections.abc import Sequence

from unet_exp.cli import run_plain_command

_INTRODUCTION = (
    "Compare trained runs: a page, tables and figures.\n\n"
    "  python -m unet_exp.report runs=outputs/<name>\n"
    '  python -m unet_exp.report "runs=outputs/*/unet-*" part=val\n'
    "  python -m unet_exp.report runs=outputs/<name> baseline=unet output=/elsewhere"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command.

    Args:
        arguments: The command line without the program; None takes it from sys.argv.
    """
    run_plain_command(arguments, "report", _INTRODUCTION, _report)


def _report(given: Sequence[str]) -> None:
    from hydra.errors import HydraException

    from unet_exp.check import check_config
    from unet_exp.config import compose_config
    from unet_exp.errors import ConfigError
    from unet_exp.reporting.settings import ReportSettings
    from unet_exp.run.overrides import parse_overrides

    parse_overrides(given)
    try:
        config = compose_config("report", given)
    except HydraException as error:
        raise ConfigError([str(error).splitlines()[0]]) from None
    settings = ReportSettings(**check_config(config, ReportSettings))

    from unet_exp.reporting.build import build_report

    build_report(settings)


if __name__ == "__main__":
    main()
