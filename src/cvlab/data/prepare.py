"""From settings to checked, decoded, split samples: one `StageData` a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cvlab import registry
from cvlab.config import DataConfig, Experiment, SplitConfig
from cvlab.console import Console
from cvlab.data.audit import Leak, find_collisions, find_leaks
from cvlab.data.augment_bias import find_bias
from cvlab.data.cache import ImageCache
from cvlab.data.decoded import DecodedSamples, cache_dir, open_images, unreadable
from cvlab.data.findings import check_splits, far_from_wanted, report_copies, report_groups, strata
from cvlab.data.fingerprint import content_hashes
from cvlab.data.samples import SampleTable, text_column
from cvlab.data.source import LoadedSource
from cvlab.data.split import split_samples
from cvlab.errors import DataError, counted, listing
from cvlab.text import printable

DEFAULT_FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}


@dataclass(frozen=True)
class StageData:
    """The data of one stage, and what the user should know about it."""

    samples: DecodedSamples
    source: LoadedSource
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PreparedData:
    """The data of all stages, and what crosses borders that it should not cross."""

    stages: list[StageData]
    leaks: list[Leak]

    @property
    def synthetic(self) -> bool:
        """Whether any stage uses drawn sample data."""
        return any(stage.source.synthetic for stage in self.stages)


def load_sources(experiment: Experiment) -> list[LoadedSource]:
    """Lists the samples of every stage; no image is opened.

    Raises:
        DataError: The data cannot be used.
    """
    sources: list[LoadedSource] = []
    for stage in experiment.stages:
        sources.append(registry.load(registry.SOURCES, stage.data.name).load(stage.data))
        _check_groups(sources[-1], stage.data)
    return sources


def prepare(
    experiment: Experiment, sources: Sequence[LoadedSource], console: Console, *, before: Sequence[SampleTable] = ()
) -> PreparedData:
    """Decodes, splits and checks the data of every stage.

    Args:
        experiment: The settings.
        sources: What `load_sources` found.
        console: Where progress is shown.
        before: Tables of earlier runs whose weights this run starts from.

    Raises:
        DataError: The data cannot be used, or the gate found a leak and `allow_leakage` is not set.
    """
    stages = [
        _prepare_stage(source, stage.name, stage.data, experiment.seed, console)
        for stage, source in zip(experiment.stages, sources, strict=True)
    ]
    for stage, prepared in zip(experiment.stages, stages, strict=True):
        prepared.warnings.extend(find_bias(stage.augment, image_size=stage.data.image_size))
    tables = [stage.samples.table for stage in stages]
    _check_ids(tables)
    leaks = find_leaks(tables, before=before)
    _gate(leaks, {stage.name: stage.data for stage in experiment.stages})
    return PreparedData(stages, leaks)


def _check_groups(source: LoadedSource, config: DataConfig) -> None:
    if source.unmatched_groups == len(source.table):
        raise DataError(
            f"data.split.group_pattern: '{config.split.group_pattern}' fits none of {len(source.table):,} file names "
            f"(the first is {source.table.sample_id[0]}), so that nothing would be grouped. It is searched in the "
            "name without its ending; correct it, or set it to null."
        )


def _prepare_stage(source: LoadedSource, stage: str, config: DataConfig, seed: int, console: Console) -> StageData:
    """Reads, decodes and splits the samples of a stage.

    Files that are no images go before the split: broken downloads are often identical, and would tie the groups
    that they stand in together.
    """
    notes = list(source.notes)
    warnings: list[str] = []
    table, cache = decode_source(source, stage, config, console, warnings)
    if table.split[0]:
        table = _complete_split(table, config.split, source, seed)
    else:
        fractions = _fractions(config.split)
        table = split_samples(table, fractions, strata=source.strata, seed=seed)
        notes += far_from_wanted(table, fractions, source)
    check_splits(table, source, warnings)
    report_groups(source, notes)
    report_copies(table, notes, warnings)
    low = [path for path, pixels in zip(table.path, table.pixels, strict=True) if pixels in cache.low_range]
    if low:
        warnings.append(
            f"{counted(len(low), '16-bit image')} use less than an eighth of the full range and become very dark or "
            f"flat (first: {printable(low[0])})."
        )
    samples = DecodedSamples(table, cache.images, cache.rows(table.pixels))
    return StageData(samples, source, notes, warnings)


def decode_source(
    source: LoadedSource, stage: str, config: DataConfig, console: Console, warnings: list[str]
) -> tuple[SampleTable, ImageCache]:
    """Reads and decodes the samples of a source; what cannot be read is refused or left out, as `config` says.

    Returns:
        The samples with their contents, and the decoded images.
    """
    table = source.table
    hashes = content_hashes([Path(path) for path in table.path], cache_dir=cache_dir(config), console=console)
    table = table.with_columns(content=text_column(hashes), stage=text_column([stage] * len(table)))
    cache = open_images(table, config, console)
    bad = unreadable(table, cache, places=source.places)
    return _drop_unreadable(table, bad, source, config, warnings), cache


def _fractions(split: SplitConfig) -> dict[str, float]:
    if split.train is None and split.test is None:
        if split.val is None:
            return DEFAULT_FRACTIONS
        return {"train": 1 - split.val, "val": split.val, "test": 0.0}
    return {"train": split.train or 0.0, "val": split.val or 0.0, "test": split.test or 0.0}


def _complete_split(table: SampleTable, split: SplitConfig, source: LoadedSource, seed: int) -> SampleTable:
    """Takes a split as it is; cuts validation off the training samples where there is none."""
    if split.train is not None or split.test is not None:
        raise DataError(
            "data.split: the data are split already (train, val, test), so fractions mean nothing here. Remove "
            f"`train` and `test` from data.split, or {source.to_merge}."
        )
    if not (table.split == "train").any():
        found = ", ".join(dict.fromkeys(table.split))
        raise DataError(f"data: expected training samples (train), found only {found}; {source.to_merge}.")
    has_val = bool((table.split == "val").any())
    if has_val and split.val is not None:
        raise DataError("data.split.val: there are validation samples already; remove `val` from data.split.")
    if has_val:
        return table
    if split.val is None:
        raise DataError(
            "data: there are no validation samples (val). Add some, or cut a share off the training samples with "
            f"`data.split.val=0.1`, or {source.to_merge}."
        )
    training = table.split == "train"
    cut = split_samples(
        table.take(training), {"train": 1 - split.val, "val": split.val}, strata=source.strata, seed=seed
    )
    column = table.split.copy()
    column[training] = cut.split
    return table.with_columns(split=column)


def _check_ids(tables: Sequence[SampleTable]) -> None:
    collisions = find_collisions(tables)
    if collisions:
        raise DataError(
            f"{counted(len(collisions), 'id')} of samples stand for different files in different stages; an id is "
            "<root name>/<path below the root>. Rename one of the folders, or name it by a link (ln -s) of another "
            f"name:\n{listing(collisions)}"
        )


def _gate(leaks: Sequence[Leak], configs: Mapping[str, DataConfig]) -> None:
    """A leak may pass only where the stage whose results it spoils allows it."""
    stopped = [leak for leak in leaks if not configs[leak.stage].allow_leakage]
    if not stopped:
        return
    raise DataError(
        f"The gate stops this run: {counted(len(stopped), 'leak')} between splits or stages, which would make the "
        f"results look better than they are:\n{listing([str(leak) for leak in stopped])}\n"
        "Split by person or patient (`data.split.group_pattern`), merge what is split and split anew, or remove the "
        "files; stages and runs that follow each other are split alike if their `data` and `seed` are the same. To go "
        "on all the same: `data.allow_leakage=true`; the report then says so."
    )


def _drop_unreadable(
    table: SampleTable, bad: dict[int, str], source: LoadedSource, config: DataConfig, warnings: list[str]
) -> SampleTable:
    if not bad:
        return table
    what = f"{counted(len(bad), 'image')} of {len(table):,} cannot be used"
    if config.on_unreadable == "error":
        raise DataError(
            f"{what}:\n{listing(list(bad.values()))}\n"
            "Repair or remove them, or leave them out with `data.on_unreadable=skip`."
        )
    more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
    warnings.append(f"{what} and left out (data.on_unreadable: skip): {'; '.join([*bad.values()][:5])}{more}")
    left = table.take(np.array([i not in bad for i in range(len(table))]))
    empty = sorted(set(strata(table, source)) - set(strata(left, source)))
    if empty:
        raise DataError(f"{what}; none is left of {', '.join(empty)}:\n{listing(list(bad.values()))}")
    return left


def data_json(data: PreparedData, tasks: Sequence[Mapping[str, Any]], *, allow_leakage: bool) -> dict[str, Any]:
    """Returns what `data.json` of a run holds; `tasks` says what the task of each stage adds."""
    return {
        "synthetic": data.synthetic,
        "allow_leakage": allow_leakage,
        "leaks": [str(leak) for leak in data.leaks],
        "stages": [
            {
                "stage": stage.samples.table.stage[0],
                "class_names": list(stage.source.labels.class_names),
                "numbers": list(stage.source.labels.numbers),
                **task,
                "images": len(stage.samples.table),
                "groups": len(set(stage.samples.table.group)),
                "unmatched_groups": stage.source.unmatched_groups,
                "fingerprint": stage.samples.table.fingerprint(),
                "notes": stage.notes,
                "warnings": stage.warnings,
            }
            for stage, task in zip(data.stages, tasks, strict=True)
        ],
    }
