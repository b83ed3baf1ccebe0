"""What differs in the configurations of runs, by dotted key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cvlab.run_folder import Json

NOT_SET = "(not set)"
# Not what a run does but what it is called, and what it was hoped to reach.
NO_SETTINGS = ("name", "expected")


def dotted(config: Json) -> dict[str, str]:
    """Returns every setting of a configuration by its dotted key, as one writes it: `stages.0.epochs`, `20`.

    Lists of mappings are counted from 0; a list of plain values is one setting.
    """
    settings = {key: value for key, value in config.items() if key not in NO_SETTINGS}
    return {key: _written(value) for key, value in _leaves(settings, "")}


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    prefix = f"{key}." if key else ""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{prefix}{name}")
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{prefix}{number}")
    else:
        yield key, value


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def differences(configs: Sequence[Sequence[Json]]) -> list[tuple[str, list[str]]]:
    """Returns the settings that differ: key, then the value of each of several models.

    Args:
        configs: The configurations of the runs of each model; what differs between its own runs stands there in turn.
    """
    settings = [[dotted(config) for config in runs] for runs in configs]
    keys = dict.fromkeys(key for runs in settings for one in runs for key in one)
    rows = [(key, [_of_runs([one.get(key, NOT_SET) for one in runs]) for runs in settings]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def _of_runs(values: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def same_but_for_the_seed(config: Json) -> str:
    """Returns what is equal for two configurations exactly when they differ in their seed alone."""
    settings = dotted(config)
    settings.pop("seed", None)
    return json.dumps([config.get("name"), settings], sort_keys=True)
