"""Loading bundles: what they compute, what they need, and what happens to damaged ones."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import REPOSITORY
from unet_exp.build import build_datamodule, build_task
from unet_exp.bundle.loading import load_bundle
from unet_exp.bundle.manifest import NetworkFile, checksum, identity_of
from unet_exp.bundle.running import PaddingNetwork, open_network
from unet_exp.errors import UserError
from unet_exp.evaluation import load_weights


def python(code: str, *blocked: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process where some modules cannot be imported."""
    start = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in blocked)
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, cwd=REPOSITORY)


@pytest.fixture(scope="module")
def scoring_task(isic_run):
    """The network as `python -m unet_exp.evaluate` scores it."""
    config = isic_run.config()
    task = build_task(config, build_datamodule(config).source, {})
    load_weights(task, isic_run.best_checkpoint)
    return task.eval()


@pytest.mark.parametrize("size", [(1, 16, 16), (3, 24, 36), (2, 37, 19), (1, 3, 5)])
def test_it_computes_what_is_scored_on_images_of_any_size(exported, scoring_task, size):
    count, height, width = size
    images = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=torch.manual_seed(0))
    with torch.no_grad():
        expected = scoring_task(images)
    description, network, identity = load_bundle(exported, device="cpu")
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)
    assert description.name == "unet-bcss"  # the names that tests.runs gives to every run
    assert description.image_size == (32, 32)
    assert re.fullmatch("[0-9a-f]{16}", identity)


def test_under_autocast_it_still_computes_in_float32(exported):
    _, network, _ = load_bundle(exported, device="cpu")
    images = torch.full((1, 3, 16, 16), 200, dtype=torch.uint8)
    alone = network(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(network(images), alone)


@pytest.mark.slow
def test_neither_hydra_nor_lightning_nor_the_exporters_are_needed(exported):
    blocked = ["lightning", "hydra", "omegaconf", "safetensors", "onnx", "onnxscript", "jinja2", "wandb"]
    blocked += ["onnxruntime"] if exported.name == "torch_export" else []
    code = (
        "import torch\nfrom pathlib import Path\nfrom unet_exp.bundle.loading import load_bundle\n"
        f"_, network, _ = load_bundle(Path({str(exported)!r}), device='cpu')\n"
        "print(tuple(network(torch.zeros(2, 3, 21, 33, dtype=torch.uint8)).shape))\n"
    )
    done = python(code, *blocked)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(2, 1, 21, 33)"


def test_weights_are_those_of_the_checkpoint_by_their_names(exported, isic_run):
    from safetensors.torch import load_file

    state = torch.load(isic_run.best_checkpoint, weights_only=True)["state_dict"]
    expected = {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
    weights = load_file(exported / "weights.safetensors")
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], value) for name, value in expected.items())


def test_the_documented_lines_of_onnxruntime_do_without_torch(onnx_bundle, scoring_task, tmp_path):
    (tmp_path / "bundle").symlink_to(onnx_bundle)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    text = (REPOSITORY / "docs" / "export.md").read_text()
    (lines,) = (one for one in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "onnxruntime" in one)
    code = f"import os; os.chdir({str(tmp_path)!r})\n{lines}\nnp.save('logits.npy', logits)\n"
    done = python(code, "torch", "unet_exp")
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        expected = scoring_task(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0]
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected.numpy(), atol=1e-4)
    foreground = int((expected > 0).sum())
    assert done.stdout.strip() == str({"background": 32 * 32 - foreground, "lesion": foreground})


def test_without_onnxruntime_the_message_says_what_to_install(onnx_bundle):
    code = (
        "from pathlib import Path\nfrom unet_exp.bundle.loading import load_bundle\n"
        f"load_bundle(Path({str(onnx_bundle)!r}), device='cpu')"
    )
    done = python(code, "onnxruntime")
    assert "UserError" in done.stderr
    assert "pip install onnxruntime" in done.stderr


def _flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def network_file(bundle):
    return bundle / json.loads((bundle / "bundle.json").read_text())["network"]["file"]


