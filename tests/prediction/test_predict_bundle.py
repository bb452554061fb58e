"""``predict bundle=...``: the masks of the run it was exported from, without Hydra and Lightning."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tests.conftest import heed_ctrl_c
from tests.runs import run, tiny
from unet_exp import export, predict

_WITHOUT = """
import sys
for name in ("hydra", "lightning", "pytorch_lightning", "omegaconf", "torchmetrics", "albumentations", "wandb"):
    sys.modules[name] = None  # importing it raises
from unet_exp.predict import main
main(sys.argv[1:])
"""


def labels(folder):
    (path,) = folder.glob("*.labels.png")
    with Image.open(path) as file:
        return np.asarray(file)


@pytest.mark.slow
def test_a_bundle_gives_the_masks_of_its_run_without_hydra_and_lightning(isic_root, tmp_path):
    folder = run(tiny(isic_root, tmp_path / "runs", data="isic2017")).path
    image = next((isic_root / "ISIC-2017_Validation_Data").glob("*.jpg"))
    export.main([f"run={folder}", f"output={tmp_path / 'bundle'}"])
    arguments = [f"bundle={tmp_path / 'bundle'}", f"input={image}", f"output={tmp_path / 'out'}"]
    done = subprocess.run([sys.executable, "-c", _WITHOUT, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    predict.main([f"run={folder}", f"input={image}", f"output={tmp_path / 'expected'}"])
    np.testing.assert_array_equal(labels(tmp_path / "out"), labels(tmp_path / "expected"))


@pytest.mark.slow
def test_ctrl_c_leaves_whole_files_and_the_next_call_goes_on(isic_root, tmp_path):
    folder = run(tiny(isic_root, tmp_path / "runs", data="isic2017")).path
    source = next((isic_root / "ISIC-2017_Validation_Data").glob("*.jpg")).read_bytes()
    (tmp_path / "in").mkdir()
    for number in range(200):
        (tmp_path / "in" / f"{number}.jpg").write_bytes(source)
    output = tmp_path / "out"
    arguments = ["-m", "unet_exp.predict", f"run={folder}", f"input={tmp_path / 'in'}", f"output={output}"]
    arguments += ["inference.batch_size=1", "continue=true"]
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    )
    while process.poll() is None and len(list(output.glob("*.labels.png"))) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    for path in output.glob("*.labels.png"):
        with Image.open(path) as file:
            file.load()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "finished before" in done.stdout
    assert len(list(output.glob("*.labels.png"))) == 200
    assert not [path for path in output.iterdir() if path.name.startswith(".")]
