"""``python -m unet_exp.report runs=<glob or folder>``: one page that says which model is better.

Nothing here imports torch, so that the command answers in about a second.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from unet_exp.cli import run_command
from unet_exp.config import CONFIG_FOLDER


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command.

    Args:
        arguments: The command line without the program; None takes it from sys.argv.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    if {"--help", "-h"} & set(given):
        sys.stdout.write(_help())
        return
    run_command(lambda: _report(given))


def _help() -> str:
    keys = (Path(CONFIG_FOLDER) / "report.yaml").read_text(encoding="utf-8")
    return (
        "Compare trained runs: a page, tables and figures.\n\n"
        "  python -m unet_exp.report runs=outputs/<name>\n"
        '  python -m unet_exp.report "runs=outputs/*/unet-*" part=val\n'
        f"  python -m unet_exp.report runs=outputs/<name> baseline=unet output=/elsewhere\n\n{keys}"
    )


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
