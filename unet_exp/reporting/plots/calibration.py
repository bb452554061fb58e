"""Is a confidence of 80 % right in 80 % of the pixels? The reliability diagram."""

from collections.abc import Mapping, Sequence

from unet_exp.reporting.plots.canvas import MARKERS, MUTED, SERIES, Plot, drawing, shorten

Bins = Sequence[tuple[float, float, float]]
"""Pixels, mean confidence and accuracy of each bin that has pixels."""


def reliability_diagram(name: str, models: Mapping[str, Bins], *, order: Sequence[str]) -> Plot:
    """Draw accuracy over confidence; under the diagonal a network is too sure of itself.

    Args:
        name: Of the file.
        models: Bins by model; at most `DRAWN` models.
        order: Names of the models of all figures: each keeps its colour where another is left out.
    """
    with drawing(3.6 + 0.2 * len(models)) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for model, bins in models.items():
            number = order.index(model)
            _, confidence, accuracy = zip(*bins, strict=True)
            axes.plot(
                confidence, accuracy, color=SERIES[number], marker=MARKERS[number], markersize=5, linewidth=1.4,
                label=shorten(model, 40),
            )  # fmt: skip
        lowest = min(min(c, a) for bins in models.values() for _, c, a in bins)
        axes.set_xlim(max(0, lowest - 0.05), 1)
        axes.set_ylim(max(0, lowest - 0.05), 1)
        axes.grid()
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy")
        figure.legend(loc="outside lower left")
    gaps = {model: sum(n * (c - a) for n, c, a in bins) / sum(n for n, _, _ in bins) for model, bins in models.items()}
    text = "; ".join(f"{m}: mean confidence minus accuracy is {gap:+.3f}" for m, gap in gaps.items())
    return Plot(name, "Reliability diagram", text, figure)
