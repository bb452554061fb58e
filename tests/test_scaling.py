"""The arithmetic of docs/cluster.md: hand-worked cases, and the page holds what the program prints."""

import pytest

from benchmarks.scaling import MODELS, Cluster, Step, fixed, growing, network_cost
from tests.conftest import REPOSITORY
from unet_exp.cost import NetworkCost

ROUND = Cluster(tflops=1.0, gpus_per_node=4, link_gigabytes=10.0, network_gigabytes=1.0, microseconds=100.0)


def test_one_gpu_exchanges_nothing():
    assert ROUND.add_up(1e9, 1) == 0.0


def test_inside_a_node():
    # 2 x 3/4 x 1 GB / 10 GB/s, and 2 x log2(4) messages of 100 µs for each of 39 buckets
    assert ROUND.add_up(1e9, 4) == pytest.approx(0.15 + 2 * 2 * 39 * 1e-4)


def test_between_nodes():
    # besides, 2 x 1/2 x 1 GB / 1 GB/s between two nodes
    assert ROUND.add_up(1e9, 8) == pytest.approx(0.15 + 1.0 + 2 * 3 * 39 * 1e-4)


def test_only_the_last_bucket_is_waited_for_where_the_backward_pass_is_long():
    step = Step(NetworkCost(parameters=25 * 2**20, gmacs=100.0), batch=10, gpus=4, cluster=ROUND)
    assert step.computing == pytest.approx(6.0)  # 3 x 2 x 100e9 x 10 / 1e12
    assert step.gradient_bytes == 4 * 25 * 2**20  # four buckets
    assert step.waiting == pytest.approx(step.exchange / 4)
    assert step.efficiency == pytest.approx(6.0 / (6.0 + step.exchange / 4))


def test_a_long_exchange_is_waited_for():
    step = Step(NetworkCost(parameters=25 * 2**20, gmacs=0.1), batch=10, gpus=8, cluster=ROUND)
    assert step.waiting == pytest.approx(step.exchange - 2 / 3 * 0.006)


@pytest.mark.slow
def test_the_page_holds_what_the_program_prints():
    costs = {model: network_cost(model) for model in MODELS}
    page = (REPOSITORY / "docs" / "cluster.md").read_text()
    assert growing(costs, Cluster()) in page
    assert fixed(costs, Cluster()) in page
