"""Signals that reach every process of a job must not kill a worker before the main process has saved its state."""

import os
import signal
import subprocess
import sys

import pytest

from unet_exp.data._loader import ShieldedLoader


class Mask:
    """Each sample is whether signals are blocked in the process that makes it."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> list[bool]:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        return [number in blocked for number in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_are_born_with_signals_blocked_and_the_main_process_is_as_before(persistent):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    loader = ShieldedLoader(Mask(), batch_size=None, num_workers=2, persistent_workers=persistent)
    assert list(loader) == [[True, True]] * 4
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


ORPHANED = """
import multiprocessing, os, signal, time
from unet_exp.data._loader import LoaderSettings, ShieldedLoader

def start_late(worker):
    main = multiprocessing.parent_process().pid
    if os.getppid() == main:
        os.kill(main, signal.SIGKILL)
    while os.getppid() == main:
        time.sleep(0.01)
    start(worker)

arguments = LoaderSettings(num_workers=2).torch_arguments(persistent=False)
start, arguments["worker_init_fn"] = arguments["worker_init_fn"], start_late
print("starting", flush=True)
list(ShieldedLoader(range(8), **arguments))
"""


def test_workers_end_although_the_main_process_was_killed_while_they_started():
    """The output of the main process is theirs too: it ends when the last of them has ended."""
    with subprocess.Popen([sys.executable, "-c", ORPHANED], stdout=subprocess.PIPE, start_new_session=True) as main:
        try:
            assert main.communicate(timeout=120)[0] == b"starting\n"
        except subprocess.TimeoutExpired:
            os.killpg(main.pid, signal.SIGKILL)
            pytest.fail("a worker waits for a main process that is dead")
    assert main.returncode == -signal.SIGKILL
