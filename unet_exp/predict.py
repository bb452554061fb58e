"""``python -m unet_exp.predict run=<run folder> input=<images> output=<folder>``: segment any image.

torch is imported after the arguments are understood; with ``bundle=`` neither Hydra nor Lightning is needed.
"""

from collections.abc import Sequence

from unet_exp.cli import run_plain_command

_INTRODUCTION = (
    "Segment images with a trained run.\n\n"
    "  python -m unet_exp.predict run=outputs/<name>/<run> input=photo.jpg output=predicted\n"
    "  python -m unet_exp.predict run=[<run>,<run>,<run>] input=folder output=predicted inference.tta=d4\n"
    "  python -m unet_exp.predict run=<run> input=slide.svs output=slides inference=halo inference.tissue_only=true\n"
    "  python -m unet_exp.predict bundle=<folder> input='scans/*.png' output=predicted save=[labels,geojson]"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command.

    Args:
        arguments: The command line without the program; None takes it from sys.argv.
    """
    run_plain_command(arguments, "predict", _INTRODUCTION, _predict)


def _predict(given: Sequence[str]) -> None:
    from unet_exp.prediction.command import parse_settings

    settings = parse_settings(given)

    from unet_exp.prediction.session import predict_files

    predict_files(settings)


if __name__ == "__main__":
    main()
