"""From settings to checked, decoded, split samples: one `StageData` a stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cvlab import registry
from cvlab.config import DataConfig, Experiment, SplitConfig
from cvlab.console import Console
from cvlab.data.audit import Leak, find_leaks
from cvlab.data.decoded import DecodedSamples, cache_dir, open_images, unreadable
from cvlab.data.fingerprint import content_hashes
from cvlab.data.samples import SPLITS, SampleTable, text_column
from cvlab.data.source import LoadedSource
from cvlab.data.split import split_samples
from cvlab.errors import DataError, counted, listing

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
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the outputs."""
        return self.stages[0].source.class_names

    @property
    def synthetic(self) -> bool:
        """Whether any stage uses drawn sample data."""
        return any(stage.source.synthetic for stage in self.stages)


def prepare(experiment: Experiment, console: Console, *, before: Sequence[SampleTable] = ()) -> PreparedData:
    """Lists, splits, checks and decodes the data of every stage.

    Args:
        experiment: The settings.
        console: Where progress is shown.
        before: Tables of earlier runs whose weights this run starts from.

    Raises:
        DataError: The data cannot be used, or the gate found a leak and `allow_leakage` is not set.
    """
    stages: list[StageData] = []
    tables: list[SampleTable] = []
    configs = [stage.data for stage in experiment.stages]
    sources: list[LoadedSource] = []
    for stage in experiment.stages:
        source = registry.load(registry.SOURCES, stage.data.name).load(stage.data)
        sources.append(source)
        tables.append(_split(source, stage.name, stage.data, experiment.seed, console))
    _same_classes(experiment, sources)
    leaks = find_leaks(tables, before=before)
    _gate(leaks, configs)
    for table, source, config in zip(tables, sources, configs, strict=True):
        stages.append(_decode(table, source, config, console))
    return PreparedData(stages, leaks)


def _split(source: LoadedSource, stage: str, config: DataConfig, seed: int, console: Console) -> SampleTable:
    table = source.table
    hashes = content_hashes([Path(path) for path in table.path], cache_dir=cache_dir(config), console=console)
    table = table.with_columns(content=text_column(hashes), stage=text_column([stage] * len(table)))
    already_split = bool(table.split[0])
    if not already_split:
        return split_samples(table, _fractions(config.split), strata=source.strata, seed=seed)
    return _complete_split(table, config.split, source, seed)


def _fractions(split: SplitConfig) -> dict[str, float]:
    if split.train is None and split.test is None:
        if split.val is None:
            return DEFAULT_FRACTIONS
        return {"train": 1 - split.val, "val": split.val, "test": 0.0}
    return {"train": split.train or 0.0, "val": split.val or 0.0, "test": split.test or 0.0}


def _complete_split(table: SampleTable, split: SplitConfig, source: LoadedSource, seed: int) -> SampleTable:
    """Takes split folders as they are; cuts validation off the training folder where there is none."""
    if split.train is not None or split.test is not None:
        raise DataError(
            "data.split: the folders are split already (train, val, test), so fractions mean nothing here. Remove "
            "`train` and `test` from data.split, or merge the folders and split anew: root: [DIR/train, DIR/test]."
        )
    has_val = bool((table.split == "val").any())
    if has_val and split.val is not None:
        raise DataError("data.split.val: there is a validation folder already; remove `val` from data.split.")
    if has_val:
        return table
    if split.val is None:
        raise DataError(
            "data.root: there is no validation folder (val). Add one, or cut a share off the training folder with "
            "`data.split.val=0.1`, or merge the folders and split anew: root: [DIR/train, DIR/test]."
        )
    training = table.split == "train"
    cut = split_samples(
        table.take(training), {"train": 1 - split.val, "val": split.val}, strata=source.strata, seed=seed
    )
    column = table.split.copy()
    column[training] = cut.split
    return table.with_columns(split=column)


