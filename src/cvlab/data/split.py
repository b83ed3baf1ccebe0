"""Splits: stratified by class, whole groups only, a function of the seed and of nothing else."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from cvlab.data.samples import SPLITS, SampleTable, text_column
from cvlab.errors import DataError, counted


def split_samples(table: SampleTable, fractions: Mapping[str, float], *, strata: str, seed: int) -> SampleTable:
    """Fills the `split` column.

    Samples of one group, and files of identical content, stay together. Where every sample stands alone, each
    class of n samples gives `int(n * train)`, `int(n * val)` and the rest (each at least one). Otherwise groups
    are placed one by one, largest first, where they bring the class counts nearest to the fractions: best
    effort, since a group is never cut.

    Args:
        table: The samples, unsplit.
        fractions: `{split: share}`; the shares sum to 1.
        strata: The target column that holds the class.
        seed: Decides which samples go where.

    Raises:
        DataError: A class has too few groups to stand in every split.
    """
    wanted = {split: fractions[split] for split in SPLITS if fractions.get(split, 0) > 0}
    table = table.sorted()
    blocks = _blocks(table)
    labels = table.targets[strata]
    _check_sizes(labels, blocks, wanted)
    rng = np.random.default_rng([seed, 0x5917])
    if len(set(blocks)) == len(table):
        split = _split_singles(labels, wanted, rng)
    else:
        split = _split_blocks(labels, blocks, wanted, rng)
    return table.with_columns(split=split)


def _blocks(table: SampleTable) -> list[int]:
    """Numbers the sets of samples that must not be parted: the same group, or the same file content."""
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
    return [root(i) for i in range(len(table))]


def _check_sizes(labels: np.ndarray, blocks: Sequence[int], wanted: Mapping[str, float]) -> None:
    blocks_of: dict[str, set[int]] = defaultdict(set)
    for label, block in zip(labels, blocks, strict=True):
        blocks_of[label].add(block)
    small = {label: len(found) for label, found in sorted(blocks_of.items()) if len(found) < len(wanted)}
    if small:
        shown = ", ".join(f"'{label}' has {counted(count, 'group')}" for label, count in small.items())
        raise DataError(
            f"data.split: every class needs at least {len(wanted)} groups (or single images), one for each of "
            f"{', '.join(wanted)}; {shown}. Add images, leave the class out with `data.classes`, or set the "
            "fraction of a split to 0."
        )


def _split_singles(labels: np.ndarray, wanted: Mapping[str, float], rng: np.random.Generator) -> np.ndarray:
    split = np.empty(len(labels), dtype=object)
    for label in sorted(set(labels)):
        members = rng.permutation(np.flatnonzero(labels == label))
        sizes = _sizes(len(members), wanted)
        split[members] = np.repeat(text_column(list(wanted)), sizes)
    return split


def _sizes(count: int, wanted: Mapping[str, float]) -> list[int]:
    """Sizes of the splits of one class: cut down to whole numbers, the rest to the last, none empty."""
    shares = list(wanted.values())
    sizes = [math.floor(count * share + 1e-9) for share in shares]
    sizes[-1] = count - sum(sizes[:-1])
    while 0 in sizes:
        surplus = [size - count * share if size > 1 else -math.inf for size, share in zip(sizes, shares, strict=True)]
        sizes[int(np.argmax(surplus))] -= 1
        sizes[sizes.index(0)] += 1
    return sizes


def _split_blocks(
    labels: np.ndarray, blocks: Sequence[int], wanted: Mapping[str, float], rng: np.random.Generator
) -> np.ndarray:
    classes = {label: i for i, label in enumerate(sorted(set(labels)))}
    ids = sorted(set(blocks))
    row_of = {block: row for row, block in enumerate(ids)}
    counts = np.zeros((len(ids), len(classes)))
    np.add.at(counts, ([row_of[b] for b in blocks], [classes[label] for label in labels]), 1)
    weights = counts / counts.sum(axis=0)
    shares = np.array(list(wanted.values()))
    home = _place(weights, shares, rng)
    _fill_gaps(weights, home, shares)
    names = list(wanted)
    return text_column([names[home[row_of[block]]] for block in blocks])


def _place(weights: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Puts each block (row of class shares) into the split that then lacks most; largest blocks first."""
    home = np.empty(len(weights), dtype=np.int64)
    lacking = np.repeat(shares[:, None], weights.shape[1], axis=1)
    order = rng.permutation(len(weights))
    order = order[np.argsort(-weights[order].max(axis=1), kind="stable")]
    for block in order:
        # Squared distance to the wanted shares after placing, up to what all splits have in common.
        cost = ((lacking - weights[block]) ** 2 - lacking**2).sum(axis=1)
        best = int(np.argmin(cost))
        home[block] = best
        lacking[best] -= weights[block]
    return home


def _fill_gaps(weights: np.ndarray, home: np.ndarray, shares: np.ndarray) -> None:
    """Moves the smallest possible blocks until every class stands in every split (where that can be had)."""
    has = weights > 0
    for _ in range(weights.shape[1] * len(shares)):
        held = np.array([has[home == split].sum(axis=0) for split in range(len(shares))])
        empty = np.argwhere(held == 0)
        if not len(empty):
            return
        split, label = empty[0]
        movable = [
            b for b in np.flatnonzero(has[:, label]) if all(held[home[b], c] > 1 for c in np.flatnonzero(has[b]))
        ]
        if not movable:
            break
        home[min(movable, key=lambda b: (weights[b].sum(), b))] = split
    missing = "; ".join(f"class {c} in split {s}" for s, c in np.argwhere(held == 0))
    raise DataError(
        f"data.split: the groups cannot be placed so that every class stands in every split ({missing}, counted "
        "from 0 in sorted order). Change the fractions, or leave out a class that few groups hold."
    )
