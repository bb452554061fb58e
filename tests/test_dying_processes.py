"""A process of a distributed training dies, hangs or cannot write: it ends with a reason, and no process stays."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs import tiny
from tests.test_distributed_training import start_environment
from tests.test_torchrun import only_run, trouble

pytestmark = pytest.mark.slow

GONE = "error: Another process has died or does not answer"


def train_with(what: str, rank: int, root: Path, folder: Path) -> subprocess.CompletedProcess:
    """Train in two processes of which one gets into trouble."""
    settings = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "test_after_training=false")
    timeout = "trainer.strategy.timeout_minutes=" + ("0.05" if what == "hang" else "30")
    arguments = tiny(root, folder / "out", *settings, timeout, trouble(what, folder, rank=rank))
    return subprocess.run(
        [sys.executable, "-m", "unet_exp.train", *arguments],
        cwd=folder,
        env=start_environment(),
        capture_output=True,  # ends when all processes have ended
        text=True,
        timeout=300,
    )


def processes_with(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line and "unet_exp.train" in line:
            found.append(line)
    return found


@pytest.mark.parametrize(
    ("what", "rank", "message", "state"),
    [
        ("kill", 1, GONE, "failed"),
        ("hang", 1, GONE, "failed"),
        ("full", 0, "error: {checkpoints}: the file is larger than the file system", "failed"),
        ("kill", 0, GONE, "running"),  # the one that writes the status is dead
    ],
)
def test_the_training_ends_with_a_reason(what, rank, message, state, bcss_root, tmp_path):
    done = train_with(what, rank, bcss_root, tmp_path)
    assert done.returncode != 0
    run = only_run(tmp_path)
    assert message.format(checkpoints=run.checkpoints) in done.stderr
    assert "Traceback" not in done.stderr
    assert run.status()["state"] == state
    assert processes_with(str(tmp_path)) == []
