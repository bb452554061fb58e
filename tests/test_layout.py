"""Conventions as tests: conf/ mirrors the package, imports point one way, no file grows beyond reading."""

import ast
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "unet_exp"
CONF = REPOSITORY / "conf"
MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("group", ["model", "data", "loss"])
def test_every_selectable_module_has_a_yaml_and_every_yaml_a_module(group):
    modules = {f"unet_exp.{group}.{p.stem}" for p in (PACKAGE / group).glob("*.py") if not p.stem.startswith("_")}
    named = set()
    for path in (CONF / group).glob("*.yaml"):
        node = OmegaConf.load(path)
        while "_target_" not in node:  # a yaml may start from another one
            node = OmegaConf.load(CONF / group / f"{node.defaults[0]}.yaml")
        named.add(node["_target_"].rpartition(".")[0])
    assert named == modules


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    found = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    found |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {name for name in found if name.startswith("unet_exp")}


ALLOWED = {
    "model": ("unet_exp.model._", "unet_exp.bounds"),
    "loss": ("unet_exp.loss._", "unet_exp.bounds", "unet_exp.global_batch"),
    "scheduler": ("unet_exp.bounds",),
    "data": ("unet_exp.data", "unet_exp.bounds", "unet_exp.errors", "unet_exp.files"),
    "reporting": (
        "unet_exp.reporting",
        "unet_exp.statistics",
        "unet_exp.run",
        "unet_exp.files",
        "unet_exp.bounds",
        "unet_exp.errors",
    ),
    "statistics": ("unet_exp.statistics", "unet_exp.bounds", "unet_exp.errors"),
    "augmentation": ("unet_exp.augmentation", "unet_exp.data._stain", "unet_exp.bounds", "unet_exp.errors"),
    "figure": ("unet_exp.figure", "unet_exp.data._image"),
}


@pytest.mark.parametrize("folder", ALLOWED)
def test_parts_do_not_know_the_whole(folder):
    for path in (PACKAGE / folder).rglob("*.py"):
        foreign = {name for name in imports(path) if not name.startswith(ALLOWED[folder]) and name != "unet_exp"}
        assert not foreign, f"{path.name} imports {foreign}"


def test_the_task_knows_no_model_loss_or_dataset():
    assert imports(PACKAGE / "task.py") == {"unet_exp.class_ids", "unet_exp.global_batch", "unet_exp.metric"}


def test_instantiate_is_called_in_one_place():
    callers = [p.name for p in MODULES if "hydra.utils" in p.read_text()]
    assert callers == ["instantiate.py"]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_file_grows_beyond_reading(path):
    assert len(path.read_text().splitlines()) <= 320


def test_ignore_rules_are_anchored():
    rules = (REPOSITORY / ".gitignore").read_text().split()
    assert "/data/" in rules
    assert "data/" not in rules
