"""What to beware of in a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from cvlab.compare_entrants import Entrant
from cvlab.compare_integrity import rows_of
from cvlab.compare_match import Samples
from cvlab.errors import counted
from cvlab.report_record import RunRecord

FEW_GROUPS = 20
TRAIN = "train"


def warnings_of(entrants: Sequence[Entrant], samples: Samples) -> list[str]:
    """Returns sentences: synthetic data beside real ones, leaks, other training images, few groups."""
    return [*_synthetic(entrants), *_leaks(entrants), *samples.warnings, *_trained_on(entrants), *_few(samples)]


def _synthetic(entrants: Sequence[Entrant]) -> list[str]:
    drawn = [entrant.title for entrant in entrants if any(record.synthetic for record in entrant.records)]
    if not drawn or len(drawn) == len(entrants):
        return []
    return [
        f"SYNTHETIC SAMPLE DATA beside real images: the images of {', '.join(drawn)} were drawn by a program, those of "
        "the others were not. Comparing them says nothing."
    ]


def _leaks(entrants: Sequence[Entrant]) -> list[str]:
    found = []
    for entrant in entrants:
        leaks = max(len(record.data.get("leaks") or []) for record in entrant.records)
        if leaks:
            findings = counted(leaks, "finding")
            found.append(f"LEAKAGE in {entrant.title}: {findings}; its results may look better than they are.")
    return found


def _trained_on(entrants: Sequence[Entrant]) -> list[str]:
    """Whether models learned from the same images, where the runs say so; folds have them all in turn."""
    learned = {entrant.title: {_training_samples(record) for record in entrant.records} for entrant in entrants}
    known = {name: sets for name, sets in learned.items() if frozenset() not in sets}
    if len({frozenset(sets) for sets in known.values()}) < 2:
        return []
    sizes = ", ".join(f"{name}: {max(map(len, sets)):,}" for name, sets in known.items())
    return [f"The models were not trained on the same images ({sizes}): what differs may be the data."]


def _training_samples(record: RunRecord) -> frozenset[tuple[str, str]]:
    if not record.run.samples.is_file():
        return frozenset()
    rows = (row for row in rows_of(record.run.samples) if row.get("split") == TRAIN)
    return frozenset((row.get("sample_id") or "", row.get("content") or "") for row in rows)


def _few(samples: Samples) -> list[str]:
    unit = "group" if samples.grouped else "image"
    if samples.groups >= FEW_GROUPS:
        return []
    return [
        f"The test samples are {counted(samples.groups, unit)} only: intervals are rough, and differences hard to show."
    ]
