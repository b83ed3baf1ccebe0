"""What each model costs: parameters, size on disk, training time and speed; and on what it was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from cvlab.compare_entrants import Entrant
from cvlab.report_record import RunRecord

DEVICE = ("device", "gpu", "cpus", "platform", "backend", "precision")
VERSIONS = ("cvlab", "keras", "tensorflow", "jax")


@dataclass(frozen=True)
class Costs:
    """The means over the runs of a model; None where no run says.

    Attributes:
        parameters: All of the network's, the frozen ones too.
        bytes: Of `best.keras`.
        seconds: Of all epochs.
        images_per_second: In training; of the epochs that ran the whole network, where there are any.
        head_alone: Whether that is the speed of a head on features that were computed once.
    """

    parameters: int | None
    bytes: int | None
    seconds: float | None
    images_per_second: float | None
    head_alone: bool

    @classmethod
    def of(cls, entrant: Entrant) -> Costs:
        """Takes them from the files of the runs."""
        records = entrant.records
        speeds = [_speed(record) for record in records]
        return cls(
            parameters=_whole([record.model.get("total") for record in records]),
            bytes=_whole([_size(record) for record in records]),
            seconds=_mean([_seconds(record) for record in records]),
            images_per_second=_mean([speed for speed, _ in speeds]),
            head_alone=any(head for _, head in speeds),
        )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _whole(values: Sequence[int | None]) -> int | None:
    mean = _mean(values)
    return None if mean is None else round(mean)


def _size(record: RunRecord) -> int | None:
    return record.run.best.stat().st_size if record.run.best.is_file() else None


def _seconds(record: RunRecord) -> float | None:
    known = [epoch["seconds"] for epoch in record.history if epoch.get("seconds") is not None]
    return sum(known) if known else None


def _speed(record: RunRecord) -> tuple[float | None, bool]:
    timed = [epoch for epoch in record.history if epoch.get("images_per_second") is not None]
    whole = [epoch for epoch in timed if "features" not in epoch]
    return _mean([epoch["images_per_second"] for epoch in whole or timed]), bool(timed) and not whole


def machine(record: RunRecord) -> dict[str, str]:
    """Returns what a run was trained on and with, by name."""
    environment = record.environment
    versions = environment.get("versions") or {}
    git = environment.get("git") or {}
    found = {key: environment.get(key) for key in DEVICE} | {name: versions.get(name) for name in VERSIONS}
    found["git commit"] = git.get("commit") and f"{git['commit'][:12]}{', changed' if git.get('dirty') else ''}"
    return {key: str(value) for key, value in found.items() if value is not None}


def machines_differ(entrants: Sequence[Entrant]) -> list[tuple[str, list[str]]]:
    """Returns what differs in devices and versions: name, then the value of each model."""
    found = [[machine(record) for record in entrant.records] for entrant in entrants]
    keys = dict.fromkeys(key for runs in found for one in runs for key in one)
    rows = [
        (key, [", ".join(dict.fromkeys(one.get(key, "not known") for one in runs)) for runs in found]) for key in keys
    ]
    return [(key, values) for key, values in rows if len(set(values)) > 1]
