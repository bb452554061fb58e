"""What a sweep does with jobs that have failed, and at its end."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """The keys `sweep.*` of train.yaml; without ``-m`` they mean nothing.

    Args:
        retry_failed: Run jobs again that failed in an earlier launch.
        fail_fast: After the first failure start nothing more, and stop what runs; its state is saved.
        report: Write the report that compares the runs at the end.
    """

    retry_failed: bool = True
    fail_fast: bool = False
    report: bool = True
