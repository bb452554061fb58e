"""What a sweep does with jobs that have failed, and at its end."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """The keys `sweep.*` of train.yaml; without ``-m`` they mean nothing.

    Args:
        retry_failed: Run jobs again that failed in an earlier launch.
        fail_fast: After the first failure start nothing more, and stop what runs; its state is saved.
        report: Write the report that compares the runs at the end.
        baseline: Name of the model that this report compares each other one with, as folders have it; None: the report
            chooses pairs itself.
    """

    retry_failed: bool = True
    fail_fast: bool = False
    report: bool = True
    baseline: str | None = None
