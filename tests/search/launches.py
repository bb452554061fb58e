"""Searches for the tests: real processes, folders and journal, but a few lines instead of a training.

``python -m tests.search.launches <folder> <settings as JSON>`` is one launch, to be killed.
"""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from tests.sweep.jobs import job
from unet_exp.run.signals import StopRequest
from unet_exp.search.settings import SearchSettings
from unet_exp.search.source import TrialSource
from unet_exp.search.space import read_space
from unet_exp.search.study import SearchStudy
from unet_exp.sweep.display import Display
from unet_exp.sweep.runner import Runner
from unet_exp.sweep.settings import SweepSettings
from unet_exp.sweep.slots import make_slots

REPOSITORY = Path(__file__).resolve().parents[2]
SPACE = ["x=interval(0,1)", "kind=choice(good,bad)"]

# Four epochs, the score rises to 1 - x, or half of that. What a job has done is kept, so that it can be continued.
TRAINING = """\
from unet_exp.run.history import read_history, write_history
x, kind, seconds = {x}, "{kind}", {seconds}
rows = read_history(folder / "history.csv")
while len(rows) < 4:
    time.sleep(seconds)
    epoch = len(rows)
    score = (1 - x) * (epoch + 1) / 4 * (1.0 if kind == "good" else 0.5)
    rows.append({{"epoch": epoch, "step": epoch + 1, "val/dice": score}})
    write_history(folder / "history.csv", rows)
(folder / "done").open("a").write("x")
"""


def maker(folder: Path, what: str = TRAINING, seconds: float = 0.0):
    """Makes the job of a trial: the folder is named after its values."""
    made = {}

    def make(values):
        drawn = {"x": float(f"{values.get('x', 0):.6g}"), "kind": values.get("kind", "good")}
        name = f"{drawn['kind']}-{drawn['x']!r}"
        if name not in made:
            made[name] = job(folder, name, what.format(**drawn, seconds=seconds))
            made[name].varied = name
        return made[name]

    return make


class Launch:
    """One launch of a search, with all its parts at hand."""

    def __init__(self, folder: Path, space=SPACE, what=TRAINING, seconds=0.0, **settings):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.said = io.StringIO()
        self.jobs = []
        self.space = read_space({}, list(space))
        self.settings = SearchSettings(**settings)
        self.study = SearchStudy(folder, self.space, self.settings, {"monitor": "val/dice"}, 4)
        console = Console(file=self.said, width=300)
        self.display = Display(self.jobs, console)
        self.source = TrialSource(self.study, self.settings, maker(folder, what, seconds), self.jobs, self.display.say)

    def run(self, n_jobs=1, request=None, **sweep) -> str:
        slots = make_slots(n_jobs, None, [])
        stop = StopRequest() if request is None else request  # it is false as long as nobody has asked
        with self.display:
            Runner(self.folder, self.source, slots, SweepSettings(**sweep), self.display).run(stop)
        return self.said.getvalue()

    def states(self) -> list[str]:
        return [trial.state.name for trial in self.study.trials()]


def ask(study):
    """Another trial, with a folder of its own."""
    with study.alone():
        trial = study.ask()
        study.assign(trial, f"run{trial.number}")
    return trial


def start(folder: Path, n_jobs=1, **settings) -> subprocess.Popen:
    """A launch in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.search.launches", str(folder), json.dumps({"n_jobs": n_jobs, **settings})],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    jobs = given.pop("n_jobs")
    launch = Launch(Path(sys.argv[1]), **given)
    print(launch.run(jobs))
    sys.exit(0 if launch.source.succeeded else 1)