def _same_classes(experiment: Experiment, sources: Sequence[LoadedSource]) -> None:
    first = sources[0].class_names
    for stage, source in zip(experiment.stages, sources, strict=True):
        if source.class_names != first:
            raise DataError(
                f"stages: stage '{stage.name}' has the classes {', '.join(source.class_names)}, but the first stage "
                f"has {', '.join(first)}. Expected the same classes in the same order."
            )


def _gate(leaks: Sequence[Leak], configs: Sequence[DataConfig]) -> None:
    if not leaks or all(config.allow_leakage for config in configs):
        return
    raise DataError(
        f"The gate stops this run: {counted(len(leaks), 'leak')} between splits or stages, which would make the "
        f"results look better than they are:\n{listing([str(leak) for leak in leaks])}\n"
        "Split by person or patient (`data.split.group_pattern`), merge the folders and split anew, or remove the "
        "files. To go on all the same: `data.allow_leakage=true`; the report then says so."
    )


def _decode(table: SampleTable, source: LoadedSource, config: DataConfig, console: Console) -> StageData:
    cache = open_images(table, config, console)
    notes, warnings = list(source.notes), []
    table = _drop_unreadable(table, unreadable(table, cache), config, warnings)
    _check_splits(table, source, warnings)
    if source.unmatched_groups:
        share = source.unmatched_groups / len(source.table)
        notes.append(
            f"{source.unmatched_groups:,} of {len(source.table):,} file names ({share:.0%}) do not fit "
            "data.split.group_pattern; each of them is taken as a group of its own."
        )
    low = [path for path, content in zip(table.path, table.content, strict=True) if content in cache.low_range]
    if low:
        warnings.append(
            f"{counted(len(low), '16-bit image')} use less than an eighth of the full range and become very dark or "
            f"flat (first: {low[0]})."
        )
    samples = DecodedSamples(table, cache.images, cache.rows(list(table.content)))
    return StageData(samples, source, notes, warnings)


def _drop_unreadable(table: SampleTable, bad: dict[int, str], config: DataConfig, warnings: list[str]) -> SampleTable:
    if not bad:
        return table
    what = f"{counted(len(bad), 'file')} cannot be read as an image"
    if config.on_unreadable == "error":
        raise DataError(
            f"{what}:\n{listing(list(bad.values()))}\n"
            "Repair or remove them, or leave them out with `data.on_unreadable=skip`."
        )
    warnings.append(f"{what} and left out (data.on_unreadable: skip): {'; '.join([*bad.values()][:5])}")
    return table.take(np.array([i not in bad for i in range(len(table))]))


def _check_splits(table: SampleTable, source: LoadedSource, warnings: list[str]) -> None:
    """Every class must be trained on; a class that validation or test lacks is named."""
    counts = table.counts(source.strata)
    for split in SPLITS:
        lacking = [name for name in source.class_names if not counts.get(split, {}).get(name)]
        if split == "train" and lacking:
            raise DataError(f"The training split has no image of {', '.join(lacking)}. Add images or change the split.")
        if split == "val" and len(lacking) == len(source.class_names):
            raise DataError("The validation split is empty; it chooses the best weights. Change data.split.")
        if lacking and len(lacking) < len(source.class_names):
            warnings.append(f"Split '{split}' has no image of {', '.join(lacking)}; their metrics are undefined there.")


def data_json(data: PreparedData, summaries: Sequence[Any], *, allow_leakage: bool) -> dict[str, Any]:
    """Returns what `data.json` of a run holds."""
    return {
        "class_names": list(data.class_names),
        "synthetic": data.synthetic,
        "allow_leakage": allow_leakage,
        "leaks": [str(leak) for leak in data.leaks],
        "stages": [
            {
                "stage": stage.samples.table.stage[0],
                "counts": summary,
                "images": len(stage.samples.table),
                "groups": len(set(stage.samples.table.group)),
                "unmatched_groups": stage.source.unmatched_groups,
                "fingerprint": stage.samples.table.fingerprint(),
                "notes": stage.notes,
                "warnings": stage.warnings,
            }
            for stage, summary in zip(data.stages, summaries, strict=True)
        ],
    }
