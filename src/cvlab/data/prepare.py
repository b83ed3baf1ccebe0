"""From settings to checked, decoded, split samples: one `StageData` a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cvlab import registry
from cvlab.config import DataConfig, Experiment
from cvlab.console import Console
from cvlab.data.audit import Leak, PartedPatients, find_leaks, find_parted
from cvlab.data.augment_bias import find_bias
from cvlab.data.checks import check_groups, check_ids, check_leaks, noted_in
from cvlab.data.decoded import DecodedSamples, cache_dir
from cvlab.data.expansion import describe_expansion
from cvlab.data.findings import (
    check_splits,
    report_copies,
    report_groups,
    report_inverted,
    report_lost,
    report_low_range,
    report_unreadable,
)
from cvlab.data.image_facts import read_facts
from cvlab.data.near_duplicates import Looks, Near
from cvlab.data.pool import Pool, read_pool, split_pool
from cvlab.data.samples import SampleTable
from cvlab.data.sampling import check_classes, class_draws, describe_draws
from cvlab.data.source import LoadedSource
from cvlab.data.stage_audit import StageAudit, audit_stage


@dataclass(frozen=True)
class StageData:
    """The data of one stage, and what the user should know about it.

    Attributes:
        samples: The samples, expanded.
        source: What the source found.
        audit: What was found in the files.
        notes: What may interest.
        warnings: What may spoil the results.
        near: The near-duplicates of each image, in this stage and those before.
        draws: Training samples of each class, and how many of them an epoch draws; empty without classes.
    """

    samples: DecodedSamples
    source: LoadedSource
    audit: StageAudit
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    near: Near = field(default_factory=dict)
    draws: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class PreparedData:
    """The data of all stages, and what crosses borders that it should not cross."""

    stages: list[StageData]
    leaks: list[Leak | PartedPatients]

    @property
    def synthetic(self) -> bool:
        """Whether any stage uses drawn sample data."""
        return any(stage.source.synthetic for stage in self.stages)


def load_sources(experiment: Experiment, *, stops: list[str] | None = None) -> list[LoadedSource]:
    """Lists the samples of every stage; no image is opened. What is wrong is raised, or noted in `stops`.

    Raises:
        DataError: The data cannot be used.
    """
    sources: list[LoadedSource] = []
    for stage in experiment.stages:
        sources.append(registry.load(registry.SOURCES, stage.data.name).load(stage.data))
        with noted_in(stops):
            check_groups(sources[-1], stage.data)
            check_classes(sources[-1].labels, stage.data.sampling)
    return sources


def prepare(
    experiment: Experiment, sources: Sequence[LoadedSource], console: Console, *, before: Sequence[SampleTable] = ()
) -> PreparedData:
    """Decodes, splits, audits and checks the data of every stage.

    Args:
        experiment: The settings.
        sources: What `load_sources` found.
        console: Where progress is shown.
        before: Tables of earlier runs whose weights this run starts from.

    Raises:
        DataError: The data cannot be used, or the gate found a leak and `allow_leakage` is not set.
    """
    data = _gather(experiment, sources, console, before, stops=None)
    configs = [stage.data for stage in experiment.stages]
    return PreparedData([_for_training(*pair) for pair in zip(data.stages, configs, strict=True)], data.leaks)


def audit(
    experiment: Experiment,
    sources: Sequence[LoadedSource],
    console: Console,
    stops: list[str],
    *,
    before: Sequence[SampleTable] = (),
) -> PreparedData:
    """Does what `prepare` does, but notes in `stops` what would stop a training. Samples are not expanded.

    Returns:
        The data, without a split where none is possible.

    Raises:
        DataError: There is nothing to audit: no image that can be read.
    """
    data = _gather(experiment, sources, console, before, stops=stops)
    if not stops:
        with noted_in(stops):
            for prepared, stage in zip(data.stages, experiment.stages, strict=True):
                _for_training(prepared, stage.data)
    return data


def _gather(
    experiment: Experiment,
    sources: Sequence[LoadedSource],
    console: Console,
    before: Sequence[SampleTable],
    *,
    stops: list[str] | None,
) -> PreparedData:
    """Prepares the data of all stages, not yet expanded. What is wrong is raised, or noted in `stops`."""
    stages: list[StageData] = []
    looks: list[Looks] = []
    for stage, source in zip(experiment.stages, sources, strict=True):
        pool = read_pool(source, stage, console, looks, stops)
        stages.append(_split_and_audit(pool, stage.data, experiment.seed, console, stops))
        stages[-1].warnings.extend(find_bias(stage.augment, image_size=stage.data.image_size))
    tables = [stage.samples.table for stage in stages]
    with noted_in(stops):
        check_ids(tables)
    near = [stage.near for stage in stages]
    leaks = find_leaks(tables, before=[table.originals() for table in before], near=near)
    with noted_in(stops):
        check_leaks(leaks, {stage.name: stage.data for stage in experiment.stages})
    return PreparedData(stages, [*_parted(stages), *leaks])


def _parted(stages: Sequence[StageData]) -> list[PartedPatients]:
    """Finds patients who stand in several splits because the settings ask for it, and warns of them."""
    found = []
    for stage in stages:
        parted = find_parted(stage.samples.table, stage.source.patients)
        if parted is not None:
            found.append(parted)
            stage.warnings.insert(0, f"LEAKAGE: {parted}.")
    return found


def _split_and_audit(pool: Pool, config: DataConfig, seed: int, console: Console, stops: list[str] | None) -> StageData:
    source, table, notes = pool.source, pool.table, [*pool.source.notes]
    warnings: list[str] = []
    if config.on_unreadable == "skip":
        report_unreadable(pool.unreadable, len(source.table), warnings)
    with noted_in(stops):
        table = split_pool(pool, config.split, seed, notes)
        check_splits(table, source, warnings)
    report_groups(source, notes)
    report_copies(table, notes, warnings)
    report_low_range(table, pool.cache.flagged, warnings)
    if pool.cache.masks is not None:
        report_lost(table, pool.cache.masks.flagged, warnings)
        report_inverted(table, pool.cache.masks, warnings)
    facts = read_facts(
        [Path(path) for path in table.path], table.content.tolist(), cache_dir=cache_dir(config), console=console
    )
    found = audit_stage(table, facts, source, config, looks=pool.looks, near=pool.near, unreadable=pool.unreadable)
    samples = DecodedSamples.of(table, pool.cache)
    return StageData(samples, source, found, [*notes, *found.notes], [*warnings, *found.warnings], near=pool.near)


def _for_training(stage: StageData, config: DataConfig) -> StageData:
    """Expands the training split, and says what an epoch draws of it. After the gate, so that a leak counts once."""
    samples = stage.samples.expanded(config.expand)
    training = samples.table.of_split("train")
    notes = [*stage.notes, *describe_expansion(training, config.expand)]
    draws = class_draws(training, stage.source.labels.class_names, config.sampling)
    if config.sampling != "natural":
        notes.append(describe_draws(draws, config.sampling))
    return replace(stage, samples=samples, notes=notes, draws=draws)


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
                "masks": list(stage.source.labels.masks),
                **task,
                "images": len(stage.samples.table.originals()),
                "groups": len(set(stage.samples.table.group)),
                "group_name": stage.source.group_name,
                "unmatched_groups": stage.source.unmatched_groups,
                "draws": {name: {"samples": n, "drawn": drawn} for name, (n, drawn) in stage.draws.items()},
                "fingerprint": stage.samples.table.fingerprint(),
                "notes": stage.notes,
                "warnings": stage.warnings,
                "audit": stage.audit.json(),
            }
            for stage, task in zip(data.stages, tasks, strict=True)
        ],
    }
