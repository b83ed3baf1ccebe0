"""Folds of cross-validation: every sample in the test split of exactly one, stratified by class, whole groups only."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from cvlab.config_split import Rounding, SplitConfig
from cvlab.data.placement import CLOSE_ENOUGH, Floats, Indices, Placement
from cvlab.data.samples import SampleTable, text_column
from cvlab.data.split import blocks_by_class, split_samples
from cvlab.errors import DataError, counted, listing

# The share of what is not the test split; with ten folds, 0.9, 0.1 and 0.1 of 1.
DEFAULT_VAL = 0.1


def val_share(split: SplitConfig) -> float:
    """Returns the share of the samples outside of the test fold that validates."""
    return DEFAULT_VAL if split.val is None else split.val


def split_by_fold(
    table: SampleTable,
    *,
    folds: int,
    fold: int,
    val: float,
    strata: str | None,
    seed: int,
    near: Mapping[str, Collection[str]] | None = None,
    rounding: Rounding = "down",
) -> SampleTable:
    """Fills the `split` column: one fold is test, the rest becomes train and val as `split_samples` splits it.

    Args:
        table: The samples, unsplit.
        folds: How many folds there are.
        fold: Which of them is the test split, counted from 1.
        val: The share of the other folds that validates.
        strata: The target column that holds the class; None where samples have no class.
        seed: Decides which samples go where. The folds of one seed belong together.
        near: The near-duplicates of each image, if they were looked for.
        rounding: How the share of validation becomes a whole number.

    Returns:
        The samples sorted by id.

    Raises:
        DataError: There are too few groups for so many folds, or no way was found to place them.
    """
    table = table.sorted()
    test = assign_folds(table, folds, strata=strata, seed=seed, near=near) == fold
    shares = {"train": 1 - val, "val": val}
    try:
        rest = split_samples(table.take(~test), shares, strata=strata, seed=seed, near=near, rounding=rounding)
    except DataError as error:
        raise DataError(f"Fold {fold} of {folds} is the test split; of the rest:\n{error}") from error
    column = text_column(["test"] * len(table)).astype(object)
    column[~test] = rest.split
    return table.with_columns(split=text_column(column.tolist()))


def assign_folds(
    table: SampleTable,
    folds: int,
    *,
    strata: str | None,
    seed: int,
    near: Mapping[str, Collection[str]] | None = None,
) -> Indices:
    """Returns the fold of each sample, from 1: int64 of shape (len(table),), rows in the order of ids.

    Samples of one group, files of identical content, and near-duplicates stay together. Each class of n samples is
    to give n / folds to every fold, cut or rounded up so that the folds are of one size in all; where every sample
    stands alone that is what it gives, otherwise whole groups come as near to it as the search finds. Every class
    stands in every fold.

    Raises:
        DataError: A class has too few groups to stand in every fold, or no way was found to place them so.
    """
    names, counts, blocks = blocks_by_class(table, strata=strata, near=near)
    _check_groups(names, counts, folds)
    goal = _even_sizes(counts.sum(axis=0).astype(np.int64), folds)
    # The shares are smaller than those of three splits, and so is what they may be off by.
    placement = Placement(counts, goal, np.random.default_rng([seed, 0xF01D]), close_enough=2 * CLOSE_ENOUGH / folds)
    missing = placement.search()
    if missing:
        cells = [f"'{names[label]}' in fold {fold + 1}" for fold, label in missing]
        raise DataError(
            f"data.split.folds: no way was found to place whole groups in {folds} folds so that every class stands in "
            f"every fold; even the best one lacks:\n{listing(cells)}\nAsk for fewer folds, add images of other groups, "
            "or leave a class out with `data.classes`."
        )
    numbers: Indices = placement.home[blocks] + 1
    return numbers


def _check_groups(names: list[str], counts: Floats, folds: int) -> None:
    # With two folds, the one that is not tested must still give training and validation a group of each class.
    least = 4 if folds == 2 else folds
    found = (counts > 0).sum(axis=0)
    small = [(name, int(n)) for name, n in zip(names, found, strict=True) if n < least]
    if not small:
        return
    shown = ", ".join(f"'{name}' has {counted(n, 'group')}" for name, n in small)
    fewest = min(n for _, n in small)
    fewer = f"Ask for at most {fewest} folds, add" if fewest >= 3 else "Add"
    raise DataError(
        f"data.split.folds: {folds} folds need at least {least} groups of every class (or single images; identical "
        f"files and near-duplicates count once), so that each stands in train, val and test; {shown}. {fewer} images "
        "of other groups, or leave the class out with `data.classes`."
    )


def _even_sizes(totals: Indices, folds: int) -> Floats:
    """Returns the wanted samples of each fold and class: what is left over goes where the fewest samples are."""
    sizes = np.tile(totals // folds, (folds, 1))
    for label, total in enumerate(totals):
        smallest = np.argsort(sizes.sum(axis=1), kind="stable")
        sizes[smallest[: total % folds], label] += 1
    return sizes.astype(np.float64)
