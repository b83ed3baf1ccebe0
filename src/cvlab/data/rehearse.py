"""The splits of several runs on the same samples, made and checked before the first of them trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cvlab.config import Experiment
from cvlab.console import Console
from cvlab.data.audit import find_leaks
from cvlab.data.checks import check_ids, check_leaks
from cvlab.data.findings import check_splits
from cvlab.data.near_duplicates import Looks
from cvlab.data.pool import Pool, read_pool, split_pool
from cvlab.data.samples import SampleTable
from cvlab.data.source import LoadedSource
from cvlab.errors import DataError


def split_for_all(
    experiments: Sequence[Experiment],
    sources: Sequence[LoadedSource],
    console: Console,
    *,
    before: Sequence[SampleTable] = (),
) -> list[list[SampleTable]]:
    """Reads and decodes the samples once, and splits them as each training will.

    Args:
        experiments: Settings that differ in nothing but how the samples are split.
        sources: What `load_sources` found for them.
        console: Where progress is shown.
        before: Tables of earlier runs whose weights these start from.

    Returns:
        For each experiment the samples of each stage, split, not expanded.

    Raises:
        DataError: What would stop one of the trainings.
    """
    looks: list[Looks] = []
    pools = [
        read_pool(source, stage, console, looks, None)
        for stage, source in zip(experiments[0].stages, sources, strict=True)
    ]
    return [_split(experiment, pools, before) for experiment in experiments]


def _split(experiment: Experiment, pools: Sequence[Pool], before: Sequence[SampleTable]) -> list[SampleTable]:
    tables = []
    for stage, pool in zip(experiment.stages, pools, strict=True):
        tables.append(split_pool(pool, stage.data.split, experiment.seed, []))
        with in_fold(experiment):
            check_splits(tables[-1], pool.source, [])
    check_ids(tables)
    leaks = find_leaks(tables, before=[table.originals() for table in before], near=[pool.near for pool in pools])
    with in_fold(experiment):
        check_leaks(leaks, {stage.name: stage.data for stage in experiment.stages})
    return tables


@contextmanager
def in_fold(experiment: Experiment) -> Iterator[None]:
    """Says of which fold an error speaks, where the experiment is one of a cross-validation."""
    split = experiment.stages[-1].data.split
    try:
        yield
    except DataError as error:
        if split.folds is None:
            raise
        raise DataError(f"fold {split.fold} of {split.folds}: {error}") from error
