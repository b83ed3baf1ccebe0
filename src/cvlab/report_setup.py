"""The parts of a report on how a run was made: training, environment, model and its layers."""

from __future__ import annotations

import shlex
from itertools import groupby

from cvlab.document import Block, Bullets, Paragraph, Picture, Table
from cvlab.errors import counted
from cvlab.report_parts import picture_blocks
from cvlab.report_record import RunRecord, TaskReport
from cvlab.report_text import code, md
from cvlab.run_folder import Json
from cvlab.speed import verdict
from cvlab.text import duration

NAMED_ALREADY = ("command", "precision", "device", "seed", "deterministic")


def training_section(record: RunRecord, part: TaskReport) -> list[Block]:
    """Returns what each stage did, the learning curves, both in words, and what was trained on."""
    stages = [_stage_row(name, list(epochs)) for name, epochs in groupby(record.history, key=lambda e: str(e["stage"]))]
    head = ["stage", "epochs", "best epoch", "val loss there", "learning rate", "time", "images/s"]
    augmented = record.run.pictures / "augmented.png"
    shown = [*part.curves]
    if augmented.is_file():
        path = f"{record.run.pictures.name}/{augmented.name}"
        alt = "Training images in rows, each followed by what augmentation makes of it."
        shown.append(Picture(path, "training images after augmentation", alt))
    speed = _speed(record)
    return [
        *([Table(head, stages)] if stages else []),
        *([Paragraph(speed)] if speed else []),
        *([Bullets(part.findings)] if part.findings else []),
        *picture_blocks(shown),
    ]


def _speed(record: RunRecord) -> str:
    augmented = bool(record.config.get("augment")) or any(s.get("augment") for s in record.config.get("stages") or [])
    environment = record.environment
    computed = {key: str(environment.get(key)) for key in ("precision", "device", "backend")}
    return verdict(record.history, augmented=augmented, **computed)


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


def environment_section(record: RunRecord) -> list[Block]:
    """Returns the command, versions and machine of a run."""
    environment = record.environment
    git = environment.get("git") or {}
    dirty = ", with changes that are not committed" if git.get("dirty") else ""
    others = {key: value for key, value in environment.items() if isinstance(value, str | int | float)}
    command = environment.get("command")
    rows = [
        ["command", code(shlex.join(command) if isinstance(command, list) else command)],
        ["git commit", f"{code(git['commit'])}{dirty}" if git.get("commit") else "not in a git repository"],
        ["seed", f"{md(environment.get('seed'))}{', deterministic' if environment.get('deterministic') else ''}"],
        ["precision", md(environment.get("precision"))],
        ["device", md(environment.get("device"))],
        *([md(key), md(value)] for key, value in others.items() if key not in NAMED_ALREADY),
        *([md(name), md(version)] for name, version in (environment.get("versions") or {}).items()),
    ]
    return [Table(["", ""], rows, text_columns=2)]


def model_section(record: RunRecord) -> list[Block]:
    """Returns what each stage trains and freezes, and the table of layers of the last one."""
    model, layers = record.model, record.model.get("layers", [])
    total, trainable = model.get("total", 0), model.get("trainable", 0)
    preprocessing = md((record.config.get("model") or {}).get("preprocessing"))
    said = (
        f"{total:,} parameters, {trainable:,} of them trainable at the end; {counted(len(layers), 'layer')}; "
        f"preprocessing: {preprocessing}."
    )
    stages = [[md(s["stage"]), f"{s['trainable']:,}", f"{s['frozen']:,}"] for s in model.get("stages", [])]
    head = ["stage", "trained", "not trained (frozen layers, BatchNorm statistics)"]
    rows = [_layer_row(layer) for layer in layers]
    return [
        Paragraph(said),
        *([Table(head, stages)] if stages else []),
        *(
            [Table(["layer", "kind", "output", "in the last stage", "parameters"], rows, text_columns=4)]
            if rows
            else []
        ),
    ]


def _layer_row(layer: Json) -> list[str]:
    """A layer: what has no parameters is neither trained nor frozen; the shape is that of one image."""
    shape = layer.get("output_shape")
    sizes = " x ".join("any" if size is None else str(size) for size in shape[1:]) if shape else ""
    parameters = layer.get("parameters", 0)
    state = ("trained" if layer.get("trainable") else "frozen") if parameters else ""
    return [md(layer["name"]), md(layer["type"]), md(sizes), state, f"{parameters:,}"]
