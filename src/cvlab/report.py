"""A run folder becomes report.md: figures and tables from its files alone, without TensorFlow."""

from __future__ import annotations

import shlex
from itertools import groupby
from pathlib import Path
from types import ModuleType

from cvlab.document import (
    Alert,
    Block,
    Bullets,
    Code,
    Document,
    Paragraph,
    Picture,
    Quote,
    Section,
    Table,
    to_markdown,
)
from cvlab.errors import RunFolderError, counted, did_you_mean
from cvlab.registry import load
from cvlab.report_imbalance import class_frequencies
from cvlab.report_parts import picture_blocks
from cvlab.report_record import RunRecord, TaskReport, read_record
from cvlab.report_text import code, md
from cvlab.run_folder import Json, RunFolder, read_json, write_text
from cvlab.speed import verdict
from cvlab.text import duration

TASK_REPORTS = {
    "classification": "cvlab.report_classification",
    "regression": "cvlab.report_regression",
    "segmentation": "cvlab.report_segmentation",
}
SAMPLE_PICTURES = {
    "augmented.png": "training images after augmentation",
    "predictions.png": "predictions",
    "worst_errors.png": "largest errors",
    "worst.png": "worst masks",
}
SYNTHETIC = "SYNTHETIC SAMPLE DATA"


def write_report(run: RunFolder) -> Path:
    """Draws `plots/*.png` and writes `report.md`; the same files give the same bytes.

    Raises:
        RunFolderError: A file of the run is missing or damaged, such as the predictions.
    """
    path: Path = run.report
    write_text(path, to_markdown(build_document(read_record(run))))
    return path


def build_document(record: RunRecord) -> Document:
    """Draws `plots/*.png` and returns the whole report."""
    run = record.run
    part = task_report(record)
    sections: dict[str, list[Block]] = {
        "What was run": _what_was_run(record),
        "Samples": _samples(record),
        **part.sections,
        **_other_tasks(record),
        "Curves in words": [Bullets(part.findings)] if part.findings else [],
        "Pictures": _pictures(record, part.pictures),
        "Model": _model(record),
        "Notes on the data": _data_notes(record),
        "Configuration": [Code(run.config.read_text(encoding="utf-8"), "yaml")],
        "Environment": _environment(record),
        "Repeat this run": [Code(f"cvlab train {shlex.quote(str(run.config))}", "sh")],
    }
    title = f"{SYNTHETIC}: {md(record.name)}" if record.synthetic else md(record.name)
    return Document(
        title, _opening(record), [Section(heading, blocks) for heading, blocks in sections.items() if blocks]
    )


def task_report(record: RunRecord) -> TaskReport:
    """Draws the figures of the task of the last stage and returns its part of the report."""
    report: TaskReport = _report_module(record, record.task).build(record)
    return report


def _report_module(record: RunRecord, task: object) -> ModuleType:
    name = task.get("name") if isinstance(task, dict) else task
    if name not in TASK_REPORTS:
        hint = did_you_mean(name, TASK_REPORTS)
        expected = ", ".join(f"'{known}'" for known in TASK_REPORTS)
        raise RunFolderError(f"{record.run.config}: task.name: expected one of {expected}, received {name!r}{hint}.")
    return load(TASK_REPORTS, str(name))


def _other_tasks(record: RunRecord) -> dict[str, list[Block]]:
    """What stages of other tasks than the last one's came to, a section each."""
    return {
        f"Stage {md(stage)}: {md(task['name'])}": _report_module(record, task).stage_results(record, stage)
        for stage, task in record.tasks.items()
        if stage not in record.stages_of_task
    }


