"""What tells the class without looking at the picture: how a file is named and stored, measured as an AUC."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cvlab.data.image_facts import ImageFacts
from cvlab.data.samples import CLASS, SampleTable
from cvlab.text import printable

FOLDS = 5
# A class rate counts as if so many more samples had the rate of all: a value seen twice tells little.
SMOOTHING = 5.0
BINS = 16
# Sets of samples that belong together, of a class and of the rest: fewer are not measured.
FEWEST = 10
TELLING = 0.8
# How many standard errors above one half chance does not reach, many classes and properties considered.
BEYOND_CHANCE = 4.0

Codes = npt.NDArray[np.int64]
Text = Callable[[float], str]


@dataclass(frozen=True)
class Property:
    """One property of how samples are named or stored.

    Attributes:
        name: What it is, for people.
        values: One value a sample: text for kinds, numbers for amounts.
        shown: How a number is written; None for kinds.
    """

    name: str
    values: np.ndarray
    shown: Text | None = None

    @property
    def codes(self) -> Codes:
        """The values as small whole numbers: kinds as they are, amounts by rank in at most 16 bins."""
        if self.shown is None:
            kinds: Codes = np.unique(self.values, return_inverse=True)[1]
            return kinds
        edges = np.unique(np.quantile(self.values, np.arange(1, BINS) / BINS, method="higher"))
        return np.searchsorted(edges, self.values, side="right")


@dataclass(frozen=True)
class Clue:
    """How well one property tells each class from the rest.

    Attributes:
        name: The property.
        auc: By class: the area under the ROC curve, 0.5 for a property that tells nothing; None for too few samples.
        telling: The classes that it tells too well (and not by chance), each with the reason in words.
    """

    name: str
    auc: Mapping[str, float | None]
    telling: Mapping[str, str] = field(default_factory=dict)


def find_clues(
    table: SampleTable, facts: Sequence[ImageFacts | None], class_names: Sequence[str], blocks: Codes
) -> list[Clue]:
    """Measures how well names, sizes, modes and formats tell the class; properties that never vary are left out.

    Args:
        table: The samples, with their classes.
        facts: What the header of each file says; samples without are left out.
        class_names: The classes.
        blocks: For each sample the set that it belongs to (`split.find_blocks`): what is learned from a set is not
            tried on it.
    """
    rows = np.array([row for row, fact in enumerate(facts) if fact is not None], dtype=np.int64)
    readable = [fact for fact in facts if fact is not None]
    if not readable:
        return []
    table, blocks = table.take(rows), blocks[rows]
    labels = table.targets[CLASS]
    clues = []
    for item in _properties(table, readable):
        codes = item.codes
        if len(np.unique(codes)) < 2:
            continue
        auc = {name: class_auc(codes, labels == name, blocks) for name in class_names}
        telling = {
            name: _in_words(item, labels == name)
            for name, value in auc.items()
            if value is not None and value >= TELLING and _beyond_chance(value, labels == name, blocks)
        }
        clues.append(Clue(item.name, auc, telling))
    return clues


def class_auc(codes: Codes, positive: npt.NDArray[np.bool_], blocks: Codes) -> float | None:
    """Returns how well a property tells samples of a class from the rest, as a cross-validated AUC.

    The score of a sample is the share of the class among samples of the same value in the other folds, smoothed
    towards the share of all, so that a value of its own tells nothing. Only samples of one fold are compared with
    each other: scores of different folds come from different samples.

    Args:
        codes: The value of each sample, as a small whole number.
        positive: Whether each sample is of the class.
        blocks: The set that each sample belongs to; sets are never parted.

    Returns:
        The share of pairs (one of the class, one of the rest) that the score puts in order, ties half; 0.5 for a
        property that tells nothing. None if the class or the rest has fewer than 10 sets.
    """
    sets, rest = (len(np.unique(blocks[which])) for which in (positive, ~positive))
    if min(sets, rest) < FEWEST:
        return None
    folds = deal_folds(positive, blocks)
    kinds = int(codes.max()) + 1
    won, pairs = 0.0, 0
    for fold in range(FOLDS):
        held = folds == fold
        known = np.bincount(codes[~held], minlength=kinds)
        of_class = np.bincount(codes[~held & positive], minlength=kinds)
        rates = (of_class + SMOOTHING * positive[~held].mean()) / (known + SMOOTHING)
        yes, no = (np.bincount(codes[held & which], minlength=kinds) for which in (positive, ~positive))
        won += _pairs_in_order(rates, yes, no)
        pairs += int(yes.sum()) * int(no.sum())
    return won / pairs if pairs else None


def deal_folds(positive: npt.NDArray[np.bool_], blocks: Codes) -> Codes:
    """Deals whole sets to five folds in a fixed random order, those of the class first, then those of the rest."""
    members, first = np.unique(blocks, return_index=True)
    order = np.random.default_rng(0).permutation(len(members))
    order = order[np.argsort(positive[first[order]], kind="stable")]
    fold_of = np.empty(len(members), dtype=np.int64)
    fold_of[order] = np.arange(len(members)) % FOLDS
    return fold_of[np.searchsorted(members, blocks)]


def _pairs_in_order(rates: npt.NDArray[np.float64], yes: Codes, no: Codes) -> float:
    """Counts pairs of a sample in `yes` and one in `no` (counts by value) with the higher rate in `yes`, ties half."""
    levels, place = np.unique(rates.round(12), return_inverse=True)
    above = np.bincount(place, weights=yes, minlength=len(levels))
    below = np.bincount(place, weights=no, minlength=len(levels))
    return float((above * (np.cumsum(below) - below / 2)).sum())


def _beyond_chance(auc: float, positive: npt.NDArray[np.bool_], blocks: Codes) -> bool:
    """Whether an AUC is higher than chance makes it: the standard error is that of Mann and Whitney's U in folds."""
    sets, rest = (len(np.unique(blocks[which])) for which in (positive, ~positive))
    error = math.sqrt((sets + rest + FOLDS) / (12 * sets * rest))
    return auc - 0.5 > BEYOND_CHANCE * error


