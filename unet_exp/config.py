"""Where the configuration lives, and the two ways to read it: composing yaml groups, loading a run's own.

Nothing here imports torch: ``--help`` and ``--cfg job`` must answer at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, ListConfig, OmegaConf

from unet_exp.bounds import NonNegativeInt, PositiveInt
from unet_exp.data import _nnunet_json
from unet_exp.locations import CONFIG_FOLDER
from unet_exp.run.identity import sweep_name
from unet_exp.study_settings import StudySettings, times
from unet_exp.surroundings import context_margin, context_mpp, window_alignment
from unet_exp.sweep.settings import SweepSettings

# conf/data/nnunet.yaml: the network must know the number of classes before the dataset is built.
OmegaConf.register_new_resolver("nnunet", _nnunet_json.resolve, replace=True)
# conf/arm: what an arm of a study changes is a multiple of what the others have.
OmegaConf.register_new_resolver("times", times, replace=True)
# conf/train.yaml: the folder of a sweep, needed before its first job is composed.
OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True)
# conf/data/bcss.yaml and conf/model/ctx_resunet.yaml: a network that wants to see surroundings is served them.
OmegaConf.register_new_resolver("context_mpp", lambda *given: ListConfig(context_mpp(*given)), replace=True)
OmegaConf.register_new_resolver("context_margin", context_margin, replace=True)
# conf/model/lean_resunet.yaml: instance norm is better on whole images, and suffers from patches of a single tissue.
OmegaConf.register_new_resolver("norm_for", lambda patch_size: "batch" if patch_size else "instance", replace=True)
# conf/inference/sliding_window.yaml
OmegaConf.register_new_resolver("window_alignment", window_alignment, replace=True)


@dataclass(kw_only=True)
class TrainSettings:
    """The closed part of the training configuration: the only keys allowed at the top of train.yaml.

    Args:
        seed: Seed of everything random, 0 to 2^32 - 1.
        name: Folder under `output_folder` that collects related runs; null means today's date, or, for a sweep, a
            name that the same command always gets.
        output_folder: Where run folders are made.
        store_folder: Where datasets are kept in the form they are served from.
        resume: A run folder to continue, or null to start a new run.
        sweep: Block of what a sweep does with jobs that failed, and at its end.
        study: Block of what arms of a study start from.
        monitor: Logged value that decides which checkpoint is the best one (higher is better).
        scored_checkpoint: Which weights stand for the run: they are scored at its end, and later by default.
        channels_last: Use the NHWC memory format, faster on most hardware.
        compile: Compile the network with torch.compile, in place.
        gradient_checkpointing: Compute activations again for the gradient instead of keeping them.
        test_after_training: Score the test split too when training has finished.
        model: Block of the network.
        data: Block of the dataset.
        loss: Block of the loss.
        supervision: Block of the deep-supervision wrapper.
        optim: Block of the optimiser.
        scheduler: Block of the learning-rate schedule.
        augmentation: Block of the augmentation pipeline.
        loader: Block of the data loading.
        inference: Block of the whole-image inference.
        trainer: Block of the Lightning trainer.
        logger: Block of the experiment tracker, or null.
        callback: Named blocks of further callbacks, or null.
        checkpoint: Block of when checkpoints are written; runs of before it existed have none.
        budget: Block of what the network may cost; empty or null: its width is that of its own block.
    """

    seed: Annotated[int, Ge(0), Le(2**32 - 1)]
    name: str | None
    output_folder: str
    store_folder: str
    resume: str | None
    sweep: SweepSettings = field(default_factory=SweepSettings)
    study: StudySettings = field(default_factory=StudySettings)
    monitor: str
    scored_checkpoint: Literal["best", "last"] = "best"
    channels_last: bool
    compile: bool
    gradient_checkpointing: bool = False
    test_after_training: bool
    model: dict[str, Any]
    data: dict[str, Any]
    loss: dict[str, Any]
    supervision: dict[str, Any]
    optim: dict[str, Any]
    scheduler: dict[str, Any]
    augmentation: dict[str, Any]
    loader: dict[str, Any]
    inference: dict[str, Any]
    trainer: dict[str, Any]
    logger: dict[str, Any] | None
    callback: dict[str, Any] | None
    checkpoint: dict[str, Any] | None = None
    budget: dict[str, Any] | None = None


@dataclass(kw_only=True)
class PrepareSettings:
    """The closed part of the configuration of `prepare`: the only keys allowed at the top of prepare.yaml.

    Args:
        stage: Which of the stages to carry out; `all` does what is not done yet.
        archive: Folder or archive that was got by hand, for datasets that no program may download.
        output: Folder of the list of findings and the preview; null means outputs/prepare/<dataset>.
        store_folder: Where datasets are kept in the form they are served from.
        jobs: Files read at the same time; each holds one decoded image in memory.
        seed: Seed of the preview.
        preview_cases: Rows of the preview.
        preview_versions: Augmented versions per row.
        data: Block of the dataset.
        augmentation: Block of the augmentation pipeline that is previewed.
        download: Block of the download settings.
    """

    stage: Literal["all", "download", "verify", "convert", "preview"]
    archive: str | None
    output: str | None
    store_folder: str
    jobs: PositiveInt
    seed: NonNegativeInt
    preview_cases: PositiveInt
    preview_versions: PositiveInt
    data: dict[str, Any]
    augmentation: dict[str, Any]
    download: dict[str, Any]


def compose_config(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose ``conf/<name>.yaml`` with command-line style overrides, as the commands themselves do.

    Args:
        name: Root file without suffix, for example ``train``.
        overrides: For example ``["model=unet", "data.mpp=1.0"]``.
    """
    with initialize_config_dir(config_dir=CONFIG_FOLDER, version_base="1.3"):
        return compose(config_name=name, overrides=list(overrides))


def to_plain(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain dicts and lists with every interpolation resolved.

    Raises:
        omegaconf.errors.OmegaConfBaseException: If an interpolation or a mandatory value is missing.
    """
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
