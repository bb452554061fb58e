"""Memory of training steps in a process of its own: ``python -m benchmarks._step_memory unet s 256 8``.

Prints how much higher the resident memory was at its peak than before the network was built, in MiB.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from benchmarks._peak import peak_resident
from unet_exp.budget import within_budget
from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.instantiate import Config, build

_STEPS = 2
"""The optimiser's own memory is there from the second one on."""


_GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
"""Lets glibc give freed memory back at once; it keeps it otherwise, which is not what a step needs."""


def step_memory_in_process(model: str, budget: str, side: int, batch: int) -> float:
    """Run this module: MiB that training steps need.

    Args:
        model: File in conf/model.
        budget: File in conf/budget.
        side: Of the images, in pixels.
        batch: Images of a step.
    """
    command = [sys.executable, "-m", "benchmarks._step_memory", model, budget, str(side), str(batch)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **_GIVE_BACK})
    return float(done.stdout.split()[-1])


def solved_config(model: str, budget: str) -> Config:
    """Configuration of a training with the width solved.

    Raises:
        UserError: If the network is of a library that is not installed, or cannot meet the budget.
    """
    overrides = ["data=bcss", f"model={model}", f"budget={budget}"]
    return within_budget(check_train_config(compose_config("train", overrides)))


def network_of(config: Config) -> nn.Module:
    """The network of a configuration, without memory for its weights."""
    with torch.device("meta"):
        network: nn.Module = build(config, "model")
    return network


def train(network: nn.Module, images: torch.Tensor, steps: int) -> None:
    """Steps with Adam on the mean square of the logits, a loss that itself keeps next to nothing."""
    optimizer = torch.optim.Adam(network.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        logits = network.train()(images)
        scales = logits if isinstance(logits, list) else [logits]
        torch.stack([scale.square().mean() for scale in scales]).sum().backward()
        optimizer.step()


def reset_peak() -> None:
    """Let the peak resident memory begin at what is resident now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Train for some steps and print the memory they took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks._step_memory", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("budget")
    parser.add_argument("side", type=int)
    parser.add_argument("batch", type=int)
    options = parser.parse_args()
    config = solved_config(options.model, options.budget)
    train(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), torch.rand(2, 3, 64, 64), 1)  # what the libraries load once
    reset_peak()
    start = peak_resident()
    train(build(config, "model"), torch.rand(options.batch, 3, options.side, options.side), _STEPS)
    print(peak_resident() - start)


if __name__ == "__main__":
    main()
