"""Every test with a `model_name` argument runs for each file in conf/model, so for a new network too."""

import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

import unet_exp.config  # noqa: F401 - knows how to compute what yaml files refer to
from tests.networks import MODELS, model_block
from unet_exp.model._optional import MissingPackageError

MODEL_NAMES = MODELS


def pytest_generate_tests(metafunc):
    if "model_name" in metafunc.fixturenames:
        metafunc.parametrize("model_name", MODEL_NAMES)


def load_model_config(name, in_channels=3, num_classes=2, weights=(1.0,), **overrides):
    config = OmegaConf.create(
        {
            "data": {"in_channels": in_channels, "num_classes": num_classes},
            "supervision": {"weights": list(weights)},
            "model": model_block(name),
        }
    )
    config.model.update(overrides)
    return config.model


@pytest.fixture
def model_config():
    return load_model_config


@pytest.fixture
def build():
    """Builds a network from its yaml file, four channels wide and four levels deep unless told otherwise.

    Skips where the network's library is missing.
    """

    def build_model(name, **arguments):
        try:
            return instantiate(load_model_config(name, **{"base_channels": 4, "depth": 4} | arguments))
        except InstantiationException as error:  # tests are about the sentence inside
            if isinstance(error.__cause__, MissingPackageError):
                pytest.skip(str(error.__cause__))
            raise error.__cause__ from None

    return build_model
