"""What the parts of a repetition are, and what would stop one of them, found before the first one trains."""

from __future__ import annotations

from collections.abc import Sequence

from cvlab.config import Experiment
from cvlab.config_messages import shown
from cvlab.console import Console
from cvlab.data.rehearse import in_fold, split_for_all
from cvlab.data.samples import SampleTable
from cvlab.data.source import LoadedSource
from cvlab.errors import ConfigError, DataError, RunFolderError, listing
from cvlab.initial import build_tasks
from cvlab.models.network import find_weights
from cvlab.repetitions import LARGEST_SEED, Kind, Parent, Repetitions


def plan(base: Experiment, sources: Sequence[LoadedSource], kind: Kind, count: int) -> Repetitions:
    """Says what the parts are.

    Raises:
        CvlabError: The settings or the data leave nothing to repeat so.
    """
    if kind == "seeds":
        if base.seed + count - 1 > LARGEST_SEED:
            raise ConfigError([f"seed: expected at most {LARGEST_SEED - count + 1:,} with --seeds {count}."])
        return Repetitions("seeds", tuple(range(base.seed, base.seed + count)))
    if any(data.split.folds is not None for data in (base.data, *(stage.data for stage in base.stages))):
        raise ConfigError(
            [
                "data.split.folds: the configuration names one fold already, and --folds trains all; leave out "
                "`folds` and `fold` of data.split."
            ]
        )
    came_split = [bool(source.table.split[0]) for source in sources]
    if came_split[-1]:
        found = ", ".join(dict.fromkeys(sources[-1].table.split))
        raise DataError(
            f"--folds: the data are split already ({found}), so that there is nothing to divide into folds; "
            f"{sources[-1].to_merge}. To repeat training on the split as it is: --seeds {count}."
        )
    folded = tuple(stage.name for stage, split in zip(base.stages, came_split, strict=True) if not split)
    return Repetitions("folds", tuple(range(1, count + 1)), folded)


def rehearse(
    base: Experiment,
    repetitions: Repetitions,
    sources: Sequence[LoadedSource],
    console: Console,
    *,
    before: Sequence[SampleTable],
) -> list[list[SampleTable]]:
    """Finds what would stop a part before the first one trains; returns the samples of each part, split."""
    tasks = build_tasks(base, [source.labels for source in sources])
    find_weights(base.model, image_size=base.data.image_size)
    experiments = [repetitions.experiment_of(base, part) for part in repetitions.parts]
    # With other seeds the split is the same.
    several = experiments if repetitions.kind == "folds" else experiments[:1]
    tables = split_for_all(several, sources, console, before=before)
    for experiment, of_part in zip(several, tables, strict=True):
        with in_fold(experiment):
            tasks[-1].check_evaluation(base.evaluate, of_part[-1])
    return tables if repetitions.kind == "folds" else tables * len(experiments)


def describe(
    base: Experiment, repetitions: Repetitions, tables: Sequence[Sequence[SampleTable]], console: Console
) -> None:
    """Says what will be trained; `tables` are those of `rehearse`."""
    say, count = console.say, len(repetitions.numbers)
    if repetitions.kind == "seeds":
        say(
            f"--seeds {count}: {repetitions.numbers[0]} to {repetitions.numbers[-1]}; the split stays that of seed "
            f"{base.seed} (data.split.seed), so that what varies is training."
        )
        return
    sizes = ", ".join(f"{len(of_part[-1].of_split('test')):,}" for of_part in tables)
    say(f"--folds {count}: each of {len(tables[0][-1]):,} images is tested once, in folds of {sizes}.")
    train, val = (len(tables[0][-1].of_split(split)) for split in ("train", "val"))
    say(
        f"Beside the first fold, {train:,} images train and {val:,} validate, shared as the configuration's split says."
    )
    for stage in base.stages:
        if stage.name not in repetitions.folded:
            say(f"Stage '{stage.name}': the data are split already and stay so in every fold.")


def check_settings(parent: Parent, base: Experiment) -> None:
    """Refuses to go on where parts would differ in more than what is repeated.

    Raises:
        RunFolderError: They would; the message says in what.
    """
    changed = [
        f"{part}: {key}: {shown(old)} in {parent.folder.config.name}, {shown(new)} in the part's own"
        for part, key, old, new in parent.changed(base)
    ]
    if changed:
        raise RunFolderError(
            f"{parent.path}: cannot go on with other settings than those of the parts that there are:\n"
            f"{listing(changed)}\nPut the settings back as they were, or start anew."
        )
