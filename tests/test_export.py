"""``python -m unet_exp.export`` from the outside."""

import json
import shutil

import pytest
import torch

from tests.bundle.conftest import settings
from tests.runs import run, tiny
from unet_exp import export
from unet_exp.bundle import build as bundle_build
from unet_exp.bundle.build import export_run
from unet_exp.bundle.loading import load_bundle
from unet_exp.bundle.writing import write_network
from unet_exp.errors import UserError


@pytest.fixture(scope="module")
def bcss_run(bcss_root, tmp_path_factory):
    return run(tiny(bcss_root, tmp_path_factory.mktemp("outputs")))


@pytest.fixture
def copied_run(bcss_run, tmp_path):
    """A run folder that may be written to."""
    return type(bcss_run)(shutil.copytree(bcss_run.path, tmp_path / bcss_run.path.name))


def test_a_bundle_appears_in_the_run_folder_and_the_comparison_is_printed(copied_run, capsys):
    export.main([f"run={copied_run.path}", "format=torch_export"])
    folder = copied_run.path / "bundle-torch_export"
    assert {p.name for p in folder.iterdir()} == {"README.md", "bundle.json", "network.pt2", "weights.safetensors"}
    content = json.loads((folder / "bundle.json").read_text())
    printed = capsys.readouterr().out
    assert f"same label     {content['parity']['same_label']:.4%} of the pixels" in printed
    assert str(folder) in printed
    assert content["run"] == {
        "name": copied_run.path.name,
        "checkpoint": "best",
        "split_hash": copied_run.split()["hash"],
    }
    assert content["model"]["mpp"] == 0.5
    assert content["model"]["name"] == "unet-bcss"
    assert content["parity"]["images"].endswith("of bcss")
    assert content["versions"]["exported_with"]["torch"] == torch.__version__
    assert not [p for p in copied_run.path.iterdir() if p.name.startswith(".")]


def test_an_existing_folder_is_refused_before_anything_is_done(copied_run, capsys):
    (copied_run.path / "bundle-onnx").mkdir()
    with pytest.raises(SystemExit) as caught:
        export.main([f"run={copied_run.path}"])
    assert caught.value.code == 1
    assert "exists already" in capsys.readouterr().err


def test_the_last_checkpoint_has_a_folder_of_its_own_and_no_scores_of_the_best(copied_run):
    folder = export_run(settings(copied_run, "", checkpoint="last"))
    assert folder.name == "bundle-torch_export-last"
    assert "This checkpoint was not scored" in (folder / "README.md").read_text()


def test_a_network_that_was_exported_wrongly_is_found_and_nothing_is_left(bcss_run, tmp_path, monkeypatch):
    def write_wrongly(network, *arguments):
        with torch.no_grad():
            before = network.mean.clone()
            network.mean += 0.02
            write_network(network, *arguments)
            network.mean.copy_(before)

    monkeypatch.setattr(bundle_build, "write_network", write_wrongly)
    with pytest.raises(UserError, match="does not compute what the trained one does"):
        export_run(settings(bcss_run, tmp_path / "bundle"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_without_the_dataset_generated_images_are_used_and_noted(bcss_run, tmp_path):
    folder = export_run(settings(bcss_run, tmp_path / "bundle", data_root=str(tmp_path / "gone")))
    assert "generated images" in json.loads((folder / "bundle.json").read_text())["parity"]["images"]
    assert "generated images" in (folder / "README.md").read_text()


@pytest.mark.slow
def test_the_same_run_gives_the_same_network_in_both_formats(bcss_run, tmp_path):
    images = torch.randint(0, 256, (1, 3, 50, 70), dtype=torch.uint8)
    outputs = []
    for name in ("onnx", "torch_export"):
        _, network, _ = load_bundle(export_run(settings(bcss_run, tmp_path / name, name)), device="cpu")
        outputs.append(network(images))
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-4)


def test_a_missing_library_is_named(bcss_run, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(UserError, match="pip install onnxscript"):
        export_run(settings(bcss_run, tmp_path / "bundle", "onnx"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "run: this value must be given"),
        (["run=nothing"], "nothing is not a run folder: it does not exist"),
        (["run=.", "format=tflite"], "format: Input should be 'onnx' or 'torch_export', got 'tflite'"),
        (["run=.", "checkpoint=first"], "checkpoint: Input should be 'best' or 'last'"),
        (["run=.", "outptu=x"], "Did you mean 'output'?"),
        (["run=.", "overwrite=maybe"], "overwrite: "),
    ],
)
def test_a_mistake_is_one_clear_message(arguments, expected, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        export.main(arguments)
    assert caught.value.code == 1
    assert expected in capsys.readouterr().err


def test_help_lists_the_keys_without_torch(run_module):
    done = run_module("unet_exp.export", "--help")
    assert done.returncode == 0
    assert "data_root" in done.stdout
