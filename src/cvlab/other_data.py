"""Data that a finished run never saw: loaded, decoded, and refused where the run knows some of them."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from cvlab import registry
from cvlab.config import DataConfig, Experiment
from cvlab.console import Console
from cvlab.data.audit import find_leaks
from cvlab.data.cache import ImageCache
from cvlab.data.decoded import DecodedSamples, open_images
from cvlab.data.findings import report_groups, report_unreadable
from cvlab.data.near_duplicates import FREQUENCIES, Near, find_near, looks_of
from cvlab.data.pool import decode_source
from cvlab.data.samples import SampleTable, by_stage, read_samples, text_column
from cvlab.data.source import LoadedSource
from cvlab.errors import DataError, counted, listing
from cvlab.initial import samples_before
from cvlab.run_folder import RunFolder, read_json
from cvlab.tasks.task import Task


@dataclass(frozen=True)
class OtherData:
    """Samples from elsewhere, all of them test data.

    Attributes:
        name: The name of their predictions table.
        samples: The samples.
        notes: What the user should know.
    """

    name: str
    samples: DecodedSamples
    notes: list[str]


def drop_other_data(run: RunFolder, console: Console) -> None:
    """Removes what a run says of other data, whose masks were counted at a threshold that is no longer that of the run.

    Their images need not be there any more, so that nothing can be counted anew here.
    """
    for table in sorted(run.predictions("test").parent.glob("data-*.csv")):
        origin = table.with_suffix(".json")
        where = read_json(origin)["data"] if origin.is_file() else "PATH"
        console.warn(
            f"{table.stem} was counted at another threshold, and is removed. To count it anew: cvlab evaluate "
            f"{run.path} --data {where}"
        )
        for file in (table, origin, run.uncertainty(table.stem)):
            file.unlink(missing_ok=True)
            shutil.rmtree(file.with_suffix(""), ignore_errors=True)


def open_other_data(path: Path, run: RunFolder, experiment: Experiment, task: Task, console: Console) -> OtherData:
    """Opens other data as the last stage of a run would.

    Args:
        path: A folder or a table, in the layout of the run's data.
        run: The run.
        experiment: Its settings.
        task: Its last task.
        console: For the progress.

    Raises:
        DataError: They cannot be used, or the run was trained on or chosen by some of their images, groups or ids.
    """
    place = path.resolve()
    module = registry.load(registry.SOURCES, experiment.stages[-1].data.name)
    config = module.other_data(experiment.stages[-1].data, place)
    source: LoadedSource = module.load(config)
    misfit = task.misfit(source.labels)
    if misfit:
        raise DataError(f"{path}: {misfit}.")
    # Two folders may have one name; the table of one must not take the place of the other's.
    digest = hashlib.sha256(str(place).encode()).hexdigest()[:6]
    name = f"data-{place.stem if place.is_file() else place.name}-{digest}"
    table, cache, unreadable = decode_source(source, name, config, console)
    table = table.with_columns(split=text_column(["test"] * len(table)))
    notes = [*source.notes]
    report_unreadable(unreadable, len(source.table), notes)
    report_groups(source, notes)
    # Variants of an image are no other images.
    stages = by_stage(read_samples(run.samples).originals())
    near = _near(cache, config, stages, experiment, console, notes)
    before = [earlier.originals() for earlier in samples_before(experiment, run)]
    found = find_leaks([*stages, table], before=before, near=[*({} for _ in stages), near])
    leaks = [leak for leak in found if leak.stage == name]
    if leaks:
        raise DataError(
            f"{path}: the run was trained on, or chosen by, some of these ({counted(len(leaks), 'leak')}):\n"
            f"{listing([str(leak) for leak in leaks])}\nTake these images out, or evaluate other data."
        )
    return OtherData(name, DecodedSamples.of(table, cache), notes)


def _near(
    cache: ImageCache,
    config: DataConfig,
    stages: list[SampleTable],
    experiment: Experiment,
    console: Console,
    notes: list[str],
) -> Near:
    """Finds which images look like those of the run."""
    if config.near_duplicate_distance is None or min(config.image_size) < FREQUENCIES:
        return {}
    try:
        own = [
            looks_of(open_images(table, stage.data, console))
            for table, stage in zip(stages, experiment.stages, strict=True)
        ]
    except DataError as error:
        notes.append(f"Near-duplicates of the run's images were not looked for: {error}")
        return {}
    return find_near(looks_of(cache).with_others(own), config.near_duplicate_distance)
