"""One tiny run, exported in both formats."""

import shutil

import pytest

from tests.runs import run, tiny
from unet_exp.bundle.build import export_run
from unet_exp.bundle.settings import ExportSettings

DEFAULTS = {"checkpoint": "best", "output": None, "overwrite": False, "data_root": None}


def settings(run_folder, output, format_="torch_export", **changes) -> ExportSettings:
    """What is asked for of the command."""
    return ExportSettings(
        **{**DEFAULTS, "run": str(run_folder.path), "output": str(output), "format": format_} | changes
    )


@pytest.fixture(scope="session")
def isic_run(isic_root, tmp_path_factory):
    """With a moving average of the weights, which is what scores and is exported."""
    overrides = tiny(isic_root, tmp_path_factory.mktemp("outputs"), "callback=ema", data="isic2017")
    return run(overrides)


@pytest.fixture(scope="session")
def onnx_bundle(isic_run, tmp_path_factory):
    """Only to be read."""
    return export_run(settings(isic_run, tmp_path_factory.mktemp("bundles") / "onnx", "onnx"))


@pytest.fixture(scope="session")
def torch_export_bundle(isic_run, tmp_path_factory):
    """Only to be read."""
    return export_run(settings(isic_run, tmp_path_factory.mktemp("bundles") / "torch_export"))


@pytest.fixture(scope="session", params=["torch_export", "onnx"])
def exported(request):
    """A bundle of each format, only to be read."""
    return request.getfixturevalue(f"{request.param}_bundle")


@pytest.fixture
def bundle(exported, tmp_path):
    """A copy to be damaged."""
    return shutil.copytree(exported, tmp_path / "bundle")
