"""Splits: stratified by class, whole groups only, a function of the seed and of nothing else."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cvlab.config import Rounding
from cvlab.data.samples import SPLITS, SampleTable, text_column
from cvlab.errors import DataError, counted, listing

ALL = "all images"
ATTEMPTS = 20
COVER_STEPS = 1000
COVER_NOISE = 0.2
# The root mean square deviation of the classes' shares at which the search ends.
CLOSE_ENOUGH = 0.02
# The table of all exchanges of two blocks grows with the square of their number; many blocks need none.
MOST_BLOCKS_TO_EXCHANGE = 1000
# Sums of rounded numbers differ in the last digits from machine to machine; the choice must not.
DECIMALS = 12
LEAST_GAIN = 1e-9

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


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
    classes = np.full(len(table), ALL) if strata is None else table.targets[strata]
    names, labels = np.unique(classes, return_inverse=True)
    blocks = find_blocks(table, near)
    counts = np.zeros((blocks.max(initial=-1) + 1, len(names)))
    np.add.at(counts, (blocks, labels), 1)
    _check_sizes(names.tolist(), counts, list(wanted))
    goal = np.array([_sizes(int(count), wanted, rounding) for count in counts.sum(axis=0)], dtype=np.float64).T
    placement = _Placement(counts, goal, np.random.default_rng([seed, 0x5917]))
    missing = placement.search()
    if missing:
        cells = [f"'{names[label]}' in {list(wanted)[split]}" for split, label in missing]
        raise DataError(
            "data.split: no way was found to place whole groups so that every class stands in every split; even the "
            f"best one lacks:\n{listing(cells)}\nAdd images of other groups, leave a class out with `data.classes`, "
            "or set the fraction of a split to 0."
        )
    return table.with_columns(split=text_column(list(wanted))[placement.home[blocks]])


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


class _Placement:
    """A split for each block of samples, found by local search from random starts.

    Attributes:
        counts: Samples of each block and class.
        goal: Wanted samples of each split and class.
        home: The split of each block.
    """

    def __init__(self, counts: Floats, goal: Floats, rng: np.random.Generator) -> None:
        self.counts, self.goal, self.rng = counts, goal, rng
        self.has = counts > 0
        # Classes weigh alike, whatever their size: deviations are measured in shares of the class.
        self.weighted = counts / counts.sum(axis=0) ** 2
        self.own = (counts * self.weighted).sum(axis=1)
        self.few = len(counts) <= MOST_BLOCKS_TO_EXCHANGE
        self.home = np.zeros(len(counts), dtype=np.int64)
        self.placed = np.zeros_like(goal)
        self.held = np.zeros(goal.shape, dtype=np.int64)

    def search(self) -> list[tuple[int, int]]:
        """Places all blocks; returns the (split, class) pairs that stay empty, none if all went well."""
        best: tuple[int, float] = (self.goal.size + 1, math.inf)
        home, missing = self.home, []
        for _ in range(ATTEMPTS):
            self._start()
            self._cover()
            while self._move() or (self.few and self._exchange()):
                pass
            empty = np.argwhere(self.held == 0).tolist()
            result = (len(empty), self._cost())
            if result < best:
                best, home, missing = result, self.home.copy(), [(split, label) for split, label in empty]
            if not missing and (best[1] <= self.goal.size * CLOSE_ENOUGH**2 or not self.few):
                break
        self.home = home
        return missing

    def _start(self) -> None:
        """Draws a split for each block of several samples; single samples then fill what each class lacks."""
        single = self.counts.sum(axis=1) == 1
        shares = self.goal.sum(axis=1) / self.goal.sum()
        splits = np.arange(len(shares))
        self.home = self.rng.choice(splits, size=len(self.counts), p=shares)
        lacking = self.goal - np.array([self.counts[~single & (self.home == split)].sum(axis=0) for split in splits])
        for label in range(self.goal.shape[1]):
            members = self.rng.permutation(np.flatnonzero(single & self.has[:, label]))
            self.home[members] = np.repeat(splits, _quotas(lacking[:, label], len(members)))
        self.placed = np.array([self.counts[self.home == split].sum(axis=0) for split in splits])
        self.held = np.array([self.has[self.home == split].sum(axis=0) for split in splits])

    def _cover(self) -> None:
        """Moves blocks until every class stands in every split; now and then at random, to leave dead ends."""
        for _ in range(COVER_STEPS):
            empty = np.argwhere(self.held == 0)
            if not len(empty):
                return
            split, label = empty[self.rng.integers(len(empty))]
            candidates = np.flatnonzero(self.has[:, label])
            if self.rng.random() < COVER_NOISE:
                self._put(int(self.rng.choice(candidates)), split)
                continue
            emptied = (self.has[candidates] & (self.held[self.home[candidates]] == 1)).sum(axis=1)
            filled = (self.has[candidates] & (self.held[split] == 0)).sum(axis=1)
            best = candidates[emptied - filled == (emptied - filled).min()]
            self._put(int(best[np.argmin(self.own[best].round(DECIMALS))]), split)

    def _move(self) -> bool:
        """Moves the one block whose move helps most, if one helps."""
        pull = self.weighted @ (self.placed - self.goal).T
        change = 2 * (pull - self._at_home(pull)[:, None] + self.own[:, None])
        change[self._needed().any(axis=1)] = np.inf
        change[np.arange(len(self.home)), self.home] = np.inf
        block, split = np.unravel_index(np.argmin(change.round(DECIMALS)), change.shape)
        if change[block, split] > -LEAST_GAIN:
            return False
        self._put(int(block), int(split))
        return True

    def _exchange(self) -> bool:
        """Exchanges the two blocks of different splits whose exchange helps most, if one helps."""
        pull = self.weighted @ (self.placed - self.goal).T
        there = pull[:, self.home]
        here = self._at_home(pull)
        overlap = self.weighted @ self.counts.T
        distance = self.own[:, None] + self.own - 2 * overlap
        change = 2 * (distance + there + there.T - here[:, None] - here)
        lost = self._needed().astype(float) @ (~self.has).T.astype(float) > 0
        change[lost | lost.T | (self.home[:, None] == self.home)] = np.inf
        a, b = np.unravel_index(np.argmin(change.round(DECIMALS)), change.shape)
        if change[a, b] > -LEAST_GAIN:
            return False
        split = int(self.home[a])
        self._put(int(a), int(self.home[b]))
        self._put(int(b), split)
        return True

    def _put(self, block: int, split: int) -> None:
        for table, row in ((self.placed, self.counts[block]), (self.held, self.has[block])):
            table[self.home[block]] -= row
            table[split] += row
        self.home[block] = split

    def _at_home(self, pull: Floats) -> Floats:
        return pull[np.arange(len(pull)), self.home]

    def _needed(self) -> npt.NDArray[np.bool_]:
        """For each block the classes that its split would lose with it."""
        needed: npt.NDArray[np.bool_] = self.has & (self.held[self.home] == 1)
        return needed

    def _cost(self) -> float:
        deviation = (self.placed - self.goal) / self.counts.sum(axis=0)
        return round(float(np.square(deviation).sum()), 9)


def _quotas(lacking: Floats, count: int) -> Indices:
    """Deals `count` single samples of a class to the splits that lack some; too few go where most is lacking."""
    quotas = np.maximum(lacking, 0).astype(np.int64)
    while quotas.sum() > count:
        quotas[np.argmax(quotas)] -= 1
    return quotas
