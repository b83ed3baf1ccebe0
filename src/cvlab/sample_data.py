"""`--sample`: the same experiment on drawn sample data, small enough for a few minutes."""

from __future__ import annotations

from pathlib import Path

from cvlab import registry
from cvlab.config import Experiment
from cvlab.console import Console
from cvlab.data.decoded import cache_dir

BATCH_SIZE = 16
EPOCHS = 12


def use_sample_data(experiment: Experiment, console: Console) -> Experiment:
    """Returns the experiment on its source's drawn sample data, with a small batch and few epochs.

    The model and the image size stay as they are. The data are drawn once into the cache folder.

    Raises:
        DataError: The data settings name no sample set.
    """
    configs = [experiment.data, *(stage.data for stage in experiment.stages)]
    source = registry.load(registry.SOURCES, experiment.data.name)
    directory = cache_dir(experiment.data) / "samples"
    console.say(f"--sample: drawn sample data in {directory}")
    top, *per_stage = source.write_sample(configs[1:2] + configs[1:], directory, small=True)
    small = {"batch_size": min(BATCH_SIZE, experiment.train.batch_size)}
    stages = [
        stage.model_copy(update={"data": data, "epochs": min(EPOCHS, stage.epochs), **small})
        for stage, data in zip(experiment.stages, per_stage, strict=True)
    ]
    train = experiment.train.model_copy(update=small)
    console.say(f"--sample: batch size {small['batch_size']}, at most {EPOCHS} epochs a stage")
    return experiment.model_copy(update={"data": top, "train": train, "stages": stages})


def write_sample_data(name: str, directory: Path, *, image_size: int) -> list[Path]:
    """Draws a sample set in full below `directory`, one folder for each of its domains."""
    module = registry.load(registry.SYNTHETIC, name)
    written = []
    for domain, (folder, sizes) in enumerate(zip(module.FOLDERS, module.FULL, strict=True)):
        module.write(directory / folder, image_size=image_size, domain=domain, **sizes)
        written.append(directory / folder)
    return written
