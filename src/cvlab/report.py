"""A run folder becomes report.md and report.html: figures and tables from its files alone, without TensorFlow."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import ModuleType

from cvlab.document import Alert, Block, Code, Document, Quote, Section, to_markdown
from cvlab.document_html import to_html
from cvlab.errors import RunFolderError, counted, did_you_mean
from cvlab.registry import load
from cvlab.report_data import audit_section, samples_section
from cvlab.report_definitions import with_definitions, with_links
from cvlab.report_expected import HEADING as EXPECTED
from cvlab.report_expected import expected_section
from cvlab.report_record import RunRecord, TaskReport, read_record
from cvlab.report_setup import environment_section, model_section, training_section
from cvlab.report_summary import SYNTHETIC, not_complete, summary_sections
from cvlab.report_text import md
from cvlab.run_folder import RunFolder, write_text

TASK_REPORTS = {
    "classification": "cvlab.report_classification",
    "regression": "cvlab.report_regression",
    "segmentation": "cvlab.report_segmentation",
}


def write_report(run: RunFolder) -> Path:
    """Draws `plots/*.png`, writes `report.md` and `report.html`, and returns the path of the first.

    The same files give the same bytes.

    Raises:
        RunFolderError: A file of the run is missing or damaged, such as the predictions.
    """
    record = read_record(run)
    return write_document(record, build_document(record))


def write_document(record: RunRecord, document: Document) -> Path:
    """Adds the definitions of the numbers that a report shows, writes it in both forms, and returns the Markdown."""
    run, document = record.run, with_definitions(record, document)
    page = to_html(with_links(record, document), run.path)
    path: Path = run.report
    write_text(path, to_markdown(document))
    write_text(run.report_page, page)
    return path


def build_document(record: RunRecord) -> Document:
    """Draws `plots/*.png` and returns the whole report."""
    run, part = record.run, task_report(record)
    sections: dict[str, list[Block]] = {
        EXPECTED: expected_section(record),
        "Samples": samples_section(record),
        "Data audit": audit_section(record),
        "Training": training_section(record, part),
        **part.sections,
        **_other_tasks(record),
        "Configuration": [Code(run.config.read_text(encoding="utf-8"), "yaml")],
        "Environment": environment_section(record),
        "Model": model_section(record),
        "Repeat this run": [Code(f"cvlab train {shlex.quote(str(run.config))}", "sh")],
    }
    title = f"{SYNTHETIC}: {md(record.name)}" if record.synthetic else md(record.name)
    others = [Section(heading, blocks) for heading, blocks in sections.items() if blocks]
    return Document(title, _opening(record), [*summary_sections(record, part.summary), *others])


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
    """What must not be overlooked."""
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
    if said := not_complete(record):
        blocks.append(Quote(f"**{md(said)}**"))
    return blocks
