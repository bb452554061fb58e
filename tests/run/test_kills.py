"""Writers of checkpoints that are killed at random moments; `python -m tests.kill_checkpoints` does it more often."""

import random

import pytest
import torch

from tests.kill_checkpoints import kill_often, small_disk
from unet_exp.run.checkpoint_io import DurableCheckpointIO


@pytest.mark.slow
def test_a_kill_on_a_slow_disk_leaves_whole_checkpoints_and_no_litter(tmp_path):
    counts, found = kill_often(tmp_path / "checkpoints", 15, random.Random(1), slow=True, ballast=None)
    assert found == []
    assert counts["kills in the middle of a write"] > 0


@pytest.mark.slow
def test_a_kill_on_a_nearly_full_disk_leaves_whole_checkpoints_and_no_litter(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        if disk is None:
            pytest.skip("needs the permission to mount a file system")
        ballast = disk / "ballast"
        counts, found = kill_often(disk / "checkpoints", 15, random.Random(1), slow=False, ballast=ballast)
    assert found == []
    assert counts["times the disk was full"] > 0
    assert counts["checkpoints written"] > 15


@pytest.mark.slow
def test_the_check_sees_what_a_plain_writer_leaves(tmp_path, monkeypatch):
    monkeypatch.setattr(DurableCheckpointIO, "save_checkpoint", lambda _, data, path, __: torch.save(data, path))
    _, found = kill_often(tmp_path / "checkpoints", 10, random.Random(1), slow=False, ballast=None)
    assert any("is damaged" in problem for problem in found)
