"""What is checked before anything is submitted, and the yaml files."""

import dataclasses
import os
import subprocess
import sys

import pytest
import yaml
from hydra import compose, initialize_config_dir

from tests.cluster.fake_commands import FakeCommands
from tests.conftest import REPOSITORY
from unet_exp.config import to_plain
from unet_exp.locations import CONFIG_FOLDER
from unet_exp.sweep.slurm.commands import Partition, partitions
from unet_exp.sweep.slurm.preflight import cluster_mistakes, trainer_mistakes
from unet_exp.sweep.slurm.settings import SlurmSettings


def launcher(preset: str) -> dict:
    with initialize_config_dir(config_dir=CONFIG_FOLDER, version_base="1.3"):
        config = compose("train", ["data=bcss", f"hydra/launcher={preset}"], return_hydra_config=True)
    return to_plain(config.hydra.launcher)


@pytest.mark.parametrize(
    ("slurm", "trainer", "said"),
    [
        ({}, {"devices": 1, "num_nodes": 1}, None),
        ({}, {"devices": "auto", "num_nodes": 1}, None),
        ({"gpus_per_node": 1}, {"devices": 1, "num_nodes": 1, "accelerator": "gpu"}, None),
        ({"gpus_per_node": 4, "tasks_per_node": 4}, {"devices": [0, 1, 2, 3], "num_nodes": 1}, None),
        ({"gpus_per_node": 4, "tasks_per_node": 4}, {"devices": "auto", "num_nodes": 1}, None),
        ({"gpus_per_node": 4, "tasks_per_node": 4}, {"devices": -1, "num_nodes": 1}, None),
        ({"gpus_per_node": 4, "tasks_per_node": 4}, {"devices": 1, "num_nodes": 1}, "Fix: trainer.devices=4 "),
        (
            {"gpus_per_node": 4, "tasks_per_node": 4, "nodes": 2},
            {"devices": 2, "num_nodes": 1},
            "Fix: trainer.devices=4 trainer.num_nodes=2  or: hydra.launcher.nodes=1 hydra.launcher.tasks_per_node=2",
        ),
        ({"nodes": 2}, {"devices": 1, "num_nodes": 1}, "Fix: trainer.num_nodes=2 "),
        ({}, {"devices": 1, "num_nodes": 1, "accelerator": "gpu"}, "Fix: hydra.launcher.gpus_per_node=1"),
        (
            {"gpus_per_node": 1},
            {"devices": 1, "num_nodes": 1, "accelerator": "cpu"},
            "Fix: trainer.accelerator=gpu  or: hydra.launcher.gpus_per_node=null",
        ),
        ({"gpus_per_node": 4}, {"devices": 1, "num_nodes": 1}, "4 GPUs per node for 1 tasks; each task uses one"),
        (
            {"timeout_min": 2, "signal_delay_s": 120},
            {"devices": 1, "num_nodes": 1},
            "Fix: hydra.launcher.signal_delay_s=60",
        ),
    ],
)
def test_slurm_and_trainer_must_agree(slurm, trainer, said):
    mistakes = trainer_mistakes(SlurmSettings(**slurm), [{"trainer": trainer}] * 2)
    if said is None:
        assert mistakes == []
    else:
        assert len(mistakes) == 1  # jobs that make the same mistake are told once
        assert said in mistakes[0]


CLUSTER = {"": Partition(60, 4, 4), "main": Partition(60, 4, 4), "cpu": Partition(None, 2, 0)}


@pytest.mark.parametrize(
    ("slurm", "said"),
    [
        ({"timeout_min": 60}, None),
        ({"timeout_min": 600, "partition": "cpu"}, None),
        ({"timeout_min": 600, "partition": "cpu,main"}, None),
        ({"timeout_min": 61}, "Fix: hydra.launcher.timeout_min=60"),
        ({"partition": "gpu"}, "there is no partition 'gpu' here. Choose from: cpu, main"),
        ({"partition": "cpu", "nodes": 3}, "hydra.launcher.nodes: 3, but the partition has 2."),
        (
            {"partition": "cpu", "gpus_per_node": 1},
            "hydra.launcher.gpus_per_node: 1, but nodes of the partition have no",
        ),
        ({"timeout_min": 60, "gpus_per_node": 8}, "have at most 4 GPUs"),
    ],
)
def test_the_cluster_must_have_what_is_asked_for(slurm, said):
    mistakes = cluster_mistakes(SlurmSettings(**slurm), CLUSTER)
    assert mistakes == [] if said is None else len(mistakes) == 1 and said in mistakes[0]


