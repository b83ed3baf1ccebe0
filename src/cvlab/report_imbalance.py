"""What training sees of each class: how often it is drawn, its weight, and its share of the loss."""

from __future__ import annotations

from cvlab.data.sampling import class_weights
from cvlab.document import Block, Paragraph, Table
from cvlab.report_record import RunRecord
from cvlab.report_text import md
from cvlab.run_folder import Json


def class_frequencies(record: RunRecord) -> list[Block]:
    """Returns a table for each stage whose samples have classes; stages that see the same have one together."""
    stages = [stage for stage in record.data.get("stages") or [] if stage.get("draws")]
    described = {str(stage["stage"]): _seen(record, stage) for stage in stages}
    blocks: list[Block] = []
    found = [*described.values()]
    for seen in (one for index, one in enumerate(found) if one not in found[:index]):
        names = [md(name) for name, other in described.items() if other == seen]
        whose = "" if len(names) == len(record.stages) else f" of stage {', '.join(names)}"
        blocks += [Paragraph(f"What an epoch of training{whose} sees of each class:"), *seen]
    return blocks


def _seen(record: RunRecord, stage: Json) -> tuple[Table, Paragraph]:
    """The table of a stage, and a sentence on the settings behind it."""
    name, draws = str(stage["stage"]), stage["draws"]
    task = record.tasks[name]
    if task.get("name") == "segmentation":
        # Its losses weigh pixels: those of a batch together, or each by itself.
        counts = [[md(label), f"{cells['samples']:,}", f"{cells['drawn']:,}"] for label, cells in draws.items()]
        said = f"Sampling: {md(_sampling(record, name))}. Loss: {md(_loss(task))}, which weighs pixels, not images."
        return Table(["class", "samples", "drawn"], counts), Paragraph(said)
    weights = _weights(task, {label: cells["samples"] for label, cells in draws.items()})
    parts = {label: cells["drawn"] * weights[label] for label, cells in draws.items()}
    total = sum(parts.values())
    rows = [
        [md(label), f"{cells['samples']:,}", f"{cells['drawn']:,}", f"{weights[label]:.3f}", f"{part / total:.1%}"]
        for (label, cells), part in zip(draws.items(), parts.values(), strict=True)
    ]
    given = task.get("class_weights") or "none"
    remedies = (
        f"Sampling: {md(_sampling(record, name))}. Class weights: {given if isinstance(given, str) else 'as given'}. "
        f"Loss: {md(_loss(task))}. The share of the loss is drawn times weight, as if all samples had equal losses."
    )
    return Table(["class", "samples", "drawn", "weight", "share of the loss"], rows), Paragraph(remedies)


def _weights(task: Json, counts: dict[str, int]) -> dict[str, float]:
    """The weight of each class, those of `class_weights` and of a focal loss together."""
    weights = class_weights(task.get("class_weights"), counts) or dict.fromkeys(counts, 1.0)
    alpha = (task.get("loss") or {}).get("alpha")
    if alpha is None:
        return weights
    first, second = weights
    return {first: weights[first] * (1 - alpha), second: weights[second] * alpha}


def _sampling(record: RunRecord, stage: str) -> str:
    (config,) = [config for config in record.config["stages"] if config["name"] == stage]
    data = config.get("data") or record.config.get("data") or {}
    return str(data.get("sampling", "natural"))


def _loss(task: Json) -> str:
    loss = task.get("loss") or {}
    left_out = {"name": loss.get("name"), "alpha": None, "label_smoothing": 0.0}
    settings = ", ".join(f"{key} {value:g}" for key, value in loss.items() if left_out.get(key, ...) != value)
    return f"{loss.get('name', 'not known')}{f' ({settings})' if settings else ''}"
