"""What stops a training before it starts: data that cannot be what was meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from cvlab.config import DataConfig
from cvlab.data.audit import NEAR_DUPLICATE, Leak, find_collisions
from cvlab.data.findings import unreadable_files
from cvlab.data.samples import SampleTable
from cvlab.data.source import LoadedSource
from cvlab.errors import CvlabError, DataError, counted, listing


@contextmanager
def noted_in(stops: list[str] | None) -> Iterator[None]:
    """Notes in `stops` what would stop a training, for an audit, which goes on; without `stops` it is raised."""
    try:
        yield
    except CvlabError as error:
        if stops is None:
            raise
        stops.append(str(error))


def check_groups(source: LoadedSource, config: DataConfig) -> None:
    """The group pattern must fit at least one file name."""
    if source.unmatched_groups == len(source.table):
        raise DataError(
            f"data.split.group_pattern: '{config.split.group_pattern}' fits none of {len(source.table):,} file names "
            f"(the first is {source.table.sample_id[0]}), so that nothing would be grouped. It is searched in the "
            "name without its ending; correct it, or set it to null."
        )


def check_ids(tables: Sequence[SampleTable]) -> None:
    """An id must stand for one file in all stages."""
    collisions = find_collisions(tables)
    if collisions:
        raise DataError(
            f"{counted(len(collisions), 'id')} of samples stand for different files in different stages; an id is "
            "<root name>/<path below the root>. Rename one of the folders, or name it by a link (ln -s) of another "
            f"name:\n{listing(collisions)}"
        )


def check_leaks(leaks: Sequence[Leak], configs: Mapping[str, DataConfig]) -> None:
    """A leak may pass only where the stage whose results it spoils allows it."""
    stopped = [leak for leak in leaks if not configs[leak.stage].allow_leakage]
    if not stopped:
        return
    alike = any(leak.kind == NEAR_DUPLICATE for leak in stopped)
    unlike = "If near-duplicates are different pictures, lower `data.near_duplicate_distance`. " if alike else ""
    raise DataError(
        f"The gate stops this run: {counted(len(stopped), 'leak')} between splits or stages, which would make the "
        f"results look better than they are:\n{listing([str(leak) for leak in stopped])}\n"
        "Split by person or patient (`data.split.group_pattern`), merge what is split and split anew, or remove the "
        "files; stages and runs that follow each other are split alike if their `data` and `seed` are the same. "
        f"{unlike}To go on all the same: `data.allow_leakage=true`; the report then says so."
    )


def check_readable(bad: Sequence[str], total: int, config: DataConfig) -> None:
    """Every file must be an image that can be decoded, unless such files are to be left out."""
    if bad and config.on_unreadable == "error":
        raise DataError(
            f"{unreadable_files(bad, total)}:\n{listing(bad)}\n"
            "Repair or remove them, or leave them out with `data.on_unreadable=skip`."
        )


def check_left(empty: Sequence[str], bad: Sequence[str], total: int) -> None:
    """Every class must have an image that can be decoded; `empty` are those that have none."""
    if empty:
        raise DataError(f"{unreadable_files(bad, total)}; none is left of {', '.join(empty)}:\n{listing(bad)}")
