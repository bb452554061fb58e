"""A library that is not there, or is broken, is one sentence."""

import importlib.util
import sys

import pytest

from unet_exp.errors import ConfigError
from unet_exp.instantiate import build
from unet_exp.model._optional import MissingPackageError, import_optional


def test_what_is_there_is_imported():
    assert import_optional("xml.dom", network="x", extra="x") is sys.modules["xml.dom"]


def test_what_is_missing():
    with pytest.raises(
        MissingPackageError, match=r"^net needs the package no_such_library: pip install 'unet_exp\[x\]'$"
    ):
        import_optional("no_such_library.part", network="net", extra="x")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            "raise RuntimeError('operator torchvision::nms does not exist\\nmore')",
            "operator torchvision::nms does not exist",
        ),
        ("import no_such_library", "No module named 'no_such_library'"),
        ("raise OSError", "OSError"),
    ],
)
def test_what_is_broken(code, reason, tmp_path, monkeypatch):
    (tmp_path / "broken_library.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackageError) as caught:
        import_optional("broken_library", network="net", extra="x")
    expected = f"net needs the package broken_library, which cannot be imported ({reason}): pip install 'unet_exp[x]'"
    assert str(caught.value) == expected


@pytest.mark.skipif(importlib.util.find_spec("segmentation_models_pytorch") is not None, reason="it is installed")
def test_the_user_is_told():
    block = {"_target_": "unet_exp.model.smp_unet.SmpUNet", "in_channels": 3, "num_classes": 2}
    with pytest.raises(ConfigError, match=r"model: smp_unet needs the package .*: pip install 'unet_exp\[smp\]'"):
        build({"model": block}, "model")
