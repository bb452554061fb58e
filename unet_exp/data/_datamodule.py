"""The one LightningDataModule: it serves any source of cases."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from unet_exp.data._batch import as_made
from unet_exp.data._case import Case, Image, Labels
from unet_exp.data._collection import Collection, open_collection
from unet_exp.data._context import ContextLevel
from unet_exp.data._dataset import Augmentation, EvaluationDataset, EvaluationSample, TrainDataset
from unet_exp.data._loader import LoaderSettings, ShieldedLoader
from unet_exp.data._sampling import EpochSampler, EvaluationBatches, ResumableLoader
from unet_exp.data._source import ImageSource
from unet_exp.data._split import Split, make_split
from unet_exp.errors import DataError


class SegmentationDataModule(LightningDataModule):
    """Loaders over the parts of a source's split.

    Images come from a memory-mapped store, which is built at the first use and shared by all processes.

    Args:
        source: The dataset.
        store_folder: Where stores are kept.
        loader: Batch size and worker processes.
        augmentation: An albumentations pipeline for the training samples.
        seed: Seed of order, patches and augmentation.
        evaluation_batch_size: Whole cases handed over at once.
    """

    def __init__(
        self,
        source: ImageSource,
        *,
        store_folder: Path,
        loader: LoaderSettings,
        augmentation: Augmentation,
        seed: int,
        evaluation_batch_size: int = 1,
    ) -> None:
        super().__init__()
        self.source = source
        self._store_folder = store_folder
        self._loader = loader
        self._augmentation = augmentation
        self._seed = seed
        self._evaluation_batch_size = evaluation_batch_size
        self._train_loader: ResumableLoader | None = None
        self._resumed_position: dict[str, Any] = {}

    def prepare_data(self) -> None:
        """Make the dataset's files if it makes its own (rank 0 only)."""
        self.source.prepare()

    @cached_property
    def collection(self) -> Collection:
        """The cases and the store, opened, and if need be built, at the first use."""
        return open_collection(self.source, self._store_folder)

    @cached_property
    def split(self) -> Split:
        """The cases of each part."""
        return make_split(self.collection.cases, self.source.split)

    @cached_property
    def train_dataset(self) -> TrainDataset:
        """The training samples."""
        cases, collection = self.split.train, self.collection
        stored = [collection.store[case.id] for case in cases]
        if not any(case.class_pixels.any() for case in stored):
            raise DataError(f"No pixel of the {len(stored)} training cases carries a label. Check data.ignore_codes.")
        contexts = [
            ContextLevel(factor, [store[case.id] for case in cases]) for factor, store in collection.contexts.items()
        ]
        return self.source.train_dataset(stored, contexts, self._augmentation, self._seed)

    def train_dataloader(self) -> ResumableLoader:
        """Batches of training samples."""
        dataset = self.train_dataset
        sampler = EpochSampler(len(dataset), seed=self._seed, batch_size=self._loader.batch_size)
        arguments = self._loader.torch_arguments(persistent=True)
        self._train_loader = ResumableLoader(dataset, sampler, {**arguments, "collate_fn": as_made})
        if self._resumed_position:
            self._train_loader.load_state_dict(self._resumed_position)
        return self._train_loader

    def samples_of_batch(self, index: int) -> list[dict[str, Any]]:
        """What a training batch of the epoch being served consists of: per sample its key, case, and place in it."""
        assert self._train_loader is not None
        samples = []
        for key in self._train_loader.keys_of_batch(index):
            choice, *place = self.train_dataset.place_of(key)
            samples.append({"epoch": key[0], "index": key[1], "case": self.split.train[choice].id, "place": place})
        return samples

    def state_dict(self) -> dict[str, Any]:
        """Position in the training data, kept in every checkpoint.

        Lightning would keep it too, but loses it where `configure_optimizers` asks for the number of steps,
        since that makes the loader before the checkpoint is read.
        """
        return self._train_loader.state_dict() if self._train_loader else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the training loader start at a position of `state_dict`."""
        self._resumed_position = state_dict

    def val_dataloader(self) -> DataLoader[EvaluationSample]:
        """Lists of whole validation cases."""
        return self.evaluation_dataloader("val", persistent=True)

    def test_dataloader(self) -> DataLoader[EvaluationSample]:
        """Lists of whole test cases."""
        return self.evaluation_dataloader("test")

    def evaluation_dataloader(self, part: str, *, persistent: bool = False) -> DataLoader[EvaluationSample]:
        """Lists of whole cases of any part of the split.

        Args:
            part: `train`, `val` or `test`.
            persistent: Whether the loader is iterated more than once.
        """
        dataset = self.evaluation_dataset(self.split.cases(part))
        return ShieldedLoader(
            dataset,
            batch_sampler=EvaluationBatches(len(dataset), self._evaluation_batch_size),
            collate_fn=_as_list,
            **self._loader.torch_arguments(persistent=persistent),
        )

    def evaluation_dataset(self, cases: Sequence[Case]) -> EvaluationDataset:
        """Whole cases, one at a time."""
        store = self.collection.store
        views = [self.source.views(store[case.id]) for case in cases]

        def read(case: Case, view: int) -> tuple[Image, Labels]:
            return self.source.read_evaluation(case, store[case.id], view)

        return EvaluationDataset(cases, views, read)


def _as_list(samples: list[EvaluationSample]) -> list[EvaluationSample]:
    """Cases differ in size, so they are not stacked."""
    return samples
