"""The journal survives what kills a process, and blocks nobody."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.search.launches import REPOSITORY, SPACE, Launch, ask
from unet_exp.errors import UserError
from unet_exp.search.journal import Journal
from unet_exp.search.settings import SearchSettings
from unet_exp.search.space import read_space
from unet_exp.search.study import SearchStudy


def study(folder):
    return Launch(folder, n_trials=5).study


def runs(study):
    return [trial.user_attrs.get("run") for trial in study.trials()]


@pytest.mark.parametrize("cut", [1, 7, 60])
def test_a_line_that_was_half_written_is_as_if_it_had_never_been(cut, tmp_path):
    first = study(tmp_path)
    ask(first)
    journal = tmp_path / "search.journal"
    whole = journal.read_bytes()
    ask(first)
    lines = journal.read_bytes()[len(whole) :].splitlines(keepends=True)
    journal.write_bytes(whole + lines[0] + lines[1][:cut])

    other = study(tmp_path)
    assert runs(other) == ["run0", None]
    ask(other)
    again = study(tmp_path)
    assert [(trial.state.name, trial.user_attrs.get("run")) for trial in again.trials()] == [
        ("RUNNING", "run0"),
        ("FAIL", None),  # it had no values yet, so nobody can have trained it
        ("RUNNING", "run2"),
    ]


def test_a_launch_that_reads_all_the_time_is_not_confused_by_the_repair(tmp_path):
    first, second = study(tmp_path), study(tmp_path)
    ask(first)
    assert len(second.trials()) == 1
    with (tmp_path / "search.journal").open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":"x","stu')
    assert len(second.trials()) == 1
    ask(first)
    assert runs(second) == ["run0", "run1"]
    ask(second)
    assert runs(first) == ["run0", "run1", "run2"]


def test_a_dead_holder_of_the_lock_blocks_nobody(tmp_path):
    study(tmp_path)
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from unet_exp.search.journal import Journal\n"
        "with Journal(Path(sys.argv[1])).alone():\n"
        "    print('locked', flush=True)\n"
        "    time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    holder = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "locked\n"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert ask(study(tmp_path)).number == 0


@pytest.mark.slow
def test_writers_that_are_killed_at_any_time_leave_a_journal_that_can_be_read(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.search.launches import Launch, ask\n"
        "mine = Launch(Path(sys.argv[1])).study\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    ask(mine)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    known = 0
    for delay in (0.0, 0.03, 0.2):
        writers = [
            subprocess.Popen(command, env=environment, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        time.sleep(delay)
        for writer in writers:
            writer.kill()
            writer.wait()
        trials = study(tmp_path).trials()
        assert len(trials) >= known
        known = len(trials)
    assert known > 4
    assert {trial.state.name for trial in trials} <= {"RUNNING", "FAIL"}
    assert len({trial.params["x"] for trial in trials if trial.params}) == sum(bool(t.params) for t in trials)


def test_a_damaged_journal_is_named(tmp_path):
    ask(study(tmp_path))
    journal = tmp_path / "search.journal"
    journal.write_bytes(journal.read_bytes().replace(b"op_code", b'op"code', 1))
    with pytest.raises(UserError, match=r"search\.journal is damaged\. Move it away"):
        study(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "search.journal").mkdir()
    with pytest.raises(UserError, match=r"search\.journal cannot be opened"):
        Journal(tmp_path)


def test_a_full_disk_is_named_and_the_study_goes_on_later(tmp_path):
    """A limit on the size of files breaks a write in the middle, as a full disk does."""
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.search.launches import Launch, ask\n"
        "from unet_exp.errors import UserError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "mine = Launch(Path(sys.argv[1])).study\n"
        "ask(mine)\n"
        "size = (Path(sys.argv[1]) / 'search.journal').stat().st_size\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, size + 20))\n"
        "try:\n    ask(mine)\nexcept UserError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True)
    assert "search.journal cannot be written: File too large. The same command continues." in done.stdout, done.stderr
    assert not (tmp_path / "search.journal").read_bytes().endswith(b"\n")  # it did break in the middle
    later = study(tmp_path)
    ask(later)
    assert runs(study(tmp_path)) == ["run0", "run1"]


def test_another_search_in_the_same_folder_is_refused(tmp_path):
    study(tmp_path)
    with pytest.raises(UserError) as raised:
        SearchStudy(tmp_path, read_space({}, SPACE), SearchSettings(), {"monitor": "val/iou", "model": "unet"})
    assert "monitor: val/dice before, val/iou now" in str(raised.value)
    assert "model: not given before, unet now" in str(raised.value)


def test_a_folder_that_was_renamed_keeps_its_study(tmp_path):
    ask(study(tmp_path / "before"))
    (tmp_path / "before").rename(tmp_path / "after")
    assert len(study(tmp_path / "after").trials()) == 1
