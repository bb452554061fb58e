"""One SLURM for all tests of a worker."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.local_slurm import LocalSlurm, missing_requirement


@pytest.fixture(scope="session")
def slurm() -> Iterator[LocalSlurm]:
    """A running SLURM of two nodes; skips where there can be none."""
    reason = missing_requirement()
    if reason:
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as temporary:  # pytest's is too long for a socket
        cluster = LocalSlurm(Path(temporary))
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
