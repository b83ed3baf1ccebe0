"""The top of a report: what was trained, on which data, how good it is, and what to beware of."""

from __future__ import annotations

from cvlab.document import Block, Bullets, Paragraph, Section, Table
from cvlab.errors import counted
from cvlab.reading_stages import stage_sentences
from cvlab.report_record import RunRecord, TaskSummary
from cvlab.report_text import code, md
from cvlab.run_folder import Json
from cvlab.text import duration

SYNTHETIC = "SYNTHETIC SAMPLE DATA"
LEAK_WARNING = "LEAKAGE: "
NO_WEIGHTS = "none"
MOST_OUTPUTS = 24


def summary_sections(record: RunRecord, summary: TaskSummary) -> list[Section]:
    """Returns the summary and its parts, the first sections of a report."""
    baseline = [Paragraph(summary.baseline)] if summary.baseline else []
    fit = [*stage_sentences(record.history_of_task, ("val_loss",)), *([summary.fit] if summary.fit else [])]
    return [
        Section("Summary", [_facts(record)]),
        Section("How good it is", [summary.headline, *baseline], level=3),
        *([Section("How well it fits", [Bullets(fit)], level=3)] if fit else []),
        Section("What to beware of", _beware(record, summary), level=3),
    ]


def not_complete(record: RunRecord) -> str:
    """Returns why a run is not complete, or nothing if it is."""
    if record.run.best.is_file():
        return ""
    status, reason = record.status.get("status", "unknown"), record.status.get("reason")
    reason = reason or ("under way, or killed" if status == "running" else "no reason was written")
    numbers = "Its numbers are those of the best weights at the last evaluation."
    return f"This run is not complete: {status} ({reason}). {numbers}"


def _facts(record: RunRecord) -> Table:
    """What was trained, on which data."""
    model = record.config.get("model") or {}
    seconds = sum(epoch.get("seconds") or 0.0 for epoch in record.history)
    weights = record.model.get("weights")
    rows = [
        ["model", f"{md(model.get('network') or model.get('name'))}, {record.model.get('total', 0):,} parameters"],
        *([["weights", md(weights)]] if weights else []),
        *_task_rows(record),
        *_data_rows(record.config),
        *_sample_rows(record),
        ["training time", f"{duration(seconds)}, {counted(len(record.history), 'epoch')}"],
    ]
    return Table(["", ""], rows, text_columns=2)


def _task_rows(record: RunRecord) -> list[list[str]]:
    labelled = {str(stage["stage"]): stage for stage in record.data.get("stages") or []}
    shown = {
        stage: f"{md(task['name'])} ({md(_outputs(labelled.get(stage, {})))})" for stage, task in record.tasks.items()
    }
    if len({*shown.values()}) == 1:
        return [["task", *{*shown.values()}]]
    return [[f"task of stage {md(stage)}", text] for stage, text in shown.items()]


def _outputs(stage: Json) -> str:
    outputs = [str(output) for output in stage.get("outputs", [])[1:]]
    more = f" and {len(outputs) - MOST_OUTPUTS} more" if len(outputs) > MOST_OUTPUTS else ""
    return f"{', '.join(outputs[:MOST_OUTPUTS])}{more}" or "no outputs"


def _data_rows(config: Json) -> list[list[str]]:
    stages = [stage for stage in config.get("stages") or [] if stage.get("data")]
    named = [("data", config.get("data") or {}), *((f"data of stage {s['name']}", s["data"]) for s in stages)]
    return [[md(label), f"{md(data.get('name'))}, {_roots(data)}"] for label, data in named]


def _roots(data: Json) -> str:
    roots = data.get("table") or data.get("root") or "no root"
    if isinstance(roots, dict):
        return ", ".join(f"{md(split)} {code(path)}" for split, path in roots.items())
    return ", ".join(map(code, roots)) if isinstance(roots, list) else code(roots)


def _sample_rows(record: RunRecord) -> list[list[str]]:
    """How many samples there are, for the last stage."""
    stages = record.data.get("stages") or []
    if not stages:
        return []
    last = stages[-1]
    splits = ", ".join(f"{sum(by_class.values()):,} {md(split)}" for split, by_class in last["counts"].items())
    groups = last.get("groups")
    grouped = (
        f" ({counted(groups, last.get('group_name', 'group'))})"
        if groups is not None and groups < last.get("images", groups)
        else ""
    )
    whose = f" of stage {md(last['stage'])}" if any(s["counts"] != last["counts"] for s in stages) else ""
    return [[f"samples{whose}", f"{splits}{grouped}"]]


def _beware(record: RunRecord, summary: TaskSummary) -> list[Block]:
    found = [
        *_of_the_run(record),
        *dict.fromkeys(
            warning
            for stage in record.data.get("stages") or []
            for warning in stage.get("warnings", [])
            if not warning.startswith(LEAK_WARNING)
        ),
        *summary.cautions,
    ]
    if found:
        return [Bullets(found)]
    return [Paragraph("Nothing that this report looks for was found. That does not prove that there is nothing.")]


def _of_the_run(record: RunRecord) -> list[str]:
    """What speaks against the numbers of a run, whatever its task."""
    found = []
    if record.synthetic:
        found.append("Synthetic sample data: the numbers say nothing about real images.")
    if leaks := record.data.get("leaks"):
        found.append(
            f"Leakage: {counted(len(leaks), 'finding')}, at the top; the results may look better than they are."
        )
    if said := not_complete(record):
        found.append(said)
    if (frozen := _frozen_at_random(record)) is not None:
        found.append(
            f"Frozen random weights: stage {frozen} kept layers frozen that had learned nothing, since the run began "
            "without pretrained weights."
        )
    return found


def _frozen_at_random(record: RunRecord) -> str | None:
    """Returns the first stage that freezes a backbone before it has learned anything."""
    model = record.config.get("model") or {}
    stages = record.config.get("stages") or []
    if not stages or model.get("weights", NO_WEIGHTS) != NO_WEIGHTS or model.get("init_from"):
        return None
    trainable = stages[0].get("trainable", "all")
    return None if trainable == "all" else str(stages[0].get("name"))
