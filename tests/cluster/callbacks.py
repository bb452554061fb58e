"""Callbacks of the trainings under SLURM."""

import os
from pathlib import Path

from tests.resuming import Record
from unet_exp.sweep.membership import FOLDER_VARIABLE


class RecordInFolder(Record):
    """Writes the digest of every batch into the run folder, without a path in the configuration of the job."""

    def __init__(self) -> None:
        super().__init__(str(Path(os.environ[FOLDER_VARIABLE]) / "batches.txt"))
