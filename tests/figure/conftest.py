import pytest
from matplotlib.figure import Figure


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures that were written, to be looked into."""
    from unet_exp.figure import _canvas, confusion, curves, panel

    figures: list[Figure] = []

    def write(figure, path):
        figures.append(figure)
        _canvas.write_png(figure, path)

    for module in (confusion, curves, panel):
        monkeypatch.setattr(module, "write_png", write)
    return figures
