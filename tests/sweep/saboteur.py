"""A callback that makes trainings crash or wait, as a file says: the configuration, and so the job, stays the same."""

import json
import os
import signal
import time
from pathlib import Path

from lightning.pytorch import Callback


class Saboteur(Callback):
    """Notes every start of a training, and spoils some of them.

    Args:
        folder: Holds plan.json: for a seed and rank ("3", or "3/1" for one rank), `raise`, `kill` or `wait`.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def on_train_start(self, trainer, pl_module):
        if trainer.is_global_zero:
            with (self._folder / "trained.txt").open("a") as file:
                file.write(f"{os.environ['PL_GLOBAL_SEED']} from step {trainer.global_step}\n")

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        plan = json.loads((self._folder / "plan.json").read_text())
        seed = os.environ["PL_GLOBAL_SEED"]
        what = plan.get(f"{seed}/{trainer.global_rank}", plan.get(seed))
        if what == "raise":
            raise RuntimeError("cosmic ray")
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "wait":  # in the second epoch, so that there is a checkpoint of the first
            while trainer.current_epoch and json.loads((self._folder / "plan.json").read_text()).get(seed) == "wait":
                if trainer.callbacks and any(getattr(c, "_request", None) for c in trainer.callbacks):
                    return
                time.sleep(0.05)
