"""A training whose disk fills up, or becomes read-only, ends with one message and can be continued."""

import json
import subprocess
from pathlib import Path

import pytest
from lightning.pytorch import Callback

from tests.kill_checkpoints import small_disk
from tests.runs import run, tiny
from unet_exp.errors import UserError
from unet_exp.run.checkpoint_io import read_checkpoint
from unet_exp.run.folder import RunFolder
from unet_exp.run.history import read_history


class Spoil(Callback):
    """Fills the disk, or lets nobody write to it, when the second epoch begins.

    Args:
        disk: A file system of its own.
        read_only: Which of the two.
    """

    def __init__(self, disk: str, read_only: bool) -> None:
        self._disk = Path(disk)
        self._read_only = read_only

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        if trainer.current_epoch != 1:
            return
        if self._read_only:
            subprocess.run(["mount", "-o", "remount,ro", str(self._disk)], check=True)
            return
        with (self._disk / "ballast").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk") as folder:
        if folder is None:
            pytest.skip("needs the permission to mount a file system")
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("read_only", [False, True], ids=["full", "read-only"])
def test_the_run_stops_with_one_message_and_is_continued_from_what_was_saved(read_only, bcss_root, disk, capfd):
    settings = tiny(bcss_root, disk / "out", "test_after_training=false", "trainer.max_epochs=3")
    spoil = f"+callback.spoil={{_target_: tests.run.test_full_disk.Spoil, disk: {disk}, read_only: {read_only}}}"
    with pytest.raises(UserError) as caught:
        run([*settings, spoil])
    (path,) = (disk / "out").glob("*/*")
    folder = RunFolder(path)
    reason = "Read-only file system" if read_only else "the disk is full"
    assert reason in str(caught.value)
    assert "history.csv could not be written. What was saved before is intact" in str(caught.value)
    status = json.loads(folder.status_file.read_text())
    if read_only:  # nothing could be written, so it was said
        assert f"{folder.status_file} could not be written (Read-only file system)" in capfd.readouterr().err
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    else:
        assert status["state"] == "failed"
        assert "the disk is full" in status["reason"]
        (disk / "ballast").unlink()
    assert read_checkpoint(folder.last_checkpoint)["global_step"] == 8
    assert not list(path.rglob(".*-*"))
    resumed = run([*settings, f"resume={path}"])
    assert [row["epoch"] for row in read_history(resumed.history_file)] == [0, 1, 2]
    assert json.loads(folder.status_file.read_text())["state"] == "finished"