def edit(bundle, change, *, again=True):
    """Change bundle.json, and its hash too unless told otherwise."""
    content = json.loads((bundle / "bundle.json").read_text())
    identity = content.pop("identity")
    change(content)
    content["identity"] = identity_of(content) if again else identity
    (bundle / "bundle.json").write_text(json.dumps(content))


DAMAGES = {
    "network": (lambda b: _flip_a_byte(network_file(b)), r"network\.\w+ is damaged: its SHA-256"),
    "weights": (lambda b: _flip_a_byte(b / "weights.safetensors"), "weights.safetensors is damaged"),
    "missing": (lambda b: network_file(b).unlink(), r"network\.\w+ is missing"),
    "cut off": (lambda b: (b / "bundle.json").write_text('{"format": 1,'), "bundle.json is damaged"),
    "a list": (lambda b: (b / "bundle.json").write_text("[]"), "bundle.json is damaged"),
    "edited": (lambda b: edit(b, lambda c: c["model"].update(mean=[0, 0, 0]), again=False), "was changed or damaged"),
    "newer": (lambda b: edit(b, lambda c: c.update(format=2)), "Install a newer one"),
    "other format": (lambda b: edit(b, lambda c: c["network"].update(format="tflite")), "the format 'tflite'"),
    "no network": (lambda b: edit(b, lambda c: c.pop("network")), "does not describe a bundle"),
    "other key": (lambda b: edit(b, lambda c: c["model"].update(colour=1)), "does not describe a model"),
    "no bundle": (lambda b: (b / "bundle.json").unlink(), "is not a bundle: it has no bundle.json"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_bundle_is_refused_with_a_clear_message(bundle, damage):
    change, message = DAMAGES[damage]
    change(bundle)
    with pytest.raises(UserError, match=message):
        load_bundle(bundle, device="cpu")


def test_a_file_that_matches_its_checksum_but_is_no_network(bundle):
    file = network_file(bundle)
    file.write_bytes(b"no network")
    edit(bundle, lambda c: c["files"].update({file.name: checksum(file)}))
    with pytest.raises(UserError, match=r"cannot be loaded by (torch|onnxruntime)"):
        load_bundle(bundle, device="cpu")


def test_the_card_may_be_edited(bundle):
    before = load_bundle(bundle, device="cpu")[2]
    (bundle / "README.md").write_text("# Mine")
    assert load_bundle(bundle, device="cpu")[2] == before


def test_no_folder(tmp_path):
    with pytest.raises(UserError, match="it does not exist"):
        load_bundle(tmp_path / "nothing", device="cpu")


FILE = NetworkFile(format="onnx", file="x", input="i", output="o", size_multiple=8, smallest_side=16)


def test_borders_are_repeated_as_numpy_does():
    seen = []
    network = PaddingNetwork(lambda images: (seen.append(images), images.float())[1], FILE)
    images = torch.randint(0, 256, (2, 3, 9, 17), dtype=torch.uint8)
    assert torch.equal(network(images), images.float())
    expected = np.pad(images.numpy(), ((0, 0), (0, 0), (0, 7), (0, 7)), mode="edge")
    np.testing.assert_array_equal(seen[0].numpy(), expected)


def test_onnxruntime_without_memory_fails_as_torch_does(onnx_bundle, monkeypatch):
    """So that inference halves its batches."""
    import onnxruntime

    def run(*_):
        raise RuntimeWarning("bfc_arena.cc:360 Failed to allocate memory for requested buffer of size 2147483648")

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", run)
    _, network, _ = load_bundle(onnx_bundle, device="cpu")
    with pytest.raises(torch.OutOfMemoryError, match="Failed to allocate"):
        network(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))


def test_a_device_that_onnxruntime_does_not_know(onnx_bundle):
    content = json.loads((onnx_bundle / "bundle.json").read_text())["network"]
    with pytest.raises(UserError, match="cannot compute on xpu"):
        open_network(onnx_bundle / content["file"], NetworkFile(**content), device="xpu")
