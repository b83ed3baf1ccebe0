"""The intervals of a report: taken from metrics.json, whose values must be those of the predictions tables."""

from __future__ import annotations

from collections.abc import Mapping
from math import isclose
from typing import Any

from cvlab.document import Block, Bullets, Paragraph
from cvlab.errors import RunFolderError, counted
from cvlab.metrics.intervals import INTERVALS, is_cell
from cvlab.report_record import RunRecord
from cvlab.report_text import code
from cvlab.run_folder import Json, read_json

Metrics = dict[str, Any]

# What is added to a cell; everything else in it was computed from the table.
ADDED = ("low", "high", "method", "no_interval")
TOLERANCE = 1e-6
TRAINED_ON = ("train", "train-augmented")
METHODS = {"bca": "BCa bootstrap", "percentile": "percentile bootstrap"}


def with_stored_intervals(
    record: RunRecord, metrics: Mapping[str, Metrics], *, moment: str | None = None
) -> dict[str, Metrics]:
    """Returns metrics that were computed from predictions tables, with the intervals that metrics.json has for them.

    Args:
        record: The run.
        metrics: What was computed, by split.
        moment: The moment of the tables, such as `train-after`; None for those that the run's results are about.

    Raises:
        RunFolderError: A value of metrics.json is not that of the predictions, so that one of the files was changed.
    """
    stored = _stored(record)
    found = {}
    for split, computed in metrics.items():
        name = split if moment is None else f"{moment}/{split}"
        before = stored.get(name)
        if not isinstance(before, dict):
            found[split] = computed
            continue
        if difference := _difference(computed, before):
            where, value, received = difference
            table = record.run.predictions(split, moment=moment)
            raise RunFolderError(
                f"{record.run.metrics}: {name}, {where}: {received}, but it is {value} by {table}: one of the two "
                f"files was changed after the evaluation. To write both anew: cvlab evaluate {record.run.path}"
            )
        found[split] = _merged(computed, before)
    return found


def _stored(record: RunRecord) -> Json:
    if not record.run.metrics.is_file():
        return {}
    value = read_json(record.run.metrics)
    if not isinstance(value, dict):
        raise RunFolderError(f"{record.run.metrics}: is damaged: expected a JSON object of metrics by table.")
    return value


def _difference(computed: Any, stored: Any, where: str = "") -> tuple[str, object, object] | None:
    """Returns the first value that differs: where it stands, what was computed, and what was stored.

    Words may have changed since, and what only one of the two has may be of another version of cvlab.
    """
    if isinstance(computed, Mapping) and isinstance(stored, Mapping):
        for name, value in computed.items():
            place = where if name == "value" and is_cell(computed) else f"{where}, {name}" if where else str(name)
            if name in stored and (found := _difference(value, stored[name], place)):
                return found
        return None
    if isinstance(computed, list) and isinstance(stored, list) and len(computed) == len(stored):
        rows = (_difference(*pair, where) for pair in zip(computed, stored, strict=True))
        return next((found for found in rows if found), None)
    if isinstance(computed, str) or _same(computed, stored):
        return None
    return where, computed, stored


def _same(computed: Any, stored: Any) -> bool:
    numbers = all(isinstance(value, int | float) for value in (computed, stored))
    return isclose(computed, stored, rel_tol=TOLERANCE, abs_tol=1e-12) if numbers else computed == stored


def _merged(computed: Metrics, stored: Json) -> Metrics:
    """Returns the computed metrics with what was added to their cells, and `intervals`."""
    found: Metrics = {}
    for name, cell in computed.items():
        before = stored.get(name)
        if not isinstance(cell, dict) or not isinstance(before, dict):
            found[name] = cell
        elif is_cell(cell):
            found[name] = {**cell, **{key: before[key] for key in ADDED if key in before}}
        else:
            found[name] = _merged(cell, before)
    return {**found, **({INTERVALS: stored[INTERVALS]} if INTERVALS in stored else {})}


def brackets(metrics: Mapping[str, Metrics]) -> str:
    """Returns what stands in brackets behind a number, as a sentence to go on with; nothing without intervals."""
    for split, values in metrics.items():
        if (
            split not in TRAINED_ON
            and INTERVALS in values
            and any("low" in cell for cell in values.values() if is_cell(cell))
        ):
            return f" In brackets stand {values[INTERVALS]['confidence'] * 100:g} % intervals."
    return ""


def interval_cautions(metrics: Mapping[str, Metrics]) -> list[str]:
    """Returns why not to rely on the intervals of a split, as sentences of plain text."""
    described = {split: values[INTERVALS] for split, values in metrics.items() if INTERVALS in values}
    return [f"{split}: {note}." for split, found in described.items() for note in found["notes"]]


def about_intervals(
    record: RunRecord, metrics: Mapping[str, Metrics], labels: Mapping[str, str], *, group: str = "group"
) -> list[Block]:
    """Returns what the intervals of some splits are, and what to beware of; or how to get them.

    Args:
        record: The run.
        metrics: By split, as `with_stored_intervals` returns them.
        labels: What the metrics are called that are shown; those without an interval are named.
        group: What a group is called, such as "patient".
    """
    held_out = {split: values for split, values in metrics.items() if split not in TRAINED_ON}
    described = {split: values[INTERVALS] for split, values in held_out.items() if INTERVALS in values}
    if not described:
        return [Paragraph(f"These values have no intervals; {code(f'cvlab evaluate {record.run.path}')} adds them.")]
    units = {split: group if found["unit"] == "group" else found["unit"] for split, found in described.items()}
    sizes = [f"{split}: {counted(found['units'], units[split])}" for split, found in described.items()]
    notes = interval_cautions(metrics)
    without = [note for split, values in held_out.items() for note in _without(split, values, labels)]
    blocks: list[Block] = [Paragraph(f"{_sentences(described, group)} {'; '.join(sizes)}.")]
    return [*blocks, Bullets([*notes, *without])] if notes or without else blocks


def _sentences(described: Mapping[str, Json], group: str) -> str:
    """What the intervals are: of all splits alike, or of each where they differ."""
    confidence = next(iter(described.values()))["confidence"]
    head = f"In brackets stand {confidence * 100:g} % intervals"
    splits: dict[str, list[str]] = {}
    for split, found in described.items():
        splits.setdefault(_sentence(found, group), []).append(split)
    if len(splits) == 1:
        return f"{head}: {next(iter(splits))}"
    return " ".join([f"{head}.", *(f"Of {' and '.join(names)}: {sentence}" for sentence, names in splits.items())])


def _sentence(found: Json, group: str) -> str:
    resampled = f"{METHODS[found['method']]} ({found['resamples']:,} resamples)"
    if found["unit"] == "group":
        return f"{resampled} of whole {group}s, since the samples of one {group} are alike."
    return (
        f"Wilson for proportions, DeLong for areas under ROC curves, {resampled} for the rest. Every "
        f"{found['unit']} is a {group} of its own here, so these are intervals over {found['unit']}s; if several were "
        "of one patient or person, they would be too narrow."
    )


def _without(split: str, values: Metrics, labels: Mapping[str, str]) -> list[str]:
    """Why metrics of the whole table have no interval, a line a reason."""
    reasons: dict[str, list[str]] = {}
    for name, label in labels.items():
        if reason := values[name].get("no_interval"):
            reasons.setdefault(reason, []).append(label)
    if len(reasons) == 1 and not any("low" in values[name] for name in labels) and values[INTERVALS]["notes"]:
        return []  # The note on the whole split says it already.
    return [f"{split}, no interval of {', '.join(names)}: {reason}." for reason, names in reasons.items()]
