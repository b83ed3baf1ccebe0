"""`--sample`: the same experiment on drawn sample data, small enough for a few minutes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cvlab import registry
from cvlab.config import DataConfig, Experiment, ModelConfig, StageConfig
from cvlab.console import Console
from cvlab.data.decoded import cache_dir
from cvlab.errors import DataError
from cvlab.models.pretrained_weights import NO_WEIGHTS

BATCH_SIZE = 16
EPOCHS = 12


def use_sample_data(experiment: Experiment, console: Console) -> Experiment:
    """Returns the experiment on its source's drawn sample data, with a small batch and few epochs.

    The model and the image size stay as they are. The data are drawn once into the cache folder.

    Raises:
        DataError: The data settings name no sample set.
    """
    directory = cache_dir(experiment.data) / "samples"
    console.say(f"--sample: drawn sample data in {directory}")
    per_stage = _drawn([stage.data for stage in experiment.stages], directory)
    small = {"batch_size": min(BATCH_SIZE, experiment.train.batch_size)}
    stages = [_shrink(stage, data, small) for stage, data in zip(experiment.stages, per_stage, strict=True)]
    train = experiment.train.model_copy(update=small)
    console.say(f"--sample: batch size {small['batch_size']}, at most {EPOCHS} epochs a stage")
    model = _with_new_weights(experiment.model, console)
    return experiment.model_copy(update={"data": per_stage[0], "train": train, "stages": stages, "model": model})


def _with_new_weights(model: ModelConfig, console: Console) -> ModelConfig:
    """Returns the settings of the same model with new weights, so that no file is needed and none downloaded."""
    update: dict[str, str | None] = {}
    if model.init_from is not None:
        console.say("--sample: new weights, not those of model.init_from")
        update["init_from"] = None
    if getattr(model, "weights", NO_WEIGHTS) != NO_WEIGHTS:
        console.say("--sample: weights: none; new weights, not pretrained ones")
        update["weights"] = NO_WEIGHTS
    return model.model_copy(update=update)


def _drawn(configs: Sequence[DataConfig], directory: Path) -> list[DataConfig]:
    """Draws what the stages need, source by source."""
    drawn: dict[int, DataConfig] = {}
    for name in dict.fromkeys(config.name for config in configs):
        places = [i for i, config in enumerate(configs) if config.name == name]
        source = registry.load(registry.SOURCES, name)
        drawn |= zip(places, source.write_sample([configs[i] for i in places], directory, small=True), strict=True)
    return [drawn[i] for i in range(len(configs))]


def _shrink(stage: StageConfig, data: DataConfig, small: dict[str, int]) -> StageConfig:
    epochs = min(EPOCHS, stage.epochs)
    schedule = stage.schedule.model_copy(update={"warmup_epochs": min(stage.schedule.warmup_epochs, epochs)})
    return stage.model_copy(update={"data": data, "epochs": epochs, "schedule": schedule, **small})


def write_sample_data(name: str, directory: Path, *, image_size: int) -> list[Path]:
    """Draws a sample set in full below `directory`, one folder for each of its domains."""
    module = registry.load(registry.sample_sets(), name)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise DataError(f"{directory}: expected a new or an empty folder to draw into; name another one.")
    written = []
    for domain, (folder, sizes) in enumerate(zip(module.FOLDERS, module.FULL, strict=True)):
        module.write(directory / folder, image_size=image_size, domain=domain, **sizes)
        written.append(directory / folder)
    return written
