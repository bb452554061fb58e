"""Runs whose width a budget decides: trained, continued, scored, and as jobs of a sweep."""

import pytest

from tests.networks import multiply_accumulates, network_of
from tests.runs import run, tiny
from unet_exp import evaluate
from unet_exp.budget import within_budget
from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.cost import measure_cost, network_inputs
from unet_exp.errors import UserError
from unet_exp.run.checkpoint_io import read_checkpoint
from unet_exp.run.identity import config_hash

pytestmark = pytest.mark.slow


def small(root, output, *overrides):
    """A tiny training whose width a budget decides; far less than xs, so that it takes seconds."""
    given = [override for override in tiny(root, output) if not override.startswith("model.base_channels")]
    return [*given, "budget=xs", "budget.gmacs=0.2", "budget.tolerance=0.08", *overrides]


def test_train_continue_and_score(bcss_root, tmp_path, capsys):
    first = run(small(bcss_root, tmp_path, "trainer.max_epochs=1", "test_after_training=false"))
    told = capsys.readouterr().out
    config = first.config()
    assert "0.2 GMACs at 256x256: base_channels=" in told
    assert "MiB for a step of 4 samples" in told
    assert config["budget"]["gmacs"] == 0.2
    network = network_of(config)
    counted = multiply_accumulates(network, network_inputs(network, 3, (256, 256), 1))
    assert counted / 1e9 == pytest.approx(0.2, rel=0.08)
    assert first.path.name == f"unet-bcss-{config_hash(config)}"
    cost = first.metrics()["cost"]
    expected = measure_cost(network, 3, (32, 32))
    assert (cost["parameters"], cost["gmacs"]) == (expected.parameters, expected.gmacs)
    assert cost["training_memory_mb"] == expected.training_memory_mb(4)
    assert read_checkpoint(first.best_checkpoint)["unet_exp"]["config"]["model"] == config["model"]

    continued = run(small(bcss_root, tmp_path, "trainer.max_epochs=2", f"resume={first.path}"))
    assert continued.path == first.path
    assert continued.config()["model"] == config["model"]
    with pytest.raises(UserError, match=r"budget\.gmacs: 0\.2 in the run, 0\.4 now"):
        run(small(bcss_root, tmp_path, "budget.gmacs=0.4", f"resume={first.path}"))

    evaluate.main([f"run={first.path}", "split=val", "trainer=cpu"])
    assert (first.evaluation / "val" / "metrics.json").is_file()


def test_a_width_that_would_be_solved_otherwise_today_is_kept(bcss_root, tmp_path):
    settings = small(bcss_root, tmp_path, "trainer.max_epochs=1", "test_after_training=false")
    folder = run(settings)
    config = check_train_config(compose_config("train", [*settings, f"resume={folder.path}"]))
    edited = folder.config_file.read_text().replace(
        f"base_channels: {folder.config()['model']['base_channels']}", "base_channels: 5.5"
    )
    folder.config_file.write_text(edited)
    assert within_budget(config)["model"]["base_channels"] == 5.5


def test_a_sweep_with_a_budget_skips_what_is_finished(bcss_root, tmp_path, run_module):
    arguments = [
        *(a for a in small(bcss_root, tmp_path / "outputs") if not a.startswith(("model=", "model.depth"))),
        "model=unet,resunet",
        "name=study",
        "trainer.max_epochs=1",
        "data.patches_per_epoch=8",
        "test_after_training=false",
    ]
    outputs = [run_module("unet_exp.train", "-m", *arguments) for _ in range(2)]
    assert [output.returncode for output in outputs] == [0, 0], outputs
    folders = sorted((tmp_path / "outputs" / "study").glob("*-bcss-*"))
    assert [folder.name.split("-")[0] for folder in folders] == ["resunet", "unet"]
    logs = [(folder / "log.txt").read_text() for folder in folders]
    assert all(log.count("run folder") == 1 for log in logs)
    assert (tmp_path / "outputs" / "study" / "report" / "report.html").is_file()
    page = (tmp_path / "outputs" / "study" / "report" / "report.md").read_text()
    assert "base_channels" not in page.split("##")[0]
