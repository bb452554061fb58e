"""Rows of numbers per case, collected over batches and processes."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class CaseTable(Metric):
    """Collects one float64 row per view of a case, and adds up the views of each case.

    Rows rather than running sums are gathered, for the reason `unet_exp.metric.SegmentationMetric` gives: they are
    added up in the order of the cases, so that the sums are the same to the last bit on any number of processes.

    Args:
        width: Numbers in a row.
    """

    is_differentiable = False
    full_state_update = False
    rows: list[Tensor]
    indexes: list[Tensor]

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.add_state("rows", default=[], dist_reduce_fx="cat")
        self.add_state("indexes", default=[], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Forget all rows; the empty tensors left behind tell a process without cases type and shape."""
        super().reset()
        self.rows.append(torch.zeros((0, self.width), dtype=torch.float64, device=self.device))
        self.indexes.append(torch.zeros((0, 2), dtype=torch.int64, device=self.device))

    def update(self, row: Tensor, index: int, view: int = 0) -> None:
        """Add the row of one view of a case; a second one with the same index and view is a duplicate.

        Args:
            row: (width,), float64.
            index: The case's number in the data set.
            view: The view's number in the case.
        """
        if row.shape != (self.width,) or row.dtype != torch.float64:
            raise ValueError(f"Expected {self.width} float64 numbers, but got {tuple(row.shape)} {row.dtype}.")
        self.rows.append(row.to(self.device)[None])
        self.indexes.append(torch.tensor([[index, view]], device=self.device))

    def compute(self) -> Tensor:
        """The rows of all cases of all processes in the order of their index, (N, width), on the CPU."""
        rows = dim_zero_cat(self.rows).cpu()
        places = [(index, view) for index, view in dim_zero_cat(self.indexes).tolist()]
        first = {place: position for position, place in reversed(list(enumerate(places)))}
        views: dict[int, list[int]] = {}
        for (index, _), position in sorted(first.items()):
            views.setdefault(index, []).append(position)
        summed = [rows[positions].sum(0, keepdim=True) for positions in views.values()]
        return torch.cat([rows.new_zeros(0, self.width), *summed])
