"""A look at data that takes seconds: the tables whole, and of many files only some are read.

Small data sets are read and audited whole, as a training does it. Of large ones, the split is that of a training as far
as it can be known unread: identical files and near-duplicates, which a split keeps together, are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cvlab.config import Experiment, StageConfig
from cvlab.console import Console
from cvlab.data.audit import Leak, find_leaks
from cvlab.data.cache import IMAGES, MASKS, is_built, needed_bytes
from cvlab.data.checks import check_leaks, noted_in
from cvlab.data.decoded import DecodedSamples, cache_dir
from cvlab.data.findings import check_splits, strata
from cvlab.data.fingerprint import remembered_hashes
from cvlab.data.image_facts import read_facts
from cvlab.data.pool import decode_source, split_table
from cvlab.data.prepare import PreparedData, StageData, audit, for_training
from cvlab.data.samples import CLASS, MASK, SampleTable, text_column
from cvlab.data.source import LoadedSource
from cvlab.data.stage_audit import audit_stage
from cvlab.errors import CvlabError

# How many files are read, and how many of them for validation and for test; a batch and every class are always there.
FILES, HELD_OUT = 200, {"val": 32, "test": 16}
OF_EACH_CLASS = 2


@dataclass(frozen=True)
class Glance:
    """What a look at the data of all stages found.

    Attributes:
        tables: The samples of each stage, split, not expanded.
        data: What was read, ready for a training; None where something stops one.
        read: How many samples of each stage were read.
        warnings: What may spoil the results.
    """

    tables: list[SampleTable]
    data: PreparedData | None
    read: list[int]
    warnings: list[str]

    @property
    def is_whole(self) -> bool:
        """Whether everything was read."""
        return self.read == [len(table) for table in self.tables]


def look_at(
    experiment: Experiment,
    sources: Sequence[LoadedSource],
    console: Console,
    stops: list[str],
    *,
    before: Sequence[SampleTable] = (),
) -> Glance:
    """Looks at the data of all stages, and notes in `stops` what would stop a training.

    Args:
        experiment: The settings; what is decoded goes to the folder for caches that they name.
        sources: What `load_sources` found.
        console: Where progress is shown.
        stops: Gets the messages.
        before: Tables of earlier runs whose weights this run starts from.
    """
    pairs = [*zip(sources, experiment.stages, strict=True)]
    if all(len(source.table) <= _most(source, stage) for source, stage in pairs):
        return _look_at_all(experiment, sources, console, stops, before)
    known, warnings = len(stops), list[str]()
    tables = [_split_unread(source, stage, experiment.seed, stops, warnings) for source, stage in pairs]
    with noted_in(stops):
        check_leaks(_leaks(tables, before), {stage.name: stage.data for stage in experiment.stages})
    read, found = [], []
    for table, (source, stage) in zip(tables, pairs, strict=True):
        part = _part(table, source, stage)
        read.append(len(part))
        found += _read(part, source, stage, console, stops)
    warnings += [warning for prepared in found for warning in prepared.audit.warnings]
    data = for_training(PreparedData(found, []), experiment) if len(stops) == known else None
    return Glance(tables, data, read, warnings)


def _look_at_all(
    experiment: Experiment,
    sources: Sequence[LoadedSource],
    console: Console,
    stops: list[str],
    before: Sequence[SampleTable],
) -> Glance:
    known = len(stops)
    try:
        data = audit(experiment, sources, console, stops, before=before)
    except CvlabError as error:  # Nothing is left that could be looked at.
        stops.append(str(error))
        tables = [source.table for source in sources]
        return Glance(tables, None, [*map(len, tables)], [])
    tables = [stage.samples.table for stage in data.stages]
    warnings = [warning for stage in data.stages for warning in stage.warnings]
    whole = for_training(data, experiment) if len(stops) == known else None
    return Glance(tables, whole, [*map(len, tables)], warnings)


def _most(source: LoadedSource, stage: StageConfig) -> int:
    """How many samples are read."""
    return max(FILES, stage.batch_size + sum(HELD_OUT.values()), OF_EACH_CLASS * len(source.labels.class_names))


def _split_unread(
    source: LoadedSource, stage: StageConfig, seed: int, stops: list[str], warnings: list[str]
) -> SampleTable:
    """Splits the samples of a stage without reading them; what a mask shows is then unknown."""
    table = source.table.with_columns(stage=text_column([stage.name] * len(source.table)))
    if table.has_masks:
        table = table.with_targets(**{CLASS: text_column([source.labels.masks[0]] * len(table))})
    with noted_in(stops):
        table = split_table(table, source, stage.data.split, seed, [], near={})
        check_splits(table, source, warnings)
    return table


def _leaks(tables: Sequence[SampleTable], before: Sequence[SampleTable]) -> list[Leak]:
    # Contents are not known here, so that those of the earlier run would look like other files of the same id.
    earlier = [table.originals().with_columns(content=text_column([""] * len(table.originals()))) for table in before]
    return find_leaks([table for table in tables if table.split[0]], before=earlier)


def _part(table: SampleTable, source: LoadedSource, stage: StageConfig) -> SampleTable:
    """Chooses the samples to read: classes in turn, in a fixed random order."""
    most = _most(source, stage)
    if not table.split[0]:
        return table.take(_in_turn(table, source)[:most])
    chosen = [
        np.flatnonzero(table.split == split)[_in_turn(table.of_split(split), source)][:count]
        for split, count in HELD_OUT.items()
    ]
    left = most - sum(map(len, chosen))
    training = np.flatnonzero(table.split == "train")[_in_turn(table.of_split("train"), source)][:left]
    return table.take(np.sort(np.concatenate([training, *chosen])))


def _in_turn(table: SampleTable, source: LoadedSource) -> np.ndarray:
    """The rows in random order, so that every few of them hold all classes."""
    order = np.random.default_rng(0).permutation(len(table))
    column = strata(table, source)[order]
    turn = np.zeros(len(table), dtype=np.int64)
    for name in np.unique(column):
        rows = np.flatnonzero(column == name)
        turn[rows] = np.arange(len(rows))
    return order[np.argsort(turn, kind="stable")]


def _read(
    part: SampleTable, source: LoadedSource, stage: StageConfig, console: Console, stops: list[str]
) -> list[StageData]:
    """Reads and decodes the chosen samples, and audits them; nothing where none can be used."""
    try:
        table, cache, bad = decode_source(replace(source, table=part), stage.name, stage.data, console, stops=stops)
    except CvlabError as error:
        stops.append(str(error))
        return []
    paths = [Path(path) for path in table.path]
    facts = read_facts(paths, table.content.tolist(), cache_dir=cache_dir(stage.data), console=console)
    found = audit_stage(table, facts, source, stage.data, looks=None, near={}, unreadable=bad)
    return [StageData(DecodedSamples.of(table, cache), source, found)]


def undecoded_bytes(source: LoadedSource, stage: StageConfig) -> int:
    """Returns how much room the decoded images (and masks) of a stage still need; 0 if they are there."""
    table, config = source.table, stage.data
    needed = 0
    for kind, files in ((IMAGES, table.path), (MASKS, table.mask)):
        if kind is MASKS and not table.has_masks:
            continue
        hashes = remembered_hashes([Path(path) for path in files], cache_dir=cache_dir(config))
        if hashes is not None:
            known = table.with_columns(content=text_column(hashes)).with_targets(**{MASK: text_column(hashes)})
            pixels = known.pixels if kind is IMAGES else known.mask_pixels
            if is_built(pixels, image_size=config.image_size, cache_dir=cache_dir(config), kind=kind):
                continue
        needed += needed_bytes(len({*zip(files, table.box, strict=True)}), config.image_size, kind)
    return needed
