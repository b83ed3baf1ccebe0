"""What an epoch of training draws of each class, and in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cvlab.config import Sampling
from cvlab.data.samples import CLASS, SampleTable
from cvlab.data.source import Labels
from cvlab.errors import DataError


def check_classes(labels: Labels, sampling: Sampling) -> None:
    """Checks that there are classes where they are to be drawn.

    Raises:
        DataError: There are none.
    """
    if sampling != "natural" and not labels.class_names:
        raise DataError(
            f"data.sampling: '{sampling}' draws class by class, but the data name no classes. Name their column "
            "(data.columns.label), or remove `sampling`."
        )


def draws_per_class(counts: Sequence[int], sampling: Sampling) -> list[int]:
    """Returns how many samples of each class an epoch draws; it is the same in every epoch.

    Args:
        counts: Training samples of each class, each at least 1.
        sampling: `natural`: every sample once. `oversample`: every class as often as the largest. `undersample`: as
            often as the smallest. `balanced`: as many samples as there are, shared out evenly; where the number of
            classes does not divide them, the first classes get one more.
    """
    if sampling == "natural":
        return [*counts]
    if sampling == "balanced":
        share, rest = divmod(sum(counts), len(counts))
        return [share + (place < rest) for place in range(len(counts))]
    each = max(counts) if sampling == "oversample" else min(counts)
    return [each] * len(counts)


def class_draws(table: SampleTable, class_names: Sequence[str], sampling: Sampling) -> dict[str, tuple[int, int]]:
    """Returns `{class: (samples, draws an epoch)}` of training samples, in the order of `class_names`."""
    if not class_names:
        return {}
    counts = dict(sorted(Counter(table.targets[CLASS]).items()))
    draws = dict(zip(counts, draws_per_class([*counts.values()], sampling), strict=True))
    return {name: (counts[name], draws[name]) for name in class_names if name in counts}


def samples_per_epoch(table: SampleTable, sampling: Sampling) -> int:
    """Returns how many of the training samples in `table` an epoch draws, repetitions included."""
    sampler = Sampler.of(table, sampling)
    return len(table) if sampler is None else len(sampler)


def class_weights(setting: str | Mapping[str, float] | None, counts: Mapping[str, int]) -> dict[str, float] | None:
    """Returns the weight of each class in the loss; None for equal weights.

    Args:
        setting: `balanced`: n / (k n_c), with n samples of k classes, n_c of the class itself; None; or the weights.
        counts: Training samples of each class.
    """
    if setting is None:
        return None
    if isinstance(setting, Mapping):
        return {name: float(setting[name]) for name in counts}
    total = sum(counts.values())
    return {name: total / (len(counts) * count) for name, count in counts.items()}


@dataclass(frozen=True)
class Sampler:
    """Draws the samples of an epoch, class by class; a function of the seed and the epoch alone.

    Of a class with n samples that is drawn d times, each sample comes floor(d / n) or ceil(d / n) times. Which ones
    come once more goes round: within ceil(n / (d mod n)) epochs each has had its turn.

    Attributes:
        members: The samples of each class, as indices into the training samples.
        draws: How often an epoch draws each class.
        interleaved: Whether every run of samples, and so every batch, holds the classes as evenly as its length
            allows; else the order is random.
    """

    members: Sequence[np.ndarray]
    draws: Sequence[int]
    interleaved: bool

    @classmethod
    def of(cls, table: SampleTable, sampling: Sampling) -> Sampler | None:
        """Returns the sampler of training samples; None where every sample is drawn once."""
        if sampling == "natural":
            return None
        _, labels, counts = np.unique(table.targets[CLASS], return_inverse=True, return_counts=True)
        members = [np.flatnonzero(labels == label) for label in range(len(counts))]
        return cls(members, draws_per_class(counts.tolist(), sampling), sampling == "balanced")

    def __len__(self) -> int:
        return sum(self.draws)

    def order(self, seed: Sequence[int], epoch: int) -> np.ndarray:
        """Returns the samples of an epoch (counted from 0) in their order; int64 of shape (len(self),)."""
        rng = np.random.default_rng([*seed, epoch, 0x0D])
        drawn = [self._draw(label, seed, epoch, rng) for label in range(len(self.members))]
        return _interleave(drawn, rng) if self.interleaved else rng.permutation(np.concatenate(drawn))

    def _draw(self, label: int, seed: Sequence[int], epoch: int, rng: np.random.Generator) -> np.ndarray:
        """Draws one class: whole rounds through its samples, then those whose turn it is to come once more."""
        members = self.members[label]
        rounds, rest = divmod(self.draws[label], len(members))
        drawn = [rng.permutation(members) for _ in range(rounds)]
        if rest:
            turn, place = divmod(epoch, -(-len(members) // rest))
            queue = np.random.default_rng([*seed, 0x5A, label, turn]).permutation(members)
            drawn.append(queue.take(np.arange(place * rest, (place + 1) * rest), mode="wrap"))
        return np.concatenate(drawn)


def _interleave(drawn: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Puts classes in turn, in a random order that stays the same; those with one sample more come first in it."""
    lengths = np.array([len(samples) for samples in drawn])
    longer = lengths > lengths.min()
    classes = np.concatenate([rng.permutation(np.flatnonzero(which)) for which in (longer, ~longer)])
    turns = np.resize(classes, lengths.sum())
    order = np.empty(len(turns), dtype=np.int64)
    for label, samples in enumerate(drawn):
        order[turns == label] = samples
    return order


def describe_draws(drawn: Mapping[str, tuple[int, int]], sampling: Sampling) -> str:
    """Returns a sentence on what an epoch draws, for people."""
    samples, draws = (sum(pair[place] for pair in drawn.values()) for place in (0, 1))
    often = sorted({draws for _, draws in drawn.values()})
    each = " or ".join(f"{number:,}" for number in often)
    return (
        f"An epoch draws {draws:,} times from {samples:,} training samples, each class {each} times "
        f"(data.sampling: {sampling})."
    )
