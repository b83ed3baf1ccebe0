"""What a report is made of: the files of a run, read once, and what a task adds to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cvlab.bounded_file import BadJson, parse_json, read_bounded
from cvlab.document import Block, Picture, Table
from cvlab.errors import ConfigError, RunFolderError
from cvlab.run_folder import MAX_JSON_BYTES, Json, RunFolder, read_json
from cvlab.run_forms import CONFIG, EPOCH, misfit
from cvlab.yaml_file import read_document


@dataclass(frozen=True)
class RunRecord:
    """The files of a run that no task changes the form of."""

    run: RunFolder
    config: Json
    environment: Json
    data: Json
    model: Json
    history: list[Json]
    status: Json

    @property
    def name(self) -> str:
        """The name of the experiment and of its folder."""
        return f"{self.config.get('name', self.run.path.parent.name)} {self.run.path.name}"

    @property
    def synthetic(self) -> bool:
        """Whether the run used synthetic sample data."""
        return bool(self.data.get("synthetic"))

    @property
    def stages(self) -> list[str]:
        """The stages' names, in order."""
        return [str(stage["name"]) for stage in self.config.get("stages") or []]

    @property
    def tasks(self) -> dict[str, Json]:
        """The settings of each stage's task, by the stage's name, in order."""
        stages = self.config.get("stages") or []
        return {str(stage["name"]): stage.get("task") or self.config["task"] for stage in stages}

    @property
    def task(self) -> Json:
        """The settings of the last stage's task, which the results are about."""
        tasks = [*self.tasks.values()]
        return tasks[-1] if tasks else self.config.get("task") or {}

    @property
    def stages_of_task(self) -> list[str]:
        """The stages that predict the same as the last one and are judged by the same loss."""
        outputs = {str(stage["stage"]): stage.get("outputs") for stage in self.data.get("stages") or []}
        asked = {stage: (outputs.get(stage), _loss(task)) for stage, task in self.tasks.items()}
        return [stage for stage, wanted in asked.items() if wanted == [*asked.values()][-1]]

    @property
    def history_of_task(self) -> list[Json]:
        """The epochs of `stages_of_task`: the loss of another task is another quantity."""
        return [epoch for epoch in self.history if str(epoch["stage"]) in self.stages_of_task]


def _loss(task: Json) -> str | None:
    loss = task.get("loss")
    return loss.get("name") if isinstance(loss, dict) else None


@dataclass(frozen=True)
class TaskSummary:
    """The results of a task in short, for the top of a report.

    Attributes:
        headline: The few metrics that say how good the network is.
        baseline: What they would be without a network, as Markdown; may be empty.
        fit: How well the best weights fit each split, a sentence of plain text; may be empty.
        cautions: Those of the findings that speak against the numbers.
    """

    headline: Table
    baseline: str
    fit: str
    cautions: list[str]


@dataclass(frozen=True)
class TaskReport:
    """What a task adds to a report.

    Attributes:
        sections: The results: blocks by heading, in order; a heading without blocks is left out.
        curves: The learning curves.
        findings: What the curves and the results say, in sentences of plain text.
        summary: The results in short.
    """

    sections: dict[str, list[Block]]
    curves: list[Picture]
    findings: list[str]
    summary: TaskSummary


def read_record(run: RunFolder) -> RunRecord:
    """Reads the files of a run.

    Raises:
        RunFolderError: One is missing or damaged.
    """
    return RunRecord(
        run=run,
        config=_config(run),
        environment=_object(run, "environment"),
        data=_object(run, "data"),
        model=_object(run, "model"),
        history=_history(run),
        status=_object(run, "status") if run.status.is_file() else {},
    )


def _object(run: RunFolder, name: str) -> Json:
    path = getattr(run, name)
    value: Json = read_json(path)
    return value


def _config(run: RunFolder) -> Json:
    try:
        document = read_document(run.config)
        problems = [str(problem) for problem in document.problems]
    except ConfigError as error:
        problems = error.problems
    if problems:
        raise RunFolderError(f"{run.config}: cannot be read as YAML ({problems[0]}).")
    if wrong := misfit(CONFIG, document.value):
        raise RunFolderError(f"{run.config}: is damaged: {wrong}.")
    return document.value


def _history(run: RunFolder) -> list[Json]:
    """The epochs so far; a run that never trained has none."""
    if not run.history.is_file():
        return []
    epochs: list[Any] = []
    try:
        lines = read_bounded(run.history, MAX_JSON_BYTES).decode("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{run.history}: cannot be read ({error}).") from error
    for number, line in enumerate(filter(None, lines), start=1):
        try:
            epochs.append(parse_json(line, finite=False))
        except BadJson as error:
            raise RunFolderError(f"{run.history}: line {number}: is damaged: expected JSON ({error}).") from error
        if wrong := misfit(EPOCH, epochs[-1]):
            raise RunFolderError(f"{run.history}: line {number}: is damaged: {wrong}.")
    return epochs
