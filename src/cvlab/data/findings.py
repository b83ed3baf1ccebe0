"""What the user should know about the samples of a stage: strata, copies, groups, and how the split came out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from cvlab.data.cache import ImageCache
from cvlab.data.samples import CLASS, SPLITS, SampleTable, text_column
from cvlab.data.source import LoadedSource
from cvlab.data.split import ALL
from cvlab.errors import DataError, counted, listing
from cvlab.text import printable

FAR_FROM_WANTED = 0.05
MOST_COVERED = 0.5


def strata(table: SampleTable, source: LoadedSource) -> np.ndarray:
    """Returns the stratum of each sample: its class, or one for all where samples have none."""
    return text_column([ALL] * len(table)) if source.strata is None else table.targets[source.strata]


def _names(source: LoadedSource) -> tuple[str, ...]:
    return source.labels.class_names or (ALL,)


def _counts(table: SampleTable, source: LoadedSource) -> dict[str, dict[str, int]]:
    """Samples by split and stratum."""
    column = strata(table, source)
    return {split: dict(Counter(column[table.split == split])) for split in SPLITS if (table.split == split).any()}


def far_from_wanted(table: SampleTable, fractions: Mapping[str, float], source: LoadedSource) -> list[str]:
    """Names the classes that whole groups keep from the wanted shares."""
    counts = _counts(table, source)
    found = []
    for name in _names(source):
        sizes = {split: counts[split].get(name, 0) for split in counts}
        total = sum(sizes.values())
        # A small class is off by up to two images for want of images alone.
        far = max(abs(size - fractions[split] * total) for split, size in sizes.items())
        if far > max(FAR_FROM_WANTED * total, 2):
            found.append(f"{name} {' / '.join(f'{size / total:.0%}' for size in sizes.values())}")
    if not found:
        return []
    wanted = " / ".join(f"{fractions[split]:.0%}" for split in counts)
    return [f"Groups are never cut, so that these are not split {wanted}: {', '.join(found)}."]


def report_groups(source: LoadedSource, notes: list[str]) -> None:
    """Says how many file names the group pattern does not fit."""
    if source.unmatched_groups:
        share = source.unmatched_groups / len(source.table)
        notes.append(
            f"{source.unmatched_groups:,} of {len(source.table):,} file names ({share:.0%}) do not fit "
            "data.split.group_pattern; each of them is taken as a group of its own."
        )


def find_copies(table: SampleTable) -> list[list[int]]:
    """Returns the rows of samples with identical pixels, set by set."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, pixels in enumerate(table.pixels):
        rows_of[pixels].append(row)
    return [rows for rows in rows_of.values() if len(rows) > 1]


def report_copies(table: SampleTable, notes: list[str], warnings: list[str]) -> None:
    """Names identical images, and warns where they are labelled differently."""
    copies = find_copies(table)
    if copies:
        most = max(copies, key=len)
        notes.append(
            f"{counted(sum(map(len, copies)) - len(copies), 'identical copy', 'identical copies')} of other files "
            f"(most often: {printable(table.sample_id[most[0]])}, {len(most)} times)."
        )
    truth = [*zip(*table.targets.values(), strict=True)]
    torn = [rows for rows in copies if len({truth[row] for row in rows}) > 1]
    if torn:
        shown = [" = ".join(table.sample_id[rows]) for rows in torn]
        what = "in several classes" if [*table.targets] == [CLASS] else "with different labels"
        warnings.append(f"Identical files {what}: {counted(len(torn), 'image')}:\n{listing(shown)}")


def check_splits(table: SampleTable, source: LoadedSource, warnings: list[str]) -> None:
    """Every class must be trained on; a class that validation or test lacks is named."""
    counts, names = _counts(table, source), _names(source)
    if source.labels.masks:
        # Where every image shows the structure, nobody misses those that show nothing.
        names = tuple(name for name in names if name in {*source.labels.masks, *strata(table, source)})
    for split in SPLITS:
        lacking = [name for name in names if not counts.get(split, {}).get(name)]
        if split == "train" and names == (ALL,) and lacking:
            raise DataError("The training split is empty. Add images or change the split.")
        if split == "train" and {*lacking} & {*source.labels.masks}:
            raise DataError(
                f"No mask of the training split shows any {', '.join(lacking)} (at this `data.image_size`). Add images "
                "or change the split."
            )
        if split == "train" and lacking:
            raise DataError(f"The training split has no image of {', '.join(lacking)}. Add images or change the split.")
        if split == "val" and len(lacking) == len(names):
            raise DataError("The validation split is empty; it chooses the best weights. Change data.split.")
        if split == "test" and len(lacking) == len(names):
            warnings.append("There is no test split: the results are those of validation, which chose the weights.")
        elif lacking:
            warnings.append(f"Split '{split}' has no image of {', '.join(lacking)}; their metrics are undefined there.")


def unreadable_files(bad: Sequence[str], total: int) -> str:
    """Returns how many images cannot be used, for people."""
    return f"{counted(len(bad), 'image')} of {total:,} cannot be used"


def report_unreadable(bad: Sequence[str], total: int, warnings: list[str]) -> None:
    """Names the files that were left out, being no images."""
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        what = unreadable_files(bad, total)
        warnings.append(f"{what} and left out (data.on_unreadable: skip): {'; '.join(bad[:5])}{more}")


def report_low_range(table: SampleTable, low_range: Collection[str], warnings: list[str]) -> None:
    """Warns of 16-bit images that come out nearly uniform."""
    low = [path for path, pixels in zip(table.path, table.pixels, strict=True) if pixels in low_range]
    if low:
        warnings.append(
            f"{counted(len(low), '16-bit image')} use less than an eighth of the full range and become very dark or "
            f"flat (first: {printable(low[0])})."
        )


def report_lost(table: SampleTable, lost: Collection[str], warnings: list[str]) -> None:
    """Warns of masks that show something which is too small to be seen at this size."""
    found = [path for path, pixels in zip(table.mask, table.mask_pixels, strict=True) if pixels in lost]
    if found:
        warnings.append(
            f"{counted(len(found), 'mask')} show so little that nothing is left of it at this `data.image_size`, and "
            f"count as empty (first: {printable(found[0])})."
        )


def report_inverted(table: SampleTable, masks: ImageCache, warnings: list[str]) -> None:
    """Warns where most masks cover most of their image: nothing but convention says which value is background."""
    shares = np.array([np.count_nonzero(mask) / mask.size for mask in masks.images])[masks.rows(table.mask_pixels)]
    covered = float(np.median(shares))
    if covered > MOST_COVERED:
        warnings.append(
            f"Half of the masks cover {covered:.0%} or more of their image. 0 (black) is the background and the other "
            f"value the structure: are they inverted (first: {printable(table.mask[0])})?"
        )
