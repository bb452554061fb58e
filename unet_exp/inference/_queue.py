"""The images under way: opened one after the other, forgotten when their last window was predicted."""

from collections.abc import Callable, Iterable, Iterator

from unet_exp.inference._image import ImageJob
from unet_exp.inference._plan import Grid, Place


class JobQueue:
    """Opens images one after the other and remembers those with windows under way.

    Args:
        jobs: The images.
        plan: Places the windows of an image of a height and width.
        report: Told how many windows are done, and how many the images opened so far have.
    """

    def __init__(
        self,
        jobs: Iterable[ImageJob],
        plan: Callable[[tuple[int, int]], Grid],
        report: Callable[[int, int], None] | None = None,
    ) -> None:
        self._waiting = jobs
        self._plan = plan
        self._report = report
        self._done = 0
        self._known = 0
        self.jobs: dict[int, ImageJob] = {}
        self.grids: dict[int, Grid] = {}

    def places(self) -> Iterator[Place]:
        """The windows of all images."""
        for number, job in enumerate(self._waiting):
            grid = self._plan(job.reader.shape)
            self.jobs[number], self.grids[number] = job, grid
            self._known += len(grid.rows.starts) * len(grid.columns.starts)
            yield from grid.places(number)

    def advance(self, windows: int) -> None:
        """Count windows that were predicted."""
        self._done += windows
        if self._report is not None:
            self._report(self._done, self._known)

    def ends_row(self, place: Place) -> bool:
        """Whether a window is the last one of its row."""
        return place.column == len(self.grids[place.image].columns.starts) - 1

    def close_after(self, place: Place) -> None:
        """Forget an image when its last window was predicted."""
        if self.ends_row(place) and place.row == len(self.grids[place.image].rows.starts) - 1:
            del self.jobs[place.image], self.grids[place.image]
