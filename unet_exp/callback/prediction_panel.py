"""Pictures of validation predictions for the experiment tracker."""

from typing import Any

import wandb
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

from unet_exp.bounds import PositiveInt
from unet_exp.data._source import ImageSource
from unet_exp.figure.panel import Example, fit, prediction_panel


class PredictionPanel(Callback):
    """Log image, truth, prediction and errors of the same few validation cases every few epochs.

    ``prediction/panel`` shows them in the dataset's colours, ``prediction/mask`` as masks that W&B can switch
    on and off. Without a W&B logger nothing happens. In distributed training they are the first cases of
    rank 0.

    Args:
        every_n_epochs: Epochs from one panel to the next.
        cases: How many cases.
        max_side: Larger images are drawn smaller.
    """

    def __init__(self, *, every_n_epochs: PositiveInt = 5, cases: PositiveInt = 4, max_side: PositiveInt = 512) -> None:
        self._every_n_epochs = every_n_epochs
        self._cases = cases
        self._max_side = max_side
        self._kept: list[tuple[int, Example]] = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Any,
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """Keep the first cases; validation cases come in the same order every time."""
        if not self._is_due(trainer):
            return
        cases = trainer.datamodule.split.val  # type: ignore[attr-defined]
        for output in outputs[: self._cases - len(self._kept)]:
            example = Example(
                title=cases[output["index"]].id,
                image=_picture(output["image"]),
                truth=_array(output["mask"]),
                prediction=_array(output["prediction"]),
            )
            self._kept.append((output["index"], fit(example, self._max_side)))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Log what was kept."""
        logger = _wandb_logger(trainer)
        if not self._kept or logger is None:
            return
        source: ImageSource = trainer.datamodule.source  # type: ignore[attr-defined]
        examples = [example for _, example in sorted(self._kept, key=lambda item: item[0])]
        self._kept = []
        pictures = {
            "prediction/panel": [_panel(example, source) for example in examples],
            "prediction/mask": [_masks(example, source) for example in examples],
        }
        # Lightning's own axis names a step by its index, so that the first one is 0.
        logger.log_metrics(pictures, step=max(0, trainer.global_step - 1))  # type: ignore[arg-type]

    def _is_due(self, trainer: Trainer) -> bool:
        """Whether an every-n-epochs mark, or the end, falls between the last validation and this one."""
        if trainer.sanity_checking or not trainer.is_global_zero or _wandb_logger(trainer) is None:
            return False
        done, n = trainer.current_epoch + 1, self._every_n_epochs
        return done == trainer.max_epochs or done // n > (done - (trainer.check_val_every_n_epoch or 1)) // n


def _wandb_logger(trainer: Trainer) -> WandbLogger | None:
    return next((logger for logger in trainer.loggers if isinstance(logger, WandbLogger)), None)


def _array(tensor: Tensor) -> Any:
    return tensor.detach().cpu().numpy()


def _picture(image: Tensor) -> Any:
    """Image (h, w, 3); of a stack of slices the middle one, in grey."""
    if len(image) != 3:
        image = image[len(image) // 2].expand(3, -1, -1)
    return _array(image.movedim(0, -1))


def _panel(example: Example, source: ImageSource) -> wandb.Image:
    picture = prediction_panel(
        [example],
        class_names=source.class_names,
        palette=source.palette,
        ignore_index=source.ignore_index,
        hide=source.unscored_classes,
    )
    return wandb.Image(picture, caption=example.title)


def _masks(example: Example, source: ImageSource) -> wandb.Image:
    names = {**dict(enumerate(source.class_names)), source.ignore_index: "ignored"}
    masks = {
        name: {"mask_data": labels, "class_labels": names}
        for name, labels in (("truth", example.truth), ("prediction", example.prediction))
    }
    return wandb.Image(example.image, masks=masks, caption=example.title)
