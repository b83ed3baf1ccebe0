"""What stops a training before it starts: data that cannot be what was meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from cvlab.config import DataConfig, Experiment
from cvlab.data.audit import NEAR_DUPLICATE, Leak, find_collisions
from cvlab.data.findings import unreadable_files
from cvlab.data.samples import SampleTable
from cvlab.data.source import Labels, LoadedSource
from cvlab.errors import DataError, counted, listing


@contextmanager
def noted_in(stops: list[str] | None) -> Iterator[None]:
    """Notes in `stops` what would stop a training, for an audit, which goes on; without `stops` it is raised."""
    try:
        yield
    except DataError as error:
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


def check_labels(experiment: Experiment, sources: Sequence[LoadedSource]) -> None:
    """Stages of one task must have the same classes and numbers: a head stands for them, in their order."""
    first: dict[str, tuple[str, Labels]] = {}
    for stage, source in zip(experiment.stages, sources, strict=True):
        other, labels = first.setdefault(stage.task.name, (stage.name, source.labels))
        for what, here, there in (
            ("classes", source.labels.class_names, labels.class_names),
            ("number targets", source.labels.numbers, labels.numbers),
        ):
            if here != there:
                raise DataError(
                    f"stages: stage '{stage.name}' has the {what} {', '.join(here) or '(none)'}, but stage '{other}' "
                    f"has {', '.join(there) or '(none)'}. Expected the same {what} in the same order."
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
        "Split by person or patient (`data.split.group_pattern`), merge the folders and split anew, or remove the "
        f"files. {unlike}To go on all the same: `data.allow_leakage=true`; the report then says so."
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
