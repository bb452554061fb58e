"""Fixtures shared by all tests: one thread, tiny datasets with the true folder layouts, tiny runs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: OpenMP noise makes small steps 40x slower

import pytest
import torch

from tests import fake

REPOSITORY = Path(__file__).resolve().parents[1]
REAL_DATA = REPOSITORY.parent / "shared" / "data"


def heed_ctrl_c() -> None:
    """In a child process: a shell that runs the tests in the background lets its children ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def pytest_configure() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def store_folder(tmp_path_factory) -> Path:
    """Stores of the tests, of their processes too, go to a temporary folder."""
    folder = tmp_path_factory.mktemp("store")
    os.environ["UNET_EXP_STORE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def bcss_root(tmp_path_factory) -> Path:
    return fake.bcss(tmp_path_factory.mktemp("bcss"))


@pytest.fixture(scope="session")
def isic_root(tmp_path_factory) -> Path:
    return fake.isic(tmp_path_factory.mktemp("isic"), year=2017)


@pytest.fixture
def run_module(tmp_path):
    """Runs ``python -m <module> <arguments>`` in an empty folder, as a user would."""

    def run(module: str, *arguments: str, cwd: Path = tmp_path, timeout: float = 300):
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run