def _opening(record: RunRecord) -> list[Block]:
    blocks: list[Block] = []
    if record.synthetic:
        said = (
            "The images of this run were drawn by a program. Its numbers say nothing about real images; they only show"
        )
        blocks.append(Quote(f"**{SYNTHETIC}.** {said} that everything works."))
    if leaks := record.data.get("leaks"):
        allowed = " (data.allow_leakage is on)" if record.data.get("allow_leakage") else ""
        found = f"LEAKAGE{allowed}: {counted(len(leaks), 'finding')}"
        blocks.append(Alert(f"{found}; the results may look better than they are.", leaks))
    if not record.run.best.is_file():
        status, reason = record.status.get("status", "unknown"), record.status.get("reason")
        reason = reason or ("under way, or killed" if status == "running" else "no reason was written")
        numbers = "Its numbers are those of the best weights at the last evaluation."
        blocks.append(Paragraph(f"**This run is not complete: {md(status)} ({md(reason)}). {numbers}**"))
    return blocks


def _what_was_run(record: RunRecord) -> list[Block]:
    config, environment = record.config, record.environment
    seconds = sum(epoch.get("seconds") or 0.0 for epoch in record.history)
    model = config.get("model") or {}
    rows = [
        ["model", f"{md(model.get('network') or model.get('name'))}, {record.model.get('total', 0):,} parameters"],
        *([["weights", md(record.model["weights"])]] if record.model.get("weights") else []),
        ["preprocessing", md(model.get("preprocessing"))],
        *_task_rows(record),
        *_data_rows(config),
        ["precision", md(environment.get("precision"))],
        ["device", md(environment.get("device"))],
        ["seed", f"{md(environment.get('seed'))}{', deterministic' if environment.get('deterministic') else ''}"],
        ["training time", f"{duration(seconds)}, {counted(len(record.history), 'epoch')}"],
        *([["speed", md(said.replace("`", ""))]] if (said := _speed(record)) else []),
    ]
    blocks: list[Block] = [Table(["", ""], rows, text_columns=2)]
    stages = [_stage_row(name, list(epochs)) for name, epochs in groupby(record.history, key=lambda e: str(e["stage"]))]
    if stages:
        head = ["stage", "epochs", "best epoch", "val loss there", "learning rate", "time", "images/s"]
        blocks.append(Table(head, stages))
    return blocks


def _speed(record: RunRecord) -> str:
    augmented = bool(record.config.get("augment")) or any(s.get("augment") for s in record.config.get("stages") or [])
    environment = record.environment
    computed = {key: str(environment.get(key)) for key in ("precision", "device", "backend")}
    return verdict(record.history, augmented=augmented, **computed)


def _task_rows(record: RunRecord) -> list[list[str]]:
    labelled = {str(stage["stage"]): stage for stage in record.data.get("stages") or []}
    shown = {
        stage: f"{md(task['name'])} ({md(', '.join(labelled.get(stage, {}).get('outputs', [])[1:]) or 'no outputs')})"
        for stage, task in record.tasks.items()
    }
    if len({*shown.values()}) == 1:
        return [["task", *{*shown.values()}]]
    return [[f"task of stage {md(stage)}", text] for stage, text in shown.items()]


def _data_rows(config: Json) -> list[list[str]]:
    stages = [stage for stage in config.get("stages") or [] if stage.get("data")]
    named = [("data", config.get("data") or {}), *((f"data of stage {s['name']}", s["data"]) for s in stages)]
    return [[md(label), f"{md(data.get('name'))}, {_roots(data)}"] for label, data in named]


def _roots(data: Json) -> str:
    roots = data.get("table") or data.get("root") or "no root"
    if isinstance(roots, dict):
        return ", ".join(f"{md(split)} {code(path)}" for split, path in roots.items())
    return ", ".join(map(code, roots)) if isinstance(roots, list) else code(roots)


def _stage_row(name: str, epochs: list[Json]) -> list[str]:
    best: Json = next((epoch for epoch in reversed(epochs) if epoch.get("best")), {})
    rates = [epoch["learning_rate"] for epoch in epochs if epoch.get("learning_rate") is not None]
    speeds = [epoch["images_per_second"] for epoch in epochs if epoch.get("images_per_second") is not None]
    loss = best.get("val_loss")
    ends = dict.fromkeys(f"{rate:.3g}" for rate in (rates[:1] + rates[-1:]))
    return [
        md(name),
        f"{len(epochs)}",
        f"{best.get('epoch', 'none')}",
        "none" if loss is None else f"{loss:.3f}",
        " to ".join(ends) or "not known",
        duration(sum(epoch.get("seconds") or 0.0 for epoch in epochs)),
        f"{sum(speeds) / len(speeds):,.0f}{' (head alone)' * ('features' in epochs[-1])}" if speeds else "not known",
    ]


