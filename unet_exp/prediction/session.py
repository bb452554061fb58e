"""Predicting files: opens them, runs the networks, writes what was asked for, and goes on where one is damaged."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unet_exp.allocation import keep_freed_memory
from unet_exp.data._progress import Progress, progress
from unet_exp.errors import DataError, UserError, counted, plain_message
from unet_exp.inference import ImageJob, SlidingWindow
from unet_exp.inference._concurrent import map_ahead
from unet_exp.prediction.canvas import Canvas
from unet_exp.prediction.image import OpenedImage
from unet_exp.prediction.names import result_names
from unet_exp.prediction.opening import find_images, is_slide, is_volume, open_image, open_volume
from unet_exp.prediction.record import Record
from unet_exp.prediction.result import Prediction
from unet_exp.prediction.saving import SAVERS, area_rows, volume_rows, write_areas
from unet_exp.prediction.settings import PredictSettings, as_list
from unet_exp.prediction.trained_model import TrainedModel, choose_device, load_model
from unet_exp.run.console import print_table

_PICTURE_FILES = ("labels", "overlay", "areas")
_SLIDE_FILES = ("pyramid", "geojson", "areas")
_VOLUME_FILES = ("labels", "areas")
_SHOWN = 10


class _ReadError(Exception):
    """An image could not be read to its end."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name
        self.reason = reason


@dataclass
class _Task:
    """One image: where it is, what its results are called, what shall be saved of it."""

    path: Path
    name: str
    saves: Sequence[str]

    @property
    def files(self) -> list[str]:
        """Names of the files in the output folder."""
        if is_volume(self.path):
            return [f"{self.name}.labels.nii.gz"] if "labels" in self.saves else []
        return [f"{self.name}{SAVERS[one].suffix}" for one in self.saves if one in SAVERS]


@dataclass
class _Session:
    """What all images share.

    Args:
        model: The networks.
        engine: Predicts with them.
        device: Where they are.
        output: Folder of the results.
        input_mpp: Micrometres per pixel of all images, None to believe the files.
        record: What is finished.
        bar: Shows how far it is.
        total: Images to predict.
        opened: Images opened so far.
        failures: Why an image could not be predicted, by name.
        predicted: Names of what was predicted now; the record also holds what was before.
    """

    model: TrainedModel
    engine: SlidingWindow
    device: torch.device
    output: Path
    input_mpp: float | None
    record: Record
    bar: Progress
    total: int
    opened: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    predicted: set[str] = field(default_factory=set)


def predict_files(settings: PredictSettings) -> None:
    """Predict every image that `input` names.

    Raises:
        UserError: If nothing can be predicted at all.
        DataError: At the end, if some images could not be predicted.
    """
    paths = list(dict.fromkeys(path for pattern in as_list(settings.input) for path in find_images(pattern)))
    device = choose_device(settings.device)
    if device.type == "cpu":
        keep_freed_memory()
    model = load_model(settings, device)
    output = Path(settings.output).expanduser()
    record = Record.open(output, model.hash(settings.input_mpp), go_on=settings.continue_)
    names = result_names(paths)
    tasks = [_Task(path, names[path], settings.save or _suitable(path)) for path in paths]
    waiting = [task for task in tasks if not record.is_finished(task.name, task.path, task.files)]
    with progress("Predicting", None, "windows") as bar:
        session = _Session(model, model.engine(), device, output, settings.input_mpp, record, bar, len(waiting))
        _predict_pictures(session, [task for task in waiting if not is_volume(task.path)])
        for task in waiting:
            if is_volume(task.path):
                _predict_volume(session, task)
    _write_areas(session, tasks)
    _conclude(session, tasks, skipped=len(tasks) - len(waiting))


def _suitable(path: Path) -> Sequence[str]:
    if is_volume(path):
        return _VOLUME_FILES
    return _SLIDE_FILES if is_slide(path) else _PICTURE_FILES


def _predict_pictures(session: _Session, tasks: Sequence[_Task]) -> None:
    """Predict pictures and slides; after one that cannot be read to its end, the others are taken up again."""
    remaining = list(tasks)
    while remaining:
        try:
            wanted = any("probabilities" in task.saves for task in remaining)
            _run(session, _picture_jobs(session, remaining, probabilities=wanted), probabilities=wanted)
            return
        except _ReadError as error:
            session.failures[error.name] = error.reason
        remaining = [t for t in remaining if t.name not in session.predicted and t.name not in session.failures]


def _run(session: _Session, jobs: Iterator[ImageJob], *, probabilities: bool) -> None:
    before = 0

    def report(done: int, known: int) -> None:
        nonlocal before
        # The images that are not opened yet are taken to be as large as those that are.
        session.bar.expect(round(known * session.total / max(1, session.opened)))
        session.bar.advance(done - before)
        before = done

    session.engine.predict_images(
        session.model.networks, jobs, device=session.device, probabilities=probabilities, report=report
    )


