"""Jobs for the tests of the loop: real processes and folders, but a few lines of shell instead of a training."""

import sys
from pathlib import Path

from unet_exp.run.folder import RunFolder
from unet_exp.sweep.job import Action, Job

_TRAINING = """\
import json, os, signal, sys, time
from pathlib import Path

folder, action = Path(os.environ["UNET_EXP_JOB_FOLDER"]), sys.argv[1]

def status(state, reason=""):
    (folder / "status.json").write_text(json.dumps({"state": state, "reason": reason}))

def stopped(number, frame):
    status("interrupted", "asked")
    sys.exit(128 + number)

signal.signal(signal.SIGINT, stopped)
signal.signal(signal.SIGTERM, stopped)
status("running")
with (folder.parent / "calls.txt").open("a") as file:
    file.write(f"{folder.name} {action} gpu={os.environ['CUDA_VISIBLE_DEVICES']}\\n")
{what}
status("finished")
"""


class ScriptedJob(Job):
    """A job whose training is a script."""

    what: str = ""

    def command(self, action: Action, flags=()) -> list[str]:
        return [sys.executable, "-c", _TRAINING.replace("{what}", self.what), str(action)]


def job(sweep: Path, name: str, what: str = "") -> ScriptedJob:
    """A job `name` that does `what` between saying that it runs and that it has finished."""
    config = {"trainer": {"devices": 1, "max_epochs": 4, "max_steps": -1}, "monitor": "val/dice", "seed": 0}
    names = {"model": "unet", "data": "bcss", "loss": "dice"}
    made = ScriptedJob(RunFolder(sweep / name), [f"seed={name}"], f"seed={name}", config, names)
    made.what = what
    return made


def calls(sweep: Path) -> list[str]:
    """What was run, in this order."""
    file = sweep / "calls.txt"
    return file.read_text().splitlines() if file.exists() else []
