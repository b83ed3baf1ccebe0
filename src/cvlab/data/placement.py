"""Blocks of samples that must not be parted, placed in splits or folds near wanted sizes, by local search."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

ATTEMPTS = 20
COVER_STEPS = 1000
COVER_NOISE = 0.2
CLOSE_ENOUGH = 0.02
# The table of all exchanges of two blocks grows with the square of their number; many blocks need none.
MOST_BLOCKS_TO_EXCHANGE = 1000
# Sums of rounded numbers differ in the last digits from machine to machine; the choice must not.
DECIMALS = 12
LEAST_GAIN = 1e-9

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


class Placement:
    """A split for each block of samples, found by local search from random starts.

    Attributes:
        counts: Samples of each block and class.
        goal: Wanted samples of each split and class.
        close_enough: The root mean square deviation of the classes' shares at which the search ends.
        home: The split of each block.
    """

    def __init__(
        self, counts: Floats, goal: Floats, rng: np.random.Generator, *, close_enough: float = CLOSE_ENOUGH
    ) -> None:
        self.counts, self.goal, self.rng = counts, goal, rng
        self.close_enough = close_enough
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
            if not missing and (best[1] <= self.goal.size * self.close_enough**2 or not self.few):
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
