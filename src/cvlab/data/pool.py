"""The pool of a stage: its samples read, decoded and compared with each other, then split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cvlab.config import DataConfig, StageConfig
from cvlab.config_split import SplitConfig
from cvlab.console import Console
from cvlab.data.cache import ImageCache
from cvlab.data.checks import check_left, check_readable, noted_in
from cvlab.data.decoded import cache_dir, mask_hashes, open_images, shown_classes, unreadable
from cvlab.data.findings import far_from_wanted, strata
from cvlab.data.fingerprint import content_hashes
from cvlab.data.folds import split_by_fold, val_share
from cvlab.data.near_duplicates import FREQUENCIES, Looks, Near, find_near, looks_of
from cvlab.data.samples import CLASS, MASK, SampleTable, text_column
from cvlab.data.source import LoadedSource
from cvlab.data.split import split_samples
from cvlab.errors import DataError

DEFAULT_FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}


@dataclass(frozen=True)
class Pool:
    """The readable samples of a stage, not yet split.

    Attributes:
        table: The samples.
        source: What the source found.
        cache: Their decoded images.
        unreadable: The files that are left out, with the reasons.
        looks: The perceptual hashes of the images; None where near-duplicates are not looked for.
        near: The near-duplicates of each image, in this stage and those before.
    """

    table: SampleTable
    source: LoadedSource
    cache: ImageCache
    unreadable: list[str]
    looks: Looks | None
    near: Near


def read_pool(
    source: LoadedSource, stage: StageConfig, console: Console, earlier: list[Looks], stops: list[str] | None
) -> Pool:
    """Reads and decodes the samples of a stage; adds their looks to those of `earlier` stages.

    Files that are no images go before the split: broken downloads are often identical, and would tie the groups
    that they stand in together.
    """
    config = stage.data
    table, cache, bad = decode_source(source, stage.name, config, console, stops=stops)
    if config.near_duplicate_distance is None or min(config.image_size) < FREQUENCIES:
        return Pool(table, source, cache, bad, None, {})
    looks = looks_of(cache)
    near: Near = {}
    with noted_in(stops):
        near = find_near(looks.with_others(earlier), config.near_duplicate_distance)
    earlier.append(looks)
    return Pool(table, source, cache, bad, looks, near)


def decode_source(
    source: LoadedSource, stage: str, config: DataConfig, console: Console, *, stops: list[str] | None = None
) -> tuple[SampleTable, ImageCache, list[str]]:
    """Reads and decodes the samples of a source; what cannot be read is refused or left out, as `config` says.

    Returns:
        The samples with their contents (and the classes that their masks show), the decoded images and masks, and what
        is left out, with the reasons.
    """
    table = source.table
    hashes = content_hashes([Path(path) for path in table.path], cache_dir=cache_dir(config), console=console)
    table = table.with_columns(content=text_column(hashes), stage=text_column([stage] * len(table)))
    if table.has_masks:
        table = table.with_targets(**{MASK: mask_hashes(table, config, console)})
    cache = open_images(table, config, console)
    bad = unreadable(table, cache, places=source.places)
    reasons = [*bad.values()]
    with noted_in(stops):
        check_readable(reasons, len(table), config)
    left = table.take(np.array([row not in bad for row in range(len(table))]))
    if table.has_masks:
        # What a mask shows is known only now: that all of a class cannot be used is not.
        left = left.with_targets(**{CLASS: shown_classes(left, cache, source.labels.class_names)})
        lost = set() if len(left) else {*source.labels.class_names}
    else:
        lost = {*strata(table, source)} - {*strata(left, source)}
    # An audit ends here too where nothing is left.
    with noted_in(stops if len(left) else None):
        check_left(sorted(lost), reasons, len(table))
    return left, cache, reasons


def split_pool(pool: Pool, split: SplitConfig, seed: int, notes: list[str]) -> SampleTable:
    """Splits the samples, or takes a split as it is; cuts validation off the training samples where there is none."""
    return split_table(pool.table, pool.source, split, seed, notes, near=pool.near)


def split_table(
    table: SampleTable, source: LoadedSource, split: SplitConfig, seed: int, notes: list[str], *, near: Near
) -> SampleTable:
    """Does what `split_pool` does, with what is known of the samples."""
    seed = seed if split.seed is None else split.seed
    if table.split[0]:
        return _complete_split(table, source, split, seed, near)
    fractions = _fractions(split)
    strata_of = source.strata if source.stratified else None
    if split.folds is not None and split.fold is not None:
        table = split_by_fold(
            table,
            folds=split.folds,
            fold=split.fold,
            val=val_share(split),
            strata=strata_of,
            seed=seed,
            near=near,
            rounding=split.rounding,
        )
    else:
        table = split_samples(table, fractions, strata=strata_of, seed=seed, near=near, rounding=split.rounding)
    if source.stratified:
        notes += far_from_wanted(table, fractions, source)
    return table


def _fractions(split: SplitConfig) -> dict[str, float]:
    if split.folds is not None:
        test, val = 1 / split.folds, val_share(split)
        return {"train": (1 - test) * (1 - val), "val": (1 - test) * val, "test": test}
    if split.train is None and split.test is None:
        if split.val is None:
            return DEFAULT_FRACTIONS
        return {"train": 1 - split.val, "val": split.val, "test": 0.0}
    return {"train": split.train or 0.0, "val": split.val or 0.0, "test": split.test or 0.0}


def _complete_split(table: SampleTable, source: LoadedSource, split: SplitConfig, seed: int, near: Near) -> SampleTable:
    if split.folds is not None:
        found = ", ".join(dict.fromkeys(table.split))
        raise DataError(
            f"data.split.folds: the data are split already ({found}), so that there is nothing to divide into folds; "
            f"{source.to_merge}."
        )
    has_val = bool((table.split == "val").any())
    if split.train is not None or split.test is not None:
        found = ", ".join(dict.fromkeys(table.split))
        given = [name for name in ("train", "val", "test") if getattr(split, name) is not None]
        nulls = " ".join(f"data.split.{name}=null" for name in given if name != "val" or has_val)
        raise DataError(
            f"data.split: the data are split already ({found}), so fractions mean nothing here. Take them as they are "
            f"({nulls}), or {source.to_merge}."
        )
    if not (table.split == "train").any():
        found = ", ".join(dict.fromkeys(table.split))
        raise DataError(f"data: expected training samples (train), found only {found}; {source.to_merge}.")
    if has_val and split.val is not None:
        raise DataError("data.split.val: there are validation samples already; remove `val` from data.split.")
    if has_val:
        return table
    if split.val is None:
        raise DataError(
            "data: there are no validation samples (val). Add some, or cut a share off the training samples with "
            f"`data.split.val=0.1`, or {source.to_merge}."
        )
    training = table.split == "train"
    shares = {"train": 1 - split.val, "val": split.val}
    cut = split_samples(table.take(training), shares, strata=source.strata, seed=seed, near=near)
    column = table.split.copy()
    column[training] = cut.split
    return table.with_columns(split=column)