def test_a_cluster_without_default_partition():
    (mistake,) = cluster_mistakes(SlurmSettings(), {"main": Partition(60, 4, 4)})
    assert mistake == "hydra.launcher.partition: this cluster has no default one. Choose from: main"


def test_what_sinfo_says_is_understood(tmp_path, monkeypatch):
    fake = FakeCommands(tmp_path / "bin")
    fake.answer(
        "sinfo", "main*|1-02:30:00|3|gpu:a100:4(S:0-1),nvme:1\nmain*|1-02:30:00|2|gpu:8\nlong|infinite|2|(null)"
    )
    monkeypatch.setenv("PATH", fake.path)
    main = Partition(minutes=1590, nodes=5, gpus=8)
    assert partitions() == {"main": main, "": main, "long": Partition(None, 2, 0)}


def test_the_yaml_states_the_defaults():
    stated = yaml.safe_load((REPOSITORY / "conf" / "hydra" / "launcher" / "slurm.yaml").read_text())
    assert stated.pop("_target_") == "hydra_plugins.unet_exp_slurm.SlurmLauncher"
    defaults = dataclasses.asdict(SlurmSettings())
    assert stated == {**defaults, "setup": list(defaults["setup"])}


@pytest.mark.parametrize(
    ("preset", "overrides", "size"),
    [
        ("slurm", [], (1, 1, None)),
        ("slurm_gpu", ["trainer=gpu"], (1, 1, 1)),
        ("slurm_node", ["trainer=ddp", "trainer.devices=4"], (1, 4, 4)),
        ("slurm_nodes", ["trainer=ddp", "trainer.devices=4", "trainer.num_nodes=2"], (2, 4, 4)),
    ],
)
def test_presets_fit_the_trainers_that_they_name(preset, overrides, size):
    given = launcher(preset)
    given.pop("_target_")
    settings = SlurmSettings(**given)
    assert (settings.nodes, settings.tasks_per_node, settings.gpus_per_node) == size
    with initialize_config_dir(config_dir=CONFIG_FOLDER, version_base="1.3"):
        config = to_plain(compose("train", ["data=bcss", *overrides]))
    assert trainer_mistakes(settings, [config]) == []
    text = (REPOSITORY / "conf" / "hydra" / "launcher" / f"{preset}.yaml").read_text()
    assert all(override in text for override in overrides if override != "trainer=gpu")


def explained(path: str, tmp_path, *arguments: str) -> str:
    command = [sys.executable, "-m", "unet_exp.train", "-m", "data=bcss", "hydra/launcher=slurm", *arguments]
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_without_slurm_the_message_says_so(tmp_path):
    said = explained("/nowhere", tmp_path)
    assert "hydra/launcher=slurm needs SLURM's commands, but here is no sbatch" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["hydra.launcher.nodes=0"], "hydra.launcher.nodes: Input should be greater than 0, got 0."),
        (["hydra.launcher.timeout_min=soon"], "hydra.launcher.timeout_min: Input should be a valid integer"),
        (["hydra.launcher.n_jobs=2"], "Key 'n_jobs' is not in struct"),
        (["hydra.launcher.partition=gpu"], "there is no partition 'gpu' here. Choose from: long, main"),
        (["hydra.launcher.nodes=2"], "Fix: trainer.num_nodes=2"),
    ],
)
def test_mistakes_are_explained_before_anything_is_submitted(arguments, said, tmp_path):
    fake = FakeCommands(tmp_path / "bin")
    assert said in explained(fake.path, tmp_path, *arguments)
    assert fake.calls("sbatch") == []
    assert not (tmp_path / "outputs").exists() or not list((tmp_path / "outputs").rglob("job.json"))
