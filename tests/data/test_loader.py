"""Signals that reach every process of a job must not kill a worker before the main process has saved its state."""

import signal

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
