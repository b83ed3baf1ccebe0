"""The whole comparison: its folder, its sentences against its numbers, and what it says of odd runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cvlab import compare_draws, plots
from cvlab.compare import Request, compare, compare_runs, new_folder
from cvlab.compare_document import document_of
from cvlab.compare_words import p_cell, p_text
from cvlab.console import Console
from cvlab.document import to_markdown
from cvlab.errors import CvlabError
from cvlab.metrics.classification import read_predictions
from cvlab.reading_stages import decimals
from cvlab.run_folder import RunFolder, read_json
from tests.compare_fixture import classification_run, edit_json, regression_run, segmentation_run

# Nearly every test draws a figure, or reads a whole run: `scripts/test fast` leaves them out.
pytestmark = pytest.mark.slow

IMAGES = "the 150 test images"
# Drawing takes longest, a panel a class.
TWO = ("no", "yes")


@pytest.fixture(scope="module", autouse=True)
def _few_resamples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare_draws, "RESAMPLES", 400)
        patch.setattr(compare_draws, "RESAMPLES_A_PAIR", 100)
        patch.setattr(plots, "DPI", 50)
        yield


def run_compare(out: Path, *paths: Path, split: str = "test", by: str | None = None, intersect: bool = False) -> str:
    """Runs a comparison into `out` and returns what was printed."""
    with (out.parent / "printed.txt").open("w+") as stream:
        assert compare(Request(paths, out, split, by, intersect), Console(stream)) == out
        stream.seek(0)
        return stream.read()


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models of other skills, one with an odd name, one with a published figure."""
    parent = tmp_path_factory.mktemp("compare")
    figure = {"metric": "test.accuracy", "value": 0.58, "source": "Hewitt & Gunes 2018"}
    classification_run(parent, "vgg", 2.4, expected=[figure])
    classification_run(parent, "alexnet", 1.0, train={"batch_size": 16})
    classification_run(parent, "<b>*x*", 0.9, model={"name": "mobilenet"})
    return parent


@pytest.fixture(scope="module")
def printed(parent: Path) -> str:
    """What the comparison of the three prints; it lies in `parent/out`, which was there before and empty."""
    folders = sorted(parent.iterdir())
    (parent / "out").mkdir()
    return run_compare(parent / "out", *folders)


@pytest.fixture(scope="module")
def found(parent: Path, printed: str) -> dict[str, Any]:
    """Its `compare.json`."""
    return dict(read_json(parent / "out" / "compare.json"))


def test_a_sentence_has_the_numbers_of_the_table(found: dict[str, Any], parent: Path) -> None:
    names = {letter: model["name"] for letter, model in found["models"].items()}
    one = next(
        pair for pair in found["pairs"] if {names[pair[key]] for key in ("first", "second")} == {"vgg", "alexnet"}
    )
    accuracy = one["metrics"]["accuracy"]
    right = {}
    for name in ("vgg", "alexnet"):
        (run,) = (parent / name).iterdir()
        p = read_predictions(RunFolder(run).predictions("test"))
        right[name] = p.predicted == p.target
    points = 100 * (right["vgg"].mean() - right["alexnet"].mean())
    assert accuracy["difference"] == pytest.approx(points / 100, abs=1e-12)
    low, high = (100 * accuracy[end] for end in ("low", "high"))
    expected = f"vgg classified {points:.1f} points more of {IMAGES} correctly than alexnet"
    assert f"{expected}, 95 % interval {low:.1f} to {high:.1f}, p < 0.001 (McNemar)." in found["sentences"]
    assert accuracy["p_holm"] < 0.001


def test_no_evidence_is_said(found: dict[str, Any]) -> None:
    told = [text for text in found["sentences"] if text.startswith("No evidence of a difference in accuracy between")]
    assert len(told) == 1
    assert "alexnet" in told[0]
    assert "<b>*x*" in told[0]
    number = re.search(r"p = (0\.\d+|1\.00)", told[0])
    assert number is not None
    assert float(number[1]) > 0.05


