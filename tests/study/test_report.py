"""What the report says of a study."""

import pytest

from tests.reporting.folders import FakeRun, write_run
from unet_exp.arguments import read_root
from unet_exp.reporting.build import build_report
from unet_exp.reporting.settings import ReportSettings

CHOSEN = "These images also chose the epoch"


@pytest.mark.parametrize(("scored", "told"), [("best", True), ("last", False), (None, True)])
@pytest.mark.slow
def test_validation_scores_flatter_only_where_they_chose_the_weights(scored, told, tmp_path):
    config = {} if scored is None else {"scored_checkpoint": scored}
    for seed in (0, 1):
        for arm in ("unet", "context"):
            write_run(tmp_path / "runs", FakeRun(arm, seed=seed, parts=("val",), cases=False, config=config))
    settings = {**read_root("report"), "runs": str(tmp_path / "runs"), "output": str(tmp_path / "report"), "draws": 200}
    page = build_report(ReportSettings(**settings)).read_text(encoding="utf-8")
    assert (CHOSEN in page) == told
    assert "context" in page
