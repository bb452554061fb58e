"""What to expect of one training on 8, 64 and 512 GPUs: arithmetic from the networks' own figures, nothing is measured.

    python -m benchmarks.scaling                                     # the tables of docs/cluster.md
    python -m benchmarks.scaling --tflops 60 --network-gigabytes 3   # another cluster

A step computes 3 x 2 x GMACs (a forward pass, and a backward pass of twice the work), then adds up the gradients of all
GPUs: inside a node over its fast links, between nodes over its network cards. PyTorch does that in buckets while the
backward pass still runs; what is left over afterwards is waited for.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

from unet_exp.build import build_task
from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.cost import NetworkCost, measure_cost
from unet_exp.instantiate import build

MODELS = ("unet", "resunet", "improved_unet", "improved_unet_isensee")
GPUS = (8, 64, 512)
PATCH = 256
"""Side of a training patch of conf/data/bcss.yaml, in pixels."""
FIXED_BATCH = 512
"""Patches of a step in the table where the number of GPUs does not change the result."""

_BUCKET = 25 * 2**20  # bytes, PyTorch's default
_BYTES_PER_PIXEL = 4  # red, green, blue, class


@dataclass(frozen=True)
class Cluster:
    """What the machines reach in practice, not what their makers print.

    Args:
        tflops: 10^12 floating-point operations per second of one GPU in convolutions.
        gpus_per_node: GPUs that share a node.
        link_gigabytes: 10^9 bytes per second between GPUs of one node.
        network_gigabytes: 10^9 bytes per second that a node sends, all its network cards together.
        microseconds: Time of one message between two nodes, however small.
    """

    tflops: float = 100.0
    gpus_per_node: int = 8
    link_gigabytes: float = 200.0
    network_gigabytes: float = 12.5
    microseconds: float = 15.0

    def add_up(self, size: float, gpus: int) -> float:
        """Seconds in which so many GPUs add up `size` bytes each (reduce-scatter and all-gather, in both stages)."""
        inside = min(gpus, self.gpus_per_node)
        nodes = math.ceil(gpus / self.gpus_per_node)
        seconds = 2 * (inside - 1) / inside * size / (self.link_gigabytes * 1e9)
        seconds += 2 * (nodes - 1) / nodes * size / (self.network_gigabytes * 1e9)
        messages = 2 * math.ceil(math.log2(gpus)) * math.ceil(size / _BUCKET)
        return seconds + messages * self.microseconds * 1e-6


@dataclass(frozen=True)
class Step:
    """One training step on a cluster.

    Args:
        cost: Of the network, for one patch.
        batch: Patches of each GPU.
        gpus: All of them.
        cluster: The machines.
    """

    cost: NetworkCost
    batch: int
    gpus: int
    cluster: Cluster

    @property
    def gradient_bytes(self) -> int:
        """One float32 for each parameter, in mixed precision too."""
        return 4 * self.cost.parameters

    @property
    def computing(self) -> float:
        """Seconds without any exchange."""
        return 3 * 2 * self.cost.gmacs * 1e9 * self.batch / (self.cluster.tflops * 1e12)

    @property
    def exchange(self) -> float:
        """Seconds in which the gradients are added up."""
        return self.cluster.add_up(self.gradient_bytes, self.gpus)

    @property
    def waiting(self) -> float:
        """Seconds of that which the backward pass, two thirds of the step, does not hide; never less than a bucket."""
        buckets = math.ceil(self.gradient_bytes / _BUCKET)
        return max(self.exchange - 2 / 3 * self.computing, self.exchange / buckets)

    @property
    def efficiency(self) -> float:
        """Share of the GPUs' time that is spent computing."""
        return self.computing / (self.computing + self.waiting)

    @property
    def patches_per_second(self) -> float:
        """That one GPU takes."""
        return self.batch / (self.computing + self.waiting)


def network_cost(model: str) -> NetworkCost:
    """Parameters and GMACs of a network with the settings of its yaml, on tissue patches."""
    config = check_train_config(compose_config("train", [f"model={model}", "data=bcss"]))
    source = build(config, "data")
    return measure_cost(build_task(config, source, {}).network, source.in_channels, (PATCH, PATCH))


def scaling_table(steps: Sequence[tuple[str, Step]]) -> str:
    """The steps as a Markdown table."""
    lines = [
        "| network | GPUs | patches per GPU | computing, ms | gradients, MB | exchange, ms | waiting, ms | efficiency "
        "| patches/s per GPU | reads per GPU, MB/s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for model, step in steps:
        read = step.patches_per_second * PATCH * PATCH * _BYTES_PER_PIXEL / 1e6
        lines.append(
            f"| {model} | {step.gpus} | {step.batch} | {1e3 * step.computing:.1f} | {step.gradient_bytes / 1e6:.0f} "
            f"| {1e3 * step.exchange:.1f} | {1e3 * step.waiting:.1f} | {step.efficiency:.0%} "
            f"| {step.patches_per_second:,.0f} | {read:,.0f} |"
        )
    return "\n".join(lines)


def growing(costs: dict[str, NetworkCost], cluster: Cluster) -> str:
    """Table of 16 patches for each GPU: the batch grows with the cluster."""
    return scaling_table([(model, Step(cost, 16, gpus, cluster)) for model, cost in costs.items() for gpus in GPUS])


def fixed(costs: dict[str, NetworkCost], cluster: Cluster) -> str:
    """Table of one batch that is divided among the GPUs: the result does not change."""
    return scaling_table(
        [(model, Step(cost, FIXED_BATCH // gpus, gpus, cluster)) for model, cost in costs.items() for gpus in GPUS]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Cluster()
    parser.add_argument("--tflops", type=float, default=default.tflops, help="reached by one GPU (default: 100)")
    parser.add_argument("--gpus-per-node", type=int, default=default.gpus_per_node)
    parser.add_argument("--link-gigabytes", type=float, default=default.link_gigabytes, help="per second in a node")
    parser.add_argument("--network-gigabytes", type=float, default=default.network_gigabytes, help="per second, a node")
    parser.add_argument("--microseconds", type=float, default=default.microseconds, help="of one message")
    cluster = Cluster(**vars(parser.parse_args(arguments)))
    costs = {model: network_cost(model) for model in MODELS}
    print(f"16 patches per GPU\n\n{growing(costs, cluster)}\n")
    print(f"{FIXED_BATCH} patches altogether\n\n{fixed(costs, cluster)}")


if __name__ == "__main__":
    main()
