"""The parts of a report that no task changes: summary, data, training, model."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cvlab.document import Bullets, Document, Paragraph, Table, block_markdown
from cvlab.document_html import to_html
from cvlab.document_inline import plain_of
from cvlab.metrics.classification import read_predictions
from cvlab.report import build_document
from cvlab.report_data import audit_section
from cvlab.report_record import TaskSummary, read_record
from cvlab.report_setup import model_section
from cvlab.report_summary import summary_sections
from cvlab.run_folder import RunFolder, read_json, write_json, write_text
from tests.run_fixture import fake_run
from tests.test_report import edit

# Nearly every test draws a figure, or reads a whole run: `scripts/test fast` leaves them out.
pytestmark = pytest.mark.slow

NAMES = ("healthy", "ill")
AUDIT: dict[str, Any] = {
    "formats": {"JPEG": {"healthy": 70, "ill": 20}, "PNG": {"ill": 10}},
    "modes": {"RGB": {"healthy": 70, "ill": 30}},
    "sizes": {"64 x 64": 90, "32 x 32": 10},
    "smallest": "32 x 32: a.png",
    "largest": "64 x 64: b.jpg",
    "file_sizes": [1_000, 20_500, 300_000],
    "unreadable": [f"{number}.png: is empty" for number in range(12)],
    "misnamed": [],
    "tiny": [],
    "one_colour": [],
    "copies": [["a.png", "c.png"]],
    "near": [[3, "a.png", "b.jpg"]],
    "near_pairs": 1_200,
    "contradictory": [],
    "persons": [],
    "clues": [{"name": "format", "auc": {"healthy": 0.66, "ill": None}, "telling": {}}],
    "distance": 16,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of two stages and two classes; tests only read it."""
    return fake_run(tmp_path_factory.mktemp("runs"), names=NAMES, samples=300)


@pytest.fixture(scope="module")
def document(run: RunFolder) -> Document:
    document = build_document(read_record(run))
    write_text(run.report_page, to_html(document, run.path))
    return document


@pytest.fixture
def small(tmp_path: Path) -> RunFolder:
    """A run of one stage, to be changed by a test."""
    run = fake_run(tmp_path, names=NAMES, samples=300, stages=("train",))
    run.best.parent.mkdir(parents=True)
    run.best.touch()
    return run


def change_config(run: RunFolder, **changes: Any) -> None:
    write_text(run.config, yaml.safe_dump(yaml.safe_load(run.config.read_text()) | changes, sort_keys=False))


def beware(run: RunFolder, *cautions: str) -> list[str]:
    """What the summary warns of, where the task has some cautions."""
    summary = TaskSummary(Table(["metric"], []), baseline="", fit="", cautions=[*cautions])
    section = summary_sections(read_record(run), summary)[-1]
    assert section.heading == "What to beware of"
    (block,) = section.blocks
    return list(block.items) if isinstance(block, Bullets) else [block_markdown(block)]


def audited(run: RunFolder, *audits: dict[str, Any]) -> list[str]:
    stages = [
        {"stage": f"s{number}", "counts": {}, "images": 100, "groups": 40, "audit": audit}
        for number, audit in enumerate(audits)
    ]
    edit(run.data, stages=stages)
    return [block_markdown(block) for block in audit_section(read_record(run))]


def test_the_summary_comes_first_and_all_else_in_the_order_of_the_work(document: Document) -> None:
    assert [section.heading for section in document.sections] == [
        "Summary",
        "How good it is",
        "How well it fits",
        "What to beware of",
        "Samples",
        "Data audit",
        "Training",
        "Results",
        "Results by class (test)",
        "Accuracy of the best weights",
        "Before and after each stage",
        "ROC (test)",
        "Precision and recall (test)",
        "Confusion matrix (test)",
        "At the operating point",
        "Calibration",
        "Configuration",
        "Environment",
        "Model",
        "Repeat this run",
    ]
    assert [section.level for section in document.sections][:5] == [2, 3, 3, 3, 2]


def test_the_headline_is_that_of_the_predictions(run: RunFolder, document: Document) -> None:
    table, baseline = document.sections[1].blocks
    assert isinstance(table, Table)
    assert isinstance(baseline, Paragraph)
    cells = {row[0]: row[1:] for row in table.rows}
    tables = [read_predictions(run.predictions(split)) for split in ("val", "test")]
    assert cells["accuracy"] == [f"{(p.target == p.predicted).mean():.3f}" for p in tables]
    share = np.bincount(tables[1].target).max() / len(tables[1].target)
    assert f"(**ill**) would reach accuracy {share:.3f} on test, and balanced accuracy 0.500." in baseline.text


def test_how_well_it_fits_names_the_best_epoch_the_turn_and_the_gap(document: Document) -> None:
    (fit,) = document.sections[2].blocks
    assert isinstance(fit, Bullets)
    assert fit.items[0].startswith("Stage train: best epoch ")
    assert any("validation loss turned after epoch" in sentence for sentence in fit.items)
    assert re.search(r"training plain less validation: [+-]0\.\d{3}\.$", fit.items[-1])