def _properties(table: SampleTable, facts: Sequence[ImageFacts]) -> list[Property]:
    def kinds(values: Sequence[str]) -> np.ndarray:
        return np.array(values, dtype=object)

    width, height, size = (
        np.array([getattr(fact, name) for fact in facts], dtype=np.float64) for name in ("width", "height", "file_size")
    )
    prefixes = [name_prefix(Path(path).stem, name) for path, name in zip(table.path, table.targets[CLASS], strict=True)]
    return [
        Property("folder", kinds([name.partition("/")[0] for name in table.sample_id])),
        Property("file-name prefix", kinds(prefixes)),
        Property("format", kinds([fact.format for fact in facts])),
        Property("mode", kinds([fact.mode for fact in facts])),
        Property("width x height", kinds([f"{fact.width} x {fact.height}" for fact in facts])),
        Property("pixels", width * height, lambda number: f"{number:,.0f}"),
        Property("aspect ratio", (width / height).round(3), lambda number: f"{number:.2f}"),
        Property("file size", size, lambda number: f"{number / 1000:,.3g} kB"),
    ]


def name_prefix(stem: str, class_name: str) -> str:
    """Returns how a file name begins: its first letters, what kind of number, or that it is named after its class.

    Numbers that begin with 0 have a fixed length, which is kept; the length of others only tells how many there are.
    """
    if stem.casefold().startswith(class_name.casefold()):
        return "<class name>"
    match = re.match(r"(?P<letters>[^\W\d_]+)|(?P<padded>0\d+)|(?P<number>\d+)", stem)
    if match is None:
        return stem[:1]
    if match["letters"]:
        return match["letters"]
    return f"<{len(match['padded'])} digits>" if match["padded"] else "<number>"


def _in_words(item: Property, positive: npt.NDArray[np.bool_]) -> str:
    """Says how the class differs: its most telling kind with the shares of both, or where the middle half lies."""
    if item.shown is not None:
        quartiles = [np.quantile(item.values[which], [0.25, 0.75]) for which in (positive, ~positive)]
        inside, outside = (f"{item.shown(low)} to {item.shown(high)}" for low, high in quartiles)
        return f"half of it from {inside}, half of the rest from {outside}"
    values, codes = np.unique(item.values, return_inverse=True)
    shares = [np.bincount(codes[which], minlength=len(values)) / which.sum() for which in (positive, ~positive)]
    most = int(np.argmax(np.abs(shares[0] - shares[1])))
    return f"'{printable(values[most])}' in {shares[0][most]:.0%} of it, in {shares[1][most]:.0%} of the rest"


def told(clues: Sequence[Clue]) -> list[str]:
    """Returns a line for each class that a property tells, the best first; of two classes, one line says it all."""
    found = []
    for clue in clues:
        names = [*clue.telling]
        chosen = names[:1] if len(clue.auc) == 2 else names
        found += [(clue.auc[name] or 0.0, clue.name, name, clue.telling[name]) for name in chosen]
    found.sort(key=lambda item: -item[0])
    return [f"{clue} tells {printable(name)}, AUC {auc:.2f} ({words})" for auc, clue, name, words in found]