def _samples(record: RunRecord) -> list[Block]:
    stages = record.data.get("stages") or []
    if not stages:
        return []
    blocks: list[Block] = []
    if all(stage["counts"] == stages[0]["counts"] for stage in stages):
        blocks.append(_counts(stages[0]["counts"]))
    else:
        for stage in stages:
            blocks += [Paragraph(f"Stage {md(stage['stage'])}:"), _counts(stage["counts"])]
    return blocks + class_frequencies(record)


def _counts(counts: dict[str, dict[str, int]]) -> Table:
    classes = dict.fromkeys(name for by_class in counts.values() for name in by_class)
    rows = {name: [by_class.get(name, 0) for by_class in counts.values()] for name in classes}
    cells = [[md(name), *(f"{count:,}" for count in (*row, sum(row)))] for name, row in rows.items()]
    if len(cells) == 1:
        return Table(["", *map(md, counts), "all"], cells)
    sums = [sum(by_class.values()) for by_class in counts.values()]
    total = ["**all**", *(f"**{count:,}**" for count in (*sums, sum(sums)))]
    return Table(["class", *map(md, counts), "all"], [*cells, total])


def _pictures(record: RunRecord, drawn: list[Picture]) -> list[Block]:
    samples = [
        Picture(f"{record.run.pictures.name}/{name}", caption)
        for name, caption in SAMPLE_PICTURES.items()
        if (record.run.pictures / name).is_file()
    ]
    return picture_blocks([*drawn, *samples])


def _model(record: RunRecord) -> list[Block]:
    model = record.model
    total, trainable = model.get("total", 0), model.get("trainable", 0)
    layers = counted(len(model.get("layers", [])), "layer")
    said = f"{total:,} parameters, {trainable:,} of them trainable at the end; {layers} in [model.json](model.json)."
    rows = [[md(s["stage"]), f"{s['trainable']:,}", f"{s['frozen']:,}"] for s in model.get("stages", [])]
    head = ["stage", "trained", "not trained (frozen layers, BatchNorm statistics)"]
    return [Paragraph(said), *([Table(head, rows)] if rows else [])]


def _data_notes(record: RunRecord) -> list[Block]:
    lines = []
    for stage in record.data.get("stages") or []:
        name = stage["stage"]
        if stage.get("groups") is not None:
            lines.append(f"Stage {name}: {counted(stage['images'], 'image')} in {counted(stage['groups'], 'group')}")
        lines += [f"Stage {name}: {note}" for note in stage.get("notes", [])]
        lines += [f"Stage {name}: WARNING: {warning}" for warning in stage.get("warnings", [])]
    for path in sorted(record.run.predictions("test").parent.glob("data-*.json")):
        lines += [f"{path.stem}: {note}" for note in read_json(path)["notes"]]
    return [Bullets(lines)] if lines else []


def _environment(record: RunRecord) -> list[Block]:
    environment = record.environment
    git = environment.get("git") or {}
    dirty = ", with changes that are not committed" if git.get("dirty") else ""
    others = {key: value for key, value in environment.items() if isinstance(value, str | int | float)}
    named_already = ("command", "precision", "device", "seed", "deterministic")
    command = environment.get("command")
    rows = [
        ["command", code(shlex.join(command) if isinstance(command, list) else command)],
        ["git commit", f"{code(git['commit'])}{dirty}" if git.get("commit") else "not in a git repository"],
        *([md(key), md(value)] for key, value in others.items() if key not in named_already),
        *([md(name), md(version)] for name, version in (environment.get("versions") or {}).items()),
    ]
    return [Table(["", ""], rows, text_columns=2)]
