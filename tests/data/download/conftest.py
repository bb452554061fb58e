"""A misbehaving server, impatient settings, and small files to fetch."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.data.download.server import Server
from unet_exp.data._download._settings import DownloadSettings


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def server():
    with Server() as running:
        yield running


@pytest.fixture
def settings():
    return DownloadSettings(connections=2, attempts=3, connect_timeout=5, stall_timeout=5, backoff=0.01)


def png(width: int = 60, height: int = 50, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return encoded(pixels)


def encoded(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()
