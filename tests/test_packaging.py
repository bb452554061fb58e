"""The wheel holds the configuration and every module, and works away from the checkout."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(REPOSITORY)], check=True)
    (path,) = folder.glob("unet_exp-*.whl")
    return path


def test_wheel_holds_every_module_and_every_yaml(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(p.relative_to(REPOSITORY)) for p in (REPOSITORY / "unet_exp").rglob("*.py")}
    yamls = {f"unet_exp/{p.relative_to(REPOSITORY)}" for p in (REPOSITORY / "conf").rglob("*.yaml")}
    assert modules <= names
    assert yamls <= names
    assert "unet_exp/py.typed" in names
    others = [*(REPOSITORY / "unet_exp").rglob("templates/*"), *(REPOSITORY / "unet_exp").rglob("*.csv")]
    assert {str(p.relative_to(REPOSITORY)) for p in others if p.is_file()} <= names
    assert "unet_exp/reporting/published.yaml" in names


@pytest.mark.slow
def test_installed_wheel_composes_a_config_from_anywhere(wheel, tmp_path):
    """The new environment sees this one's dependencies, but not the checkout."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    site = subprocess.check_output([python, "-c", "import site; print(site.getsitepackages()[0])"], text=True).strip()
    ours = subprocess.check_output([sys.executable, "-c", "import site; print(site.getsitepackages()[0])"], text=True)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["PYTHONPATH"] = os.pathsep.join(
        [site, ours.strip()]
    )  # ours also holds an editable unet_exp: it comes last
    (tmp_path / "elsewhere").mkdir()

    def ask(*command: str) -> str:
        done = subprocess.run(
            [python, *command], cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert ask("-c", "import unet_exp.locations as c; print(c.CONFIG_FOLDER)").strip() == f"{site}/unet_exp/conf"
    assert "patch_size: 256" in ask("-m", "unet_exp.train", "data=bcss", "--cfg", "job")
    assert "run:" in ask("-m", "unet_exp.evaluate", "--help")
    refused = [python, "-m", "unet_exp.train", "-m", "data=bcss", "seed=0,1", "hydra.launcher.n_jobs=0"]
    done = subprocess.run(refused, cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True)
    assert "hydra.launcher.n_jobs: Input should be greater than 0" in done.stderr  # the launcher is there
    every = "import pkgutil, importlib, unet_exp\n"
    every += "for m in pkgutil.walk_packages(unet_exp.__path__, 'unet_exp.'): importlib.import_module(m.name)"
    ask("-c", every)