def test_the_folder_holds_everything_and_the_pictures_open(parent: Path, printed: str) -> None:
    out = parent / "out"
    assert {path.name for path in out.iterdir()} == {"compare.md", "compare.html", "compare.json", "plots"}
    text = (out / "compare.md").read_text()
    links = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert {Path(link).stem for link in links} == {path.stem for path in (out / "plots").iterdir()}
    assert {Path(link).stem for link in links} == {
        "differences",
        "roc",
        "precision_recall",
        "confusion",
        "learning_curves",
    }
    for link in links:
        with Image.open(out / link) as image:
            assert image.width > 150
    assert out.stat().st_mode & 0o777 == 0o755


def test_the_tables_show_costs_differences_of_settings_and_published_figures(parent: Path, printed: str) -> None:
    text = (parent / "out" / "compare.md").read_text()
    assert "| 1,200,000 | 2.5\u00a0MB |" in text
    assert "| `train.batch_size` |" in text
    assert "`(not set)`" in text
    assert "| `model.dropout` |" in text
    assert "| test.accuracy | Hewitt \\& Gunes 2018 |" in text
    assert "<b>" not in re.sub(r"`[^`]+`|```.*?```", "", text, flags=re.DOTALL)
    assert "\\<b\\>\\*x\\*" in text
    assert "| accuracy |" in text
    for heading in ("In words", "Leaderboard", "Differences", "Against published figures", "What the numbers mean"):
        assert f"## {heading}\n" in text


def test_what_is_printed_is_short(printed: str) -> None:
    lines = printed.splitlines()
    assert lines[0].split()[:2] == ["model", "accuracy"]
    assert len([line for line in lines if line.startswith("- ")]) <= 9
    assert any(line.startswith("Comparison: ") for line in lines)


def test_json_is_finite_and_complete(found: dict[str, Any]) -> None:
    assert found["samples"] == found["groups"] == 150
    assert [*found["models"]] == ["A", "B", "C"]
    model = found["models"]["A"]
    assert {"value", "low", "high", "method"} == {*model["metrics"]["accuracy"]}
    assert (model["parameters"], model["bytes"], model["images_per_second"]) == (1_200_000, 2_500_000, 100.0)
    assert found["configuration"]["model.dropout"] in [
        {"A": "0.5", "B": "0.5", "C": "(not set)"},
        {"A": "0.5", "B": "(not set)", "C": "0.5"},
    ]


def test_segmentation_and_regression_with_several_seeds(tmp_path: Path) -> None:
    paths = [segmentation_run(tmp_path, name, skill).path for name, skill in (("unet", 0.9), ("plain", 0.7))]
    printed = run_compare(tmp_path / "masks", *paths)
    assert "mean Dice over groups" in printed
    assert {path.stem for path in (tmp_path / "masks" / "plots").iterdir()} == {
        "dice",
        "differences",
        "learning_curves",
    }
    paths = [regression_run(tmp_path, "vgg", 0.6, seed).path for seed in (1, 2, 3)]
    paths.append(regression_run(tmp_path, "alexnet", 0.8).path)
    printed = run_compare(tmp_path / "numbers", *paths)
    assert "vgg (3 seeds)" in printed
    assert "mean RMSE over the 3 seeds of vgg: mean" in printed
    text = (tmp_path / "numbers" / "compare.md").read_text()
    table = text.split("## Repetitions\n")[1].split("\n## ")[0]
    assert "| metric | mean | standard deviation | min | max | runs |" in table
    of_json = read_json(tmp_path / "numbers" / "compare.json")["models"]
    seeds = next(model for model in of_json.values() if model["kind"] == "seeds")
    values = seeds["metrics"]["rmse"]["of_runs"]
    cells = next(line for line in table.splitlines() if line.startswith("| mean RMSE")).strip("| ").split(" | ")
    assert cells[1:5] == [
        decimals(sum(values) / 3),
        decimals(_deviation(values)),
        *map(decimals, (min(values), max(values))),
    ]


