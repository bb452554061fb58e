"""Slots: jobs never share a GPU by accident, nor the CPU threads."""

import pytest

from unet_exp.errors import ConfigError
from unet_exp.sweep.slots import make_slots, visible_gpus


@pytest.mark.parametrize(
    ("n_jobs", "gpus_per_job", "gpus", "expected"),
    [
        (None, None, [], [()]),
        (3, None, [], [(), (), ()]),
        (None, None, ["0", "1", "2"], [("0",), ("1",), ("2",)]),
        (2, None, ["0", "1", "2"], [("0",), ("1",)]),
        (None, 2, ["0", "1", "2", "3", "4"], [("0", "1"), ("2", "3")]),
        (2, 0, ["0"], [(), ()]),
        (2, 1, ["0", "0"], [("0",), ("0",)]),
    ],
)
def test_gpus_are_handed_out_once(n_jobs, gpus_per_job, gpus, expected):
    assert [slot.gpus for slot in make_slots(n_jobs, gpus_per_job, gpus)] == expected


@pytest.mark.parametrize(
    ("n_jobs", "gpus_per_job", "gpus", "message"),
    [
        (4, 1, ["0", "1"], r"n_jobs: 4 jobs of 1 GPU each need 4, but there are 2 \(0, 1\)"),
        (2, 2, ["0", "1", "2"], "2 jobs of 2 GPUs each need 4, but there are 3"),
        (None, 2, ["0"], "gpus_per_job: 2 asked for, but there are 1"),
        (None, 1, [], "gpus_per_job: 1 asked for, but there are 0"),
    ],
)
def test_too_few_gpus_are_explained(n_jobs, gpus_per_job, gpus, message):
    with pytest.raises(ConfigError, match=message):
        make_slots(n_jobs, gpus_per_job, gpus)


def test_threads_are_divided_among_jobs_and_among_the_processes_of_a_job():
    slots = make_slots(4, 0, [], cores=18)
    assert [slot.threads for slot in slots] == [4, 4, 4, 4]
    assert slots[0].environment(1, {})["OMP_NUM_THREADS"] == "4"
    assert slots[0].environment(2, {})["MKL_NUM_THREADS"] == "2"
    assert slots[0].environment(8, {})["OMP_NUM_THREADS"] == "1"
    assert make_slots(8, 0, [], cores=2)[0].threads == 1


def test_a_lower_number_of_threads_outside_is_kept():
    (slot,) = make_slots(1, 0, [], cores=16)
    assert slot.environment(1, {"OMP_NUM_THREADS": "2"})["OMP_NUM_THREADS"] == "2"
    assert slot.environment(1, {"OMP_NUM_THREADS": "64"})["OMP_NUM_THREADS"] == "16"


def test_a_job_without_gpu_sees_none():
    (slot,) = make_slots(1, 0, ["0"])
    assert slot.environment(1, {})["CUDA_VISIBLE_DEVICES"] == ""


def test_devices_are_numbered_as_nvidia_smi_does_unless_they_were_chosen_outside():
    first, _ = make_slots(None, None, ["3", "5"])
    assert first.environment(1, {}) | {"CUDA_VISIBLE_DEVICES": "3"} == first.environment(1, {})
    assert first.environment(1, {})["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "CUDA_DEVICE_ORDER" not in first.environment(1, {"CUDA_VISIBLE_DEVICES": "3,5"})


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0,2", ["0", "2"]), ("", []), ("-1", []), ("1,-1,2", ["1"]), (" 0 , 1 ", ["0", "1"]), ("MIG-a/1", ["MIG-a/1"])],
)
def test_the_environment_decides_which_gpus_there_are(value, expected):
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": value}) == expected


@pytest.mark.parametrize(("script", "expected"), [("echo 0; echo 1", ["0", "1"]), ("exit 9", []), ("exit 0", [])])
def test_otherwise_nvidia_smi_is_asked(script, expected, tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\ntest "$1" = --query-gpu=index || exit 1\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert visible_gpus({}) == expected


def test_without_nvidia_smi_there_are_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus({}) == []
