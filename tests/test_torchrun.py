"""Trainings that torchrun starts: one run, whatever happens to its processes."""

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import torch

from tests.runs import tiny
from tests.test_distributed_training import start_environment
from unet_exp.errors import ConfigError
from unet_exp.run.checkpoint_io import read_checkpoint
from unet_exp.run.folder import RunFolder
from unet_exp.run.history import read_history
from unet_exp.run.team import devices_of_torchrun

SETTINGS = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=2", "test_after_training=false")


def command(launch: list[str], *arguments: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", *launch, "-m", "unet_exp.train", *arguments]


def torchrun(folder: Path, *arguments: str, launch: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    """Two processes on this host."""
    return subprocess.run(
        command(["--standalone", "--nproc_per_node=2", *launch], *arguments),
        cwd=folder,
        env=start_environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )


def trouble(what: str, folder: Path, *, rank: int = 1, step: int = 3) -> str:
    return (
        f"+callback.trouble={{_target_: tests.trouble.Trouble, what: {what}, rank: {rank}, step: {step}, "
        f"note: {folder / 'note'}}}"
    )


def only_run(folder: Path) -> RunFolder:
    (path,) = folder.glob("out/*/*")
    return RunFolder(path)


def same_weights(one: RunFolder, other: RunFolder) -> bool:
    states = [read_checkpoint(run.last_checkpoint)["state_dict"] for run in (one, other)]
    return all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.fixture(scope="module")
def whole(bcss_root, tmp_path_factory) -> tuple[RunFolder, Path]:
    """A training that nothing happens to, watched."""
    folder = tmp_path_factory.mktemp("torchrun")
    watch = f"+callback.watch={{_target_: tests.trouble.WriterWatch, folder: {folder}/out, notes: {folder}/notes}}"
    done = torchrun(folder, *tiny(bcss_root, folder / "out", *SETTINGS, watch))
    assert done.returncode == 0, done.stderr
    return only_run(folder), folder / "notes"


@pytest.mark.slow
def test_all_processes_share_one_run_folder_and_only_the_first_writes_there(whole):
    run, notes = whole
    assert run.status()["state"] == "finished"
    assert len(read_history(run.history_file)) == 2
    assert run.config()["trainer"]["devices"] == "auto"
    assert "last.ckpt" in (notes / "0").read_text()  # the watch works
    assert (notes / "1").read_text() == ""


@pytest.mark.slow
def test_sigterm_to_torchrun_saves_and_the_run_is_continued_exactly(whole, bcss_root, tmp_path):
    settings = tiny(bcss_root, tmp_path / "out", *SETTINGS)
    done = torchrun(tmp_path, *settings, trouble("terminate", tmp_path, rank=0))
    assert done.returncode != 0
    run = only_run(tmp_path)
    assert run.status()["state"] == "interrupted"
    assert "stopped by SIGTERM; the state is saved" in done.stderr
    stopped_at = read_checkpoint(run.last_checkpoint)["global_step"]
    assert 3 <= stopped_at < 16
    done = torchrun(tmp_path, f"resume={run.path}")
    assert done.returncode == 0, done.stderr
    assert same_weights(only_run(tmp_path), whole[0])


@pytest.mark.slow
@pytest.mark.parametrize("saved", [False, True], ids=["before a checkpoint", "after a checkpoint"])
def test_torchrun_starts_a_dead_training_again_in_the_same_folder(whole, bcss_root, tmp_path, saved):
    """A process is killed; with a checkpoint the training continues, without one it begins anew."""
    every = "checkpoint.every_n_steps=" + ("2" if saved else "null")
    settings = tiny(bcss_root, tmp_path / "out", *SETTINGS, every, trouble("kill", tmp_path))
    done = torchrun(tmp_path, *settings, launch=("--max-restarts=1",))
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    assert run.status()["state"] == "finished"
    assert same_weights(run, whole[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mistake", "message"),
    [("trainer.foo=1", "Could not override 'trainer.foo'"), ("data.root=/nowhere", "error: No data found.")],
)
def test_a_mistake_is_told_once_and_leaves_no_folder(bcss_root, tmp_path, mistake, message):
    done = torchrun(tmp_path, *tiny(bcss_root, tmp_path / "out", *SETTINGS, mistake))
    assert done.returncode == 1
    assert (done.stdout + done.stderr).count(message) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_mistake_of_a_further_process_alone_is_told_too(bcss_root, tmp_path):
    """As on a second host that lacks the data."""
    script = tmp_path / "only_the_second.py"
    script.write_text(
        "import os, sys\n"
        "from unet_exp.train import main\n"
        "if os.environ['RANK'] == '1':\n"
        "    sys.argv.append('data.root=/nowhere')\n"
        "main()\n"
    )
    arguments = tiny(bcss_root, tmp_path / "out", *SETTINGS)
    started = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    done = subprocess.run(
        [*started, *(a for a in arguments if not a.startswith("data.root=")), f"data.root={bcss_root}"],
        cwd=tmp_path,
        env=start_environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 1
    assert done.stderr.count("error: No data found.") == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture
def two_hosts():
    """Two network namespaces with a cable between them; gives their names."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("two network namespaces need root and the command `ip` (iproute2)")
    label = uuid.uuid4().hex[:6]
    names = [f"unet{label}a", f"unet{label}b"]
    cable = [f"v{label}a", f"v{label}b"]
    steps = [["netns", "add", name] for name in names]
    steps.append(["link", "add", cable[0], "type", "veth", "peer", "name", cable[1]])
    for number, (name, end) in enumerate(zip(names, cable, strict=True), start=1):
        steps += [
            ["link", "set", end, "netns", name],
            ["-n", name, "link", "set", end, "name", "eth0"],
            ["-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "eth0"],
            ["-n", name, "link", "set", "eth0", "up"],
            ["-n", name, "link", "set", "lo", "up"],
        ]
    try:
        for step in steps:
            done = subprocess.run(["ip", *step], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"no network namespaces here: ip {' '.join(step)}: {done.stderr.strip()}")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


@pytest.mark.slow
def test_two_hosts_train_one_run(two_hosts, whole, bcss_root, tmp_path):
    settings = tiny(bcss_root, tmp_path / "out", *SETTINGS)
    where = ("--nnodes=2", "--nproc_per_node=1", "--master_addr=10.77.0.1", "--master_port=29400")
    hosts = [
        subprocess.Popen(
            ["ip", "netns", "exec", name, *command([*where, f"--node_rank={number}"], *settings)],
            cwd=tmp_path,
            env={**start_environment(), "GLOO_SOCKET_IFNAME": "eth0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number, name in enumerate(two_hosts)
    ]
    outputs = [host.communicate(timeout=600)[0] for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], outputs
    assert same_weights(only_run(tmp_path), whole[0])


@pytest.mark.parametrize(
    ("trainer", "given"),
    [
        ({"devices": "auto", "num_nodes": 1}, {"devices": 2, "num_nodes": 2}),
        ({"devices": -1, "num_nodes": 2}, {"devices": 2, "num_nodes": 2}),
        ({"devices": 2, "num_nodes": 2}, {}),
        ({"devices": [0, 1], "num_nodes": 2}, {}),
    ],
)
def test_devices_are_those_that_torchrun_has_started(monkeypatch, trainer, given):
    fake_torchrun(monkeypatch)
    assert devices_of_torchrun(trainer) == given


@pytest.mark.parametrize("trainer", [{"devices": 1, "num_nodes": 1}, {"devices": "auto", "num_nodes": 3}])
def test_other_numbers_are_refused_with_the_remedy(monkeypatch, trainer):
    fake_torchrun(monkeypatch)
    with pytest.raises(ConfigError, match=r"torchrun has started 4 processes \(2 on this host\).* Set trainer=ddp"):
        devices_of_torchrun(trainer)


def test_without_torchrun_the_configuration_decides():
    assert devices_of_torchrun({"devices": 3, "num_nodes": 1}) == {}


def fake_torchrun(monkeypatch):
    values = {"RANK": 3, "LOCAL_RANK": 1, "WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": 1}
    for name, value in {**values, "MASTER_ADDR": "localhost", "TORCHELASTIC_RUN_ID": "none"}.items():
        monkeypatch.setenv(name, str(value))
