"""Commands of the pages on sweeps, clusters and several processes are valid, and fit their launcher."""

import re
import shlex

import pytest
from hydra import compose, initialize_config_dir

from tests.conftest import REPOSITORY
from unet_exp.check import check_train_config
from unet_exp.config import compose_config, to_plain
from unet_exp.locations import CONFIG_FOLDER
from unet_exp.sweep.slurm.preflight import trainer_mistakes
from unet_exp.sweep.slurm.settings import SlurmSettings

PAGES = ("budget", "cluster", "distributed", "sweeps", "reliability", "study")


def training_commands(page: str) -> list[list[str]]:
    """Overrides of every command that trains, the first one of each list of choices; torchrun has set the devices."""
    text = (REPOSITORY / "docs" / f"{page}.md").read_text()
    found = []
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            _, program, rest = line.partition(" -m unet_exp.train ")
            if program and "resume=" not in rest:
                words = shlex.split(rest.partition("  #")[0])
                found.append(
                    [re.sub(r"^([^\[=]+=[^\[,]+),.*", r"\1", word) for word in words if word not in ("-m", "...")]
                )
    return found


COMMANDS = [(page, overrides) for page in PAGES for overrides in training_commands(page)]


def test_every_page_has_some():
    assert {page for page, _ in COMMANDS} == set(PAGES)


@pytest.mark.parametrize(("page", "overrides"), COMMANDS, ids=[f"{page}: {' '.join(o)}" for page, o in COMMANDS])
def test_it_is_valid(page, overrides):
    plain = check_train_config(compose_config("train", [o for o in overrides if not o.startswith("hydra")]))
    with initialize_config_dir(config_dir=CONFIG_FOLDER, version_base="1.3"):
        launcher = to_plain(compose("train", overrides, return_hydra_config=True).hydra.launcher)
    if "Slurm" in launcher.pop("_target_"):
        assert page == "cluster"
        assert trainer_mistakes(SlurmSettings(**launcher), [plain]) == []
