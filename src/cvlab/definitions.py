"""Every number that is reported: its definition by its place in `metrics.json`, and docs/metrics.md made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cvlab.definitions_binary import BINARY
from cvlab.definitions_calibration import CALIBRATION, FITTED
from cvlab.definitions_classes import CLASS, CLASSIFICATION
from cvlab.definitions_masks import SEGMENTATION, VOLUME
from cvlab.definitions_model import Definition, Group
from cvlab.definitions_numbers import REGRESSION, TARGET
from cvlab.definitions_training import AUDIT, TRAINING
from cvlab.definitions_uncertainty import INTERVALS, UNCERTAINTY_CLASSES, UNCERTAINTY_MASKS, UNCERTAINTY_NUMBERS

GROUPS = (
    *(CLASSIFICATION, CLASS, CALIBRATION, BINARY, FITTED),
    *(REGRESSION, TARGET),
    *(SEGMENTATION, VOLUME),
    INTERVALS,
    *(UNCERTAINTY_CLASSES, UNCERTAINTY_NUMBERS, UNCERTAINTY_MASKS),
    *(TRAINING, AUDIT),
)
ANY = "*"
# Below these the names of classes, targets and the like come first.
NAMED = ("per_class", "per_target", "by_group", "over_thresholds")
CALIBRATED = ("loss", "brier", "ece", "ece_equal_mass")
# What stands in the report alone, and what is no single value.
NO_METRICS = ("samples", "confusion_matrix", "ece_by_chance", "ece_equal_mass_by_chance", "predicted_positive")
# The parts of a table in metrics.json: those of the top, and those below a key.
PLACES: dict[str, dict[tuple[str, ...], tuple[Group, ...]]] = {
    "classification": {
        (): (CLASSIFICATION, CALIBRATION),
        ("per_class", ANY): (CLASS,),
        ("binary",): (BINARY,),
        ("calibrated",): (CLASSIFICATION, CALIBRATION),
    },
    "regression": {(): (REGRESSION,), ("per_target", ANY): (TARGET,)},
    "segmentation": {
        (): (SEGMENTATION,),
        ("by_group", ANY): (VOLUME,),
        ("over_thresholds", ANY): (SEGMENTATION,),
        ("predict_nothing",): (SEGMENTATION,),
    },
}
HEAD = """\
# What the numbers mean

Every number that cvlab reports, with its formula, its range, where the definition comes from and when it misleads. A
value that is undefined is null with its reason, never a made-up 0. This file is made of the definitions in the program,
which reports show too: `python -m cvlab.definitions > docs/metrics.md`.
"""


def find(task: str, path: Sequence[str]) -> tuple[Group, Definition] | None:
    """Returns the definition of a number in a table of `metrics.json`; None for what is no number.

    Args:
        task: The name of the task that the table belongs to.
        path: The keys that lead to it, such as `("per_class", "happy", "recall")`.
    """
    *above, key = path
    place = (above[0], ANY) if above and above[0] in NAMED and len(above) == 2 else tuple(above)
    found = ((group, group.find(key)) for group in PLACES.get(task, {}).get(place, ()))
    return next(((group, definition) for group, definition in found if definition is not None), None)


def path_of(name: str) -> tuple[str, ...]:
    """Returns the keys that `binary.f1` or `per_class.happy.recall` stands for; the name of a class may hold dots."""
    first, _, rest = name.partition(".")
    if first not in NAMED or "." not in rest:
        return tuple(name.split("."))
    named, _, key = rest.rpartition(".")
    return first, named, key


def metric_names(task: str, *, top_k: int, named: str = ANY) -> list[str]:
    """Returns the names of all metrics in a table of `metrics.json`, those of classes and the like for one `named`."""
    found = []
    for place, groups in PLACES.get(task, {}).items():
        if place[:1] == ("by_group",):
            continue
        above = "".join(f"{named if part == ANY else part}." for part in place)
        keys = [definition.key for group in groups for definition in group.definitions]
        keys = [key for key in keys if place != ("calibrated",) or key in CALIBRATED]
        found += [f"{above}{key.replace('<k>', str(top_k))}" for key in keys if key not in NO_METRICS]
    return found


def metrics_document() -> str:
    """Returns docs/metrics.md."""
    return "\n".join([HEAD, *(line for group in GROUPS for line in _group_lines(group))]).rstrip("\n") + "\n"


def _group_lines(group: Group) -> Iterator[str]:
    yield from (f"## {group.title}", "", group.about, "")
    for definition in group.definitions:
        yield f'### <a id="{group.anchor(definition)}"></a>{definition.named()}'
        yield ""
        yield f"`{definition.key}`: {definition.formula}."
        yield ""
        source = f" Source: {definition.source}." if definition.source else ""
        yield f"Range: {definition.range}.{source}"
        yield ""
        yield f"Beware: {definition.misleads}"
        yield ""


if __name__ == "__main__":
    import sys

    sys.stdout.write(metrics_document())
