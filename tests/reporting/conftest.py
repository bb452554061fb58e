"""Settings and small sets of run folders."""

import pytest

from tests.reporting.folders import FakeRun, write_run
from unet_exp.reporting.settings import ReportSettings


@pytest.fixture(scope="session")
def settings() -> ReportSettings:
    return ReportSettings(
        runs="unused", output=None, title=None, part="auto", score="dice", baseline=None,
        level=0.95, draws=500, seed=0, all_pairs=6, case_runs=8, picture_side=64,
    )  # fmt: skip


@pytest.fixture
def two_models(tmp_path):
    """Three seeds of a worse and of a clearly better model on the same images."""
    for seed in range(3):
        write_run(tmp_path / "runs", FakeRun("unet", seed, 0.80))
        write_run(tmp_path / "runs", FakeRun("resunet", seed, 0.88, gmacs=9.0))
    return tmp_path / "runs"
