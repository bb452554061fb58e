"""The LightningModule: one way to train and score any network on any dataset."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from unet_exp.class_ids import class_ids
from unet_exp.global_batch import over_all_processes
from unet_exp.metric import Cases, SegmentationMetric, confusion_matrix, summary

TrainBatch = dict[str, Tensor]
EvaluationBatch = list[dict[str, Any]]
Outputs = list[dict[str, Any]]
TrainSums = dict[str, Tensor]
"""Of an epoch so far: `matrix` (K, K), `loss` times samples, and `samples`."""

# N images, C channels, K classes, H x W pixels.


@dataclass(frozen=True, kw_only=True)
class DataProperties:
    """What a task must know of the dataset.

    Args:
        class_names: In the order of the class ids.
        scored_classes: Ids that count in mean Dice and IoU.
        num_outputs: Channels of the logits; 1 for two classes told apart by one logit.
        ignore_index: Id of pixels without a label.
        headline: Whether `dice` and `iou` are global or per-image scores.
        mean: Per channel, of images scaled to 0..1.
        std: Per channel, of images scaled to 0..1.
    """

    class_names: Sequence[str]
    scored_classes: Sequence[int]
    num_outputs: int
    ignore_index: int
    headline: Literal["global", "per_image"]
    mean: Sequence[float]
    std: Sequence[float]


class SegmentationTask(LightningModule):
    """Trains and scores built parts; it knows no network, loss or dataset by name.

    Args:
        network: Takes (N, C, H, W), gives logits; in training possibly a list, fine to coarse.
        criterion: Takes the network's output and class ids (N, H, W), gives a scalar.
        inference: Takes a network and images, gives logits of whole images.
        data: What the dataset says of itself.
        optimizer: Takes parameters.
        scheduler: Takes the optimiser, `total_steps` and `steps_per_epoch`; stepped after every optimiser step.
        seed: Seed of what the network draws while training, i.e. dropout.
        channels_last: Use the NHWC memory format.
        checkpoint_extras: Plain values stored in every checkpoint under ``unet_exp``.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        criterion: nn.Module,
        inference: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor],
        data: DataProperties,
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler],
        seed: int = 0,
        channels_last: bool = False,
        checkpoint_extras: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.criterion = criterion
        self.data = data
        self._inference = inference
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._seed = seed
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self._checkpoint_extras = checkpoint_extras or {}
        self.network.to(memory_format=self._memory_format)  # type: ignore[call-overload]
        self.metric = SegmentationMetric(len(data.class_names), ignore_index=data.ignore_index)
        self.scored: Cases | None = None
        self.observer: Callable[[Tensor, Tensor, dict[str, Any]], None] | None = None
        self.test_name = "test"
        self._train_sums: TrainSums | None = None
        self._losses: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K, H, W) float32 of whole uint8 images (N, C, H, W)."""
        return self._inference(self.network, self.normalize(images))

    def normalize(self, images: Tensor) -> Tensor:
        """Turn uint8 images into what the network sees; done here so that batches travel as bytes."""
        count, channels, height, width = images.shape
        # Whole lines of pixels at a time: torch is slow where the last axis has three entries.
        mean, std = (torch.tensor(v, device=images.device).repeat(width) for v in (self.data.mean, self.data.std))
        lines = images.permute(0, 2, 3, 1).reshape(count * height, width * channels).to(torch.float32, copy=True)
        normal = lines.div_(255).sub_(mean).div_(std).view(count, height, width, channels)
        weights = next((p.dtype for p in self.network.parameters()), normal.dtype)  # float64 with precision=64-true
        return normal.permute(0, 3, 1, 2).to(weights, memory_format=self._memory_format)

    def classify(self, logits: Tensor) -> Tensor:
        """Class ids (N, H, W) uint8 from logits (N, K, H, W)."""
        return class_ids(logits)

    @staticmethod
    def resize(logits: Tensor, size: Sequence[int]) -> Tensor:
        """Bring logits (N, K, h, w) to the size (H, W) that is scored, by bilinear interpolation."""
        if tuple(logits.shape[-2:]) == tuple(size):
            return logits
        return F.interpolate(logits, tuple(size), mode="bilinear", align_corners=False)

    def on_train_batch_start(self, batch: TrainBatch, batch_idx: int) -> None:  # noqa: ARG002
        """Let a resumed run draw what an uninterrupted one does."""
        self.seed_batch(self.current_epoch, batch_idx)

    def seed_batch(self, epoch: int, batch_index: int) -> None:
        """Make dropout a function of seed, epoch and batch; of what it draws, each rank uses its own samples' part."""
        entropy = [self._seed, epoch, batch_index, 0]
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    def training_step(self, batch: TrainBatch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Loss of one batch of patches or images, in distributed training of those of all processes."""
        inputs, targets = [batch["image"]], [batch["mask"].long()]
        context = f"_x{getattr(self.network, 'context_factor', 0)}"
        if f"image{context}" in batch:  # the surroundings that the network asks for
            inputs.append(batch[f"image{context}"])
            targets.append(batch[f"mask{context}"].long())
        outputs = self.network(*(self.normalize(images) for images in inputs))
        with over_all_processes():
            loss: Tensor = self.criterion(outputs, *targets)
        self.log("train/loss_step", loss.detach(), on_step=True, on_epoch=False, prog_bar=True)
        self._count(outputs if isinstance(outputs, Tensor) else outputs[0], targets[0], loss.detach())
        return loss

    @torch.no_grad()
    def _count(self, logits: Tensor, target: Tensor, loss: Tensor) -> None:
        """Add to the sums of the epoch, which are kept in checkpoints; those of Lightning are not."""
        matrix = confusion_matrix(
            self.classify(logits),
            _center_crop(target, logits.shape[-2:]),
            num_classes=len(self.data.class_names),
            ignore_index=self.data.ignore_index,
        )
        count = len(target)
        new = {"matrix": matrix, "loss": loss.float() * count, "samples": torch.tensor(count, device=loss.device)}
        old = self._train_sums
        self._train_sums = new if old is None else {key: old[key].to(loss.device) + new[key] for key in new}

    def on_train_epoch_end(self) -> None:
        """Log mean loss, and Dice and accuracy over the pixels trained on: to hold the validation curve against."""
        if self._train_sums is None:
            return
        sums = {key: self._sum_over_ranks(value.to(self.device)) for key, value in self._train_sums.items()}
        self._train_sums = None
        scores = self._summary(sums["matrix"][None].cpu())
        self.log("train/loss", sums["loss"] / sums["samples"])
        self.log_dict({f"train/{name}": scores[f"global_{name}"] for name in ("dice", "iou", "accuracy")})

    def validation_step(self, batch: EvaluationBatch, batch_idx: int) -> Any:  # noqa: ARG002
        """Predict and count whole cases; the outputs (samples with `prediction`) go to the callbacks."""
        return self._evaluate(batch)

    def test_step(self, batch: EvaluationBatch, batch_idx: int) -> Any:  # noqa: ARG002
        """Predict and count whole cases; the outputs (samples with `prediction`) go to the callbacks."""
        return self._evaluate(batch)

    def _evaluate(self, batch: EvaluationBatch) -> Outputs:
        outputs: Outputs = []
        for group in _groups_of_one_size(batch):
            logits = self(torch.stack([sample["image"] for sample in group]))
            for sample, one in zip(group, logits, strict=True):
                outputs.append({**sample, "prediction": self._score(sample, one[None])})
        return outputs

    def _score(self, sample: dict[str, Any], logits: Tensor) -> Tensor:
        """Count one case at the resolution of its mask; returns the predicted class ids (H, W)."""
        mask = sample["mask"]
        logits = self.resize(logits, mask.shape)
        prediction = self.classify(logits)[0]
        self.metric.update(prediction, mask, sample["index"], sample["view"])
        if self.observer is not None:
            self.observer(logits, prediction, sample)
        self._losses.append(self.criterion(logits, mask[None].long()).detach())
        return prediction

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the validation cases."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the scores of the cases given to `Trainer.test`, under the name chosen for them."""
        self._log_scores(self.test_name)

    def _log_scores(self, stage: str) -> None:
        self.scored = self.metric.compute()
        self.metric.reset()
        scores = self._summary(self.scored.matrices)
        # In double precision, so that the order of the sum, which differs with the number of ranks, does not show.
        exact = torch.float32 if self.device.type == "mps" else torch.float64
        losses = torch.stack(self._losses) if self._losses else torch.zeros(0, device=self.device)
        sums = torch.tensor([losses.to(exact).sum(), len(losses)], dtype=exact, device=self.device)
        self._losses.clear()
        total, count = self._sum_over_ranks(sums)
        self.log(f"{stage}/dice", scores.pop("dice"), prog_bar=True)
        self.log_dict({f"{stage}/loss": total / count, **{f"{stage}/{name}": v for name, v in scores.items()}})

    def _sum_over_ranks(self, value: Tensor) -> Tensor:
        return self._of_all_ranks(value).sum(0)

    def _of_all_ranks(self, value: Tensor) -> Tensor:
        """What each rank has, (R, ...)."""
        gathered = self.all_gather(value)
        assert isinstance(gathered, Tensor)
        return gathered.reshape(-1, *value.shape)

    @property
    def score_names(self) -> list[str]:
        """Names of the scores that are logged for validation cases, without `val/`."""
        count = len(self.data.class_names)
        return list(self._summary(torch.zeros(1, count, count, dtype=torch.int64)))

    def _summary(self, matrices: Tensor) -> dict[str, float]:
        return summary(
            matrices,
            class_names=self.data.class_names,
            foreground=self.data.scored_classes,
            headline=self.data.headline,
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser over all parameters, the schedule stepped after every optimiser step."""
        optimizer = self._optimizer(self.network.parameters())
        total_steps = max(1, int(self.trainer.estimated_stepping_batches))
        batches = max(1, int(self.trainer.num_training_batches))
        steps_per_epoch = max(1, -(-batches // self.trainer.accumulate_grad_batches))
        scheduler = self._scheduler(optimizer, total_steps=total_steps, steps_per_epoch=steps_per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what identifies the run, and the epoch's sums; only tensors and plain containers."""
        checkpoint["unet_exp"] = self._checkpoint_extras
        if self._train_sums is not None:
            sums = {key: self._of_all_ranks(value.to(self.device)).cpu() for key, value in self._train_sums.items()}
            checkpoint["train_sums"] = sums

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue the sums of an epoch that was not over; with another number of ranks, rank 0 has them all."""
        sums: TrainSums | None = checkpoint.get("train_sums")
        if sums is None:
            return
        rank, world_size = self.global_rank, self.trainer.world_size
        if len(sums["loss"]) == world_size:
            self._train_sums = {key: value[rank] for key, value in sums.items()}
        else:
            self._train_sums = {key: value.sum(0) * (rank == 0) for key, value in sums.items()}


def _groups_of_one_size(batch: EvaluationBatch) -> list[EvaluationBatch]:
    groups: dict[tuple[int, ...], EvaluationBatch] = {}
    for sample in batch:
        groups.setdefault(tuple(sample["image"].shape), []).append(sample)
    return list(groups.values())


def _center_crop(target: Tensor, size: Sequence[int]) -> Tensor:
    """The middle (N, h, w) of (N, H, W): what a network without padding predicts."""
    top, left = (target.shape[1] - size[0]) // 2, (target.shape[2] - size[1]) // 2
    return target[:, top : top + size[0], left : left + size[1]]
