"""The benchmark still runs: on tiny data, with whatever peers are installed."""

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

PARTS = ("crops", "photographs", "stages", "opening", "processes")


def test_the_data_benchmark_fills_all_its_tables(run_module, tmp_path):
    tiny = [
        "--regions",
        "2",
        "--side",
        "600",
        "--photographs",
        "12",
        "--repetitions",
        "1",
        "--seconds",
        "0.05",
        "--workers",
        "0",
        "2",
    ]
    result = run_module("benchmarks.data", *tiny, "--workers", "0", "2", "--folder", str(tmp_path), cwd=REPOSITORY)
    assert result.returncode == 0, result.stderr
    for part in PARTS:
        table = result.stdout.split(f"\n{part}\n\n")[1].split("\n\n")[0].splitlines()
        assert len(table) >= 4, part  # a header, a rule and at least two rows
        assert len({row.count("|") for row in table}) == 1


def test_an_unknown_part_is_refused(run_module):
    result = run_module("benchmarks.data", "crop", cwd=REPOSITORY)
    assert result.returncode == 2
    assert "unknown part crop; choose from crops" in result.stderr
