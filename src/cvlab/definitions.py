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
# The parts of a table in metrics.json: those of the top, and those below a key; `*` stands for any name.
PLACES: dict[str, dict[tuple[str, ...], tuple[Group, ...]]] = {
    "classification": {
        (): (CLASSIFICATION, CALIBRATION),
        ("per_class", "*"): (CLASS,),
        ("binary",): (BINARY,),
        ("calibrated",): (CLASSIFICATION, CALIBRATION),
    },
    "regression": {(): (REGRESSION,), ("per_target", "*"): (TARGET,)},
    "segmentation": {
        (): (SEGMENTATION,),
        ("by_group", "*"): (VOLUME,),
        ("over_thresholds", "*"): (SEGMENTATION,),
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
    groups = PLACES.get(task, {}).get(_place(above), ())
    found = ((group, group.find(key)) for group in groups)
    return next(((group, definition) for group, definition in found if definition is not None), None)


def _place(above: Sequence[str]) -> tuple[str, ...]:
    named = len(above) == 2 and above[0] in ("per_class", "per_target", "by_group", "over_thresholds")
    return (above[0], "*") if named else tuple(above)


def metrics_document() -> str:
    """Returns docs/metrics.md."""
    return "\n".join([HEAD, *(line for group in GROUPS for line in _group_lines(group))]).rstrip("\n") + "\n"


def _group_lines(group: Group) -> Iterator[str]:
    yield from (f"## {group.title}", "", group.about, "")
    for definition in group.definitions:
        yield f'### <a id="{group.anchor(definition)}"></a>{definition.label.replace("{structure}", "the structure")}'
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
