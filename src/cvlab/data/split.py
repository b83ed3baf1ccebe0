"""Splits: stratified by class, whole groups only, a function of the seed and of nothing else."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from cvlab.config_split import Rounding
from cvlab.data.placement import Floats, Indices, Placement
from cvlab.data.samples import SPLITS, SampleTable, text_column
from cvlab.errors import DataError, counted, listing

ALL = "all images"


def split_samples(
    table: SampleTable,
    fractions: Mapping[str, float],
    *,
    strata: str | None,
    seed: int,
    near: Mapping[str, Collection[str]] | None = None,
    rounding: Rounding = "down",
) -> SampleTable:
    """Fills the `split` column; the rows come back sorted by id.

    Samples of one group, files of identical content, and near-duplicates stay together. Each class of n samples is
    to give `int(n * train)`, `int(n * val)` and the rest (each at least one), or the nearest whole numbers and the
    rest. Where every sample stands alone, that is exactly what it gives; otherwise groups are moved and exchanged
    until the sum of the squared deviations of the classes' shares falls no further: best effort, since a group is
    never cut. Every class stands in every split. With a handful of groups there is little choice, and other seeds may
    give the same split.

    Args:
        table: The samples, unsplit.
        fractions: `{split: share}`; the shares sum to 1.
        strata: The target column that holds the class; None where samples have no class: they are then as of one.
        seed: Decides which samples go where.
        near: The near-duplicates of each image (`near_duplicates.find_near`), if they were looked for.
        rounding: How `n * share` becomes a whole number: cut, or rounded (a half upwards).

    Raises:
        DataError: A class has too few groups to stand in every split, or no way was found to place them so.
    """
    wanted = {split: fractions[split] for split in SPLITS if fractions.get(split, 0) > 0}
    table = table.sorted()
    names, counts, blocks = blocks_by_class(table, strata=strata, near=near)
    _check_sizes(names, counts, list(wanted))
    goal = np.array([_sizes(int(count), wanted, rounding) for count in counts.sum(axis=0)], dtype=np.float64).T
    placement = Placement(counts, goal, np.random.default_rng([seed, 0x5917]))
    missing = placement.search()
    if missing:
        cells = [f"'{names[label]}' in {list(wanted)[split]}" for split, label in missing]
        raise DataError(
            "data.split: no way was found to place whole groups so that every class stands in every split; even the "
            f"best one lacks:\n{listing(cells)}\nAdd images of other groups, leave a class out with `data.classes`, "
            "or set the fraction of a split to 0."
        )
    return table.with_columns(split=text_column(list(wanted))[placement.home[blocks]])


def blocks_by_class(
    table: SampleTable, *, strata: str | None, near: Mapping[str, Collection[str]] | None
) -> tuple[list[str], Floats, Indices]:
    """Returns the classes, the samples of each block and class, and the block of each sample (`find_blocks`)."""
    classes = np.full(len(table), ALL) if strata is None else table.targets[strata]
    names, labels = np.unique(classes, return_inverse=True)
    blocks = find_blocks(table, near)
    counts = np.zeros((blocks.max(initial=-1) + 1, len(names)))
    np.add.at(counts, (blocks, labels), 1)
    return names.tolist(), counts, blocks


def find_blocks(table: SampleTable, near: Mapping[str, Collection[str]] | None = None) -> Indices:
    """Numbers, from 0, the sets of samples that must not be parted: int64 of shape (len(table),).

    A set shares a group, the content of a file, or a look; so do two sets that have a sample in common.
    """
    parent = list(range(len(table)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, (group, content) in enumerate(zip(table.group, table.content, strict=True)):
        for key in (("group", group), ("content", content)):
            if key[1]:
                parent[root(i)] = root(first.setdefault(key, i))
    row_of = dict(zip(table.pixels, range(len(table)), strict=True))
    for pixels, alike in (near or {}).items():
        for other in alike:
            if pixels in row_of and other in row_of:
                parent[root(row_of[pixels])] = root(row_of[other])
    numbers: Indices = np.unique([root(i) for i in range(len(table))], return_inverse=True)[1]
    return numbers


def _check_sizes(names: Sequence[str], counts: Floats, wanted: Sequence[str]) -> None:
    found = (counts > 0).sum(axis=0)
    small = [(name, int(n)) for name, n in zip(names, found, strict=True) if n < len(wanted)]
    if small:
        shown = ", ".join(f"'{name}' has {counted(n, 'group')}" for name, n in small)
        raise DataError(
            f"data.split: every class needs at least {len(wanted)} groups (or single images; identical files and "
            f"near-duplicates count once), one for each of {', '.join(wanted)}; {shown}. Add images, leave the class "
            "out with `data.classes`, or set the fraction of a split to 0."
        )


def _sizes(count: int, wanted: Mapping[str, float], rounding: Rounding) -> list[int]:
    """Sizes of the splits of one class: cut or rounded to whole numbers, the rest to the last, none empty."""
    shares = list(wanted.values())
    more = 0.5 if rounding == "nearest" else 0.0
    sizes = [math.floor(count * share + more + 1e-9) for share in shares]
    sizes[-1] = count - sum(sizes[:-1])
    while 0 in sizes:
        surplus = [size - count * share if size > 1 else -math.inf for size, share in zip(sizes, shares, strict=True)]
        sizes[int(np.argmax(surplus))] -= 1
        sizes[sizes.index(0)] += 1
    return sizes
