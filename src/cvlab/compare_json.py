"""A comparison as JSON: every number, for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cvlab.compare_config import differences
from cvlab.compare_costs import Costs, machine
from cvlab.compare_entrants import Entrant
from cvlab.compare_found import Compared
from cvlab.compare_task import Metric, cell_at
from cvlab.compare_tests import Comparison, Pair
from cvlab.run_folder import Json

INTERVAL = ("low", "high", "method", "no_interval", "reason")


def json_of(found: Compared) -> Json:
    """Returns what `compare.json` holds; models are named by their letters."""
    configs = [[record.config for record in entrant.records] for entrant in found.entrants]
    letters = [entrant.letter for entrant in found.entrants]
    return {
        "split": found.split,
        "samples": len(found.samples.ids),
        "groups": found.samples.groups,
        "pairing": found.samples.pairing,
        "left_out_samples": found.samples.left_out,
        "ranked_by": found.metrics[0].key,
        "warnings": list(found.warnings),
        "sentences": found.sentences(),
        "models": {entrant.letter: _model(entrant, found) for entrant in found.entrants},
        "pairs": [_pair(pair) for pair in found.pairs],
        "configuration": {key: dict(zip(letters, values, strict=True)) for key, values in differences(configs)},
    }


def _model(entrant: Entrant, found: Compared) -> Json:
    return {
        "name": entrant.name,
        "kind": entrant.kind,
        "runs": [str(record.run.path) for record in entrant.records],
        "seeds": [record.config.get("seed") for record in entrant.records],
        "synthetic": any(record.synthetic for record in entrant.records),
        **asdict(Costs.of(entrant)),
        "machine": machine(entrant.records[0]),
        "metrics": {metric.key: _value(entrant, metric) for metric in found.metrics},
    }


def _value(entrant: Entrant, metric: Metric) -> Json:
    found: dict[str, Any] = {"value": entrant.value(metric.path)}
    if len(entrant.results) == 1:
        cell = cell_at(entrant.results[0].metrics, metric.path) or {}
        found |= {key: cell[key] for key in INTERVAL if key in cell}
    if len(entrant.parts) > 1:
        found["of_runs"] = entrant.values_of_parts(metric.path)
    return found


def _pair(pair: Pair) -> Json:
    return {
        "first": pair.first.letter,
        "second": pair.second.letter,
        "metrics": {one.metric.key: _comparison(one) for one in pair.comparisons},
    }


def _comparison(one: Comparison) -> Json:
    found = {key: value for key, value in vars(one).items() if key not in ("metric", "others")}
    others = [
        {
            "test": other.test.name,
            "p": other.test.p,
            "p_holm": other.p_holm,
            "assumptions_hold": other.holds,
            "counts": other.test.note,
            **(other.test.difference._asdict() if other.test.difference else {}),
        }
        for other in one.others
    ]
    return {**found, **({"others": others} if others else {})}