def _deviation(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return float((sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5)


def test_synthetic_data_beside_real_ones_leaks_and_other_training_images_are_warned_of(tmp_path: Path) -> None:
    runs = [classification_run(tmp_path, name, skill, names=TWO) for name, skill in (("vgg", 2.0), ("alexnet", 1.5))]
    edit_json(runs[0].data, synthetic=True)
    edit_json(runs[1].data, leaks=["x in train and test"])
    for number, run in enumerate(runs):
        p = read_predictions(run.predictions("test"))
        rows = [f"{one},train,test,{one_group},," for one, one_group in zip(p.sample_id, p.group, strict=True)]
        lines = [
            "sample_id,stage,split,group,content,x",
            *rows,
            *(f"t{row},train,train,g,," for row in range(9 + number)),
        ]
        run.samples.write_text("\n".join(lines) + "\n")
    printed = run_compare(tmp_path / "out", *(run.path for run in runs))
    assert "WARNING: SYNTHETIC SAMPLE DATA beside real images: the images of vgg were drawn by a program" in printed
    assert "WARNING: LEAKAGE in alexnet: 1 finding" in printed
    assert "not trained on the same images (" in printed
    text = (tmp_path / "out" / "compare.md").read_text()
    assert "To beware of:" in text
    assert text.startswith("# Comparison: ")
    edit_json(runs[1].data, synthetic=True)
    found = compare_runs(Request([run.path for run in runs], None, "test", None, False), Console())
    drawn = to_markdown(document_of(found, []))
    assert drawn.startswith("# SYNTHETIC SAMPLE DATA: Comparison: ")
    assert "were drawn by a program. Their numbers say nothing about real images." in drawn


def refused(tmp_path: Path, *paths: Path, **settings: Any) -> str:
    out = settings.pop("out", tmp_path / "out")
    with pytest.raises(CvlabError) as raised:
        run_compare(out, *paths, **settings)
    assert raised.value.exit_code == 2
    assert not list(tmp_path.glob(".compare-*"))
    return str(raised.value)


def test_what_is_refused_leaves_nothing(tmp_path: Path) -> None:
    vgg, alexnet = (classification_run(tmp_path, name, 1.5, names=TWO).path for name in ("vgg", "alexnet"))
    masks = segmentation_run(tmp_path, "unet", 0.9).path
    message = refused(tmp_path, vgg, masks)
    assert f"Runs of different tasks cannot be compared:\n  classification: {vgg}\n  segmentation: {masks}" in message
    assert "--by: expected one of accuracy, " in refused(tmp_path, vgg, alexnet, by="macro_f2")
    assert "did you mean 'macro_f1'?" in refused(tmp_path, vgg, alexnet, by="macro_f2")
    assert not (tmp_path / "out").exists()
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").touch()
    assert "is not an empty folder" in refused(tmp_path, vgg, alexnet, out=full)


def test_a_folder_in_comparisons_each_time_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = []
    for number in range(2):
        with new_folder(None) as (temporary, target):
            (temporary / "compare.md").write_text(f"{number}")
        folders.append(target)
        assert re.fullmatch(r"comparisons/\d{8}-\d{6}(-2)?", str(target))
        assert (target / "compare.md").read_text() == f"{number}"
    assert folders[0] != folders[1]
    with pytest.raises(ZeroDivisionError), new_folder(None):
        raise ZeroDivisionError
    assert {path.name for path in Path("comparisons").iterdir()} == {path.name for path in folders}


def test_the_command_needs_no_tensorflow_and_says_one_clear_line(tmp_path: Path) -> None:
    paths = [str(classification_run(tmp_path, name, 1.5, names=TWO).path) for name in ("vgg", "alexnet")]
    program = (
        "import sys, json; from cvlab.cli import app; app(sys.argv[1:], standalone_mode=False);"
        "print(json.dumps([m for m in ('tensorflow', 'keras', 'matplotlib.pyplot', 'pandas') if m in sys.modules]))"
    )
    words = [sys.executable, "-c", program, "compare", *paths, "--out", str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert done.stderr == ""
    words = [sys.executable, "-m", "cvlab", "compare", paths[0]]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("cvlab: Expected two or more runs to compare; received one")
    assert done.stderr.count("\n") == 1


def test_p_stays_on_its_side_of_the_level() -> None:
    assert [p_text(p) for p in (0.0004, 0.0123, 0.37, 1.0)] == ["p < 0.001", "p = 0.012", "p = 0.37", "p = 1.00"]
    assert [p_text(p) for p in (0.0499, 0.04996, 0.0504)] == ["p = 0.0499", "p = 0.04996", "p = 0.050"]
    assert [p_cell(p) for p in (0.0004, 0.0123, None)] == ["< 0.001", "0.012", ""]
