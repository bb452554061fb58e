"""What Lightning's loops must find in a checkpoint, and at the start, to continue exactly.

Lightning 2.6 continues well between two batches. It skips the validation of a checkpoint written at its start, and
with `max_steps` it takes a finished epoch for an unfinished one, or never begins a validation that came after the last
step. Both are set right here, and tested.
"""

from typing import Any, Literal

from lightning.pytorch import Trainer

Position = Literal["batch", "validation", "epoch"]
"""Where a checkpoint was written: after a batch, at the start of a validation or in it, at the end of an epoch."""


def restart_validation(loops: dict[str, Any]) -> None:
    """Make the validation of a checkpoint start from its first batch.

    Args:
        loops: State of the loops in the checkpoint; changed in place.
    """
    progress = loops["fit_loop"]["epoch_loop.val_loop.batch_progress"]
    # One batch begun and none finished is what Lightning takes for an interrupted validation.
    progress["total"] |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    progress["current"] |= {"ready": 0, "started": 0, "processed": 0, "completed": 0}
    progress["is_last_batch"] = False


def forget_restart(trainer: Trainer) -> None:
    """Take back what `restart_validation` counted, once the validation has begun again."""
    trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset()


def is_resting_point(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a checkpoint written now, after a training batch, continues with the next one.

    No: gradients are being accumulated, or a validation or the end of the epoch follows at once.
    """
    loop = trainer.fit_loop.epoch_loop
    accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
    return not (
        accumulating
        or trainer.is_last_batch
        or trainer.global_step == trainer.max_steps
        or loop._should_check_val_fx(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]
    )


class StepLimit:
    """Hides `max_steps` while Lightning finds out where to continue.

    Args:
        trainer: The trainer, before its loops have started.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._loop = trainer.fit_loop.epoch_loop
        self._max_steps = self._loop.max_steps
        self._loop.max_steps = -1

    def show(self) -> None:
        """Put it back."""
        self._loop.max_steps = self._max_steps