def _picture_jobs(session: _Session, tasks: Sequence[_Task], *, probabilities: bool) -> Iterator[ImageJob]:
    """The images that can be opened, the next one being opened while one is predicted."""
    channels = session.model.description.num_outputs if probabilities else 0

    def opened(task: _Task) -> OpenedImage | str:
        try:
            return open_image(task.path, session.model.description, input_mpp=session.input_mpp)
        except UserError as error:
            return plain_message(error)

    for task, image in map_ahead(opened, tasks, depth=1):
        _announce(session, task)
        if isinstance(image, str):
            session.failures[task.name] = image
            continue
        canvas = Canvas(image.output_size, session.output, channels=channels, finish=_finisher(session, task, image))
        yield ImageJob(_NamedReader(task.name, image), canvas, image.output_size)


def _announce(session: _Session, task: _Task) -> None:
    session.opened += 1
    session.bar.describe(f"image {session.opened} of {session.total}, {task.path.name}")


class _NamedReader:
    """Says which image could not be read."""

    def __init__(self, name: str, image: OpenedImage) -> None:
        self._name = name
        self._reader = image.reader

    @property
    def shape(self) -> tuple[int, int]:
        return self._reader.shape

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        try:
            return self._reader.read(top, left, height, width)
        except DataError as error:
            raise _ReadError(self._name, plain_message(error)) from None


def _finisher(session: _Session, task: _Task, image: OpenedImage) -> Callable[[Canvas], None]:
    """Saves what was predicted of an image; called in the writing thread, while the next one is computed."""

    def finish(canvas: Canvas) -> None:
        prediction = Prediction(image, session.model.description, canvas.labels, canvas.probabilities)
        try:
            for one in task.saves:
                if one in SAVERS:
                    path = session.output / f"{task.name}{SAVERS[one].suffix}"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    SAVERS[one].save(prediction, path)
            rows = area_rows(prediction) if "areas" in task.saves else []
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"output: cannot write the results of {task.path.name}: {reason}.") from None
        image.close()
        _note(session, task, rows)

    return finish


def _note(session: _Session, task: _Task, rows: Sequence[Mapping[str, Any]]) -> None:
    session.record.add(task.name, task.path, task.files, [{**row, "image": task.name} for row in rows])
    session.predicted.add(task.name)


def _predict_volume(session: _Session, task: _Task) -> None:
    """Predict the slices of a volume as so many images."""
    _announce(session, task)
    description = session.model.description
    try:
        refused = sorted(set(task.saves) - set(_VOLUME_FILES))
        if refused:
            raise UserError(f"{task.path}: a volume can be saved as {', '.join(_VOLUME_FILES)}, not {refused[0]}.")
        volume = open_volume(task.path, description)
        labels = np.zeros(volume.shape, np.uint8)
        jobs = (
            ImageJob(reader, _SliceWriter(labels[number]), reader.shape) for number, reader in enumerate(volume.readers)
        )
        _run(session, jobs, probabilities=False)
        for file in task.files:
            (session.output / file).parent.mkdir(parents=True, exist_ok=True)
            volume.save_labels(labels, session.output / file)
        counts = np.bincount(labels.ravel(), minlength=len(description.class_names))
        _note(session, task, volume_rows(task.name, description, counts, volume.voxel_mm3))
    except UserError as error:
        session.failures[task.name] = plain_message(error)


class _SliceWriter:
    """Takes the class ids of one slice."""

    def __init__(self, labels: NDArray[np.uint8]) -> None:
        self._labels = labels

    def write(self, top: int, labels: NDArray[np.uint8], probabilities: object) -> None:  # noqa: ARG002
        self._labels[top : top + len(labels)] = labels


def _write_areas(session: _Session, tasks: Sequence[_Task]) -> None:
    entries = session.record.entries
    rows = [row for task in tasks if task.name in entries for row in entries[task.name].get("areas", [])]
    if rows:
        write_areas(rows, session.output / "areas.csv")


def _conclude(session: _Session, tasks: Sequence[_Task], *, skipped: int) -> None:
    """Say what was done; images that could not be predicted make the command fail."""
    rows = [("predicted", f"{counted(len(session.predicted), 'image')} of {len(tasks)}")]
    if skipped:
        rows.append(("skipped", f"{counted(skipped, 'image')}, finished before"))
    print_table("Written", [*rows, ("output", session.output)])
    if session.failures:
        shown = [f"  {reason}" for reason in list(session.failures.values())[:_SHOWN]]
        more = [f"  ... and {len(session.failures) - _SHOWN} more"] if len(session.failures) > _SHOWN else []
        heading = f"{counted(len(session.failures), 'image')} of {len(tasks)} could not be predicted:"
        raise DataError("\n".join([heading, *shown, *more]))