def test_the_page_holds_the_facts_of_the_markdown(run: RunFolder, document: Document) -> None:
    page = unescape(re.sub(r"<[^>]+>", "", run.report_page.read_text()))
    for section in document.sections:
        assert plain_of(section.heading) in page
        for block in section.blocks:
            if isinstance(block, Table):
                texts = [plain_of(cell) for row in (block.head, *block.rows, *block.foot) for cell in row]
            elif isinstance(block, Bullets):
                texts = list(block.items)
            else:
                texts = [plain_of(block.text)] if isinstance(block, Paragraph) else []
            assert all(text in page for text in texts), section.heading


def test_what_to_beware_of(small: RunFolder) -> None:
    small.best.unlink()
    change_config(small, model={"name": "pretrained", "network": "ResNet50", "weights": "none"})
    stages = yaml.safe_load(small.config.read_text())["stages"]
    change_config(small, stages=[{**stages[0], "trainable": "head"}])
    stage = read_json(small.data)["stages"][0]
    stage["warnings"] = ["LEAKAGE: a person stands in two splits.", "file names tell the class"]
    edit(small.data, synthetic=True, leaks=["a person stands in two splits"], stages=[stage, {**stage, "stage": "x"}])
    found = beware(small, "Overfitting: a gap")
    starts = ["Synthetic sample data", "Leakage: 1 finding", "This run is not complete", "Frozen random weights: stage"]
    assert [text.startswith(start) for text, start in zip(found, starts, strict=False)] == [True] * 4
    assert found[4:] == ["file names tell the class", "Overfitting: a gap"]


def test_pretrained_or_trained_layers_are_no_random_ones(small: RunFolder) -> None:
    edit(small.data, stages=[])
    stages = yaml.safe_load(small.config.read_text())["stages"]
    for weights, trainable in (("imagenet", "head"), ("none", "all")):
        change_config(small, model={"name": "x", "weights": weights}, stages=[{**stages[0], "trainable": trainable}])
        assert beware(small) == [
            "Nothing that this report looks for was found. That does not prove that there is nothing."
        ]


def test_the_audit_counts_lists_and_says_what_was_not_found(small: RunFolder) -> None:
    facts, lists, spread_is, spread, clues_are, clues, notes = audited(small, AUDIT)
    for row in (
        "| formats | JPEG (90), PNG (10) |",
        "| width x height | 2 different, most often 64 x 64 (90), 32 x 32 (10) |",
        "| size of a file | 1 kB to 300 kB, median 20.5 kB |",
        "| files that cannot be read | 12 |",
        "| sets of identical pictures | 1 |",
        "| pairs of near-duplicates | 1,200 |",
    ):
        assert row in facts
    assert "| looked for, not found | files of another format than their ending says, images that are" in facts
    assert "9.png: is empty and 2 more" in lists
    assert "- sets of identical pictures: a.png = c.png\n" in lists
    assert r"a.png \~ b.jpg (3 bits apart)" in lists
    assert spread_is == "Formats and pixel modes by class:"
    assert "| healthy | 70 | 0 | 70 |\n| ill | 20 | 10 | 30 |" in spread
    assert "AUC" in clues_are
    assert "| healthy | 0.66 |\n| ill | - |" in clues
    assert notes == "- Stage s0: 100 images in 40 groups"


def test_stages_of_the_same_files_are_audited_once(small: RunFolder) -> None:
    clean = AUDIT | {"unreadable": [], "copies": [], "near": [], "near_pairs": 0, "clues": [], "distance": None}
    blocks = audited(small, AUDIT, clean, clean)
    assert [block for block in blocks if block.startswith("Stage ")] == ["Stage s0:", "Stage s1, s2:"]
    alike = blocks[blocks.index("Stage s1, s2:") + 1]
    assert "| not looked for | near-duplicates |" in alike
    assert "near-duplicates" not in alike.split("looked for, not found |")[1].split("\n")[0]
    assert blocks[-1] == "- Stage s0, s1, s2: 100 images in 40 groups"


def test_layers_with_their_shapes_and_whether_they_are_frozen(small: RunFolder) -> None:
    layers = [
        {
            "name": "image",
            "type": "InputLayer",
            "output_shape": [None, 8, None, 3],
            "parameters": 0,
            "trainable": False,
        },
        {"name": "a_*", "type": "Conv2D", "output_shape": [None, 8, 8, 4], "parameters": 1120, "trainable": False},
        {"name": "b", "type": "Dense", "output_shape": None, "parameters": 5, "trainable": True},
    ]
    write_json(small.model, {"layers": layers, "total": 1125, "trainable": 5, "frozen": 1120, "stages": []})
    said, table = map(block_markdown, model_section(read_record(small)))
    assert said.startswith("1,125 parameters, 5 of them trainable at the end; 3 layers; preprocessing: None.")
    assert table.splitlines()[2:] == [
        "| image | InputLayer | 8 x any x 3 |  | 0 |",
        r"| a\_\* | Conv2D | 8 x 8 x 4 | frozen | 1,120 |",
        "| b | Dense |  | trained | 5 |",
    ]
    write_json(small.model, {})
    assert [*map(block_markdown, model_section(read_record(small)))] == [
        "0 parameters, 0 of them trainable at the end; 0 layers; preprocessing: None."
    ]
