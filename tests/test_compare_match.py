"""Which runs can be compared, on which samples, and what is said where they cannot."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from cvlab.compare_classification import compared_task
from cvlab.compare_config import differences, dotted
from cvlab.compare_entrants import Entrant, read_entrants
from cvlab.compare_match import Samples, match
from cvlab.compare_runs import find_candidates
from cvlab.compare_warnings import warnings_of
from cvlab.errors import CvlabError
from cvlab.metrics.classification import classification_metrics, read_predictions
from cvlab.metrics.prediction_rows import csv_line, read_rows
from cvlab.run_folder import RunFolder, write_json, write_text
from tests.compare_fixture import NAMES, classification_run, edit_json, ids_of, table_of, write_run

# Left out of `scripts/test fast`.
pytestmark = pytest.mark.slow


def matched(*paths: Path, intersect: bool = False) -> tuple[list[Entrant], Samples]:
    candidates, _ = find_candidates(paths)
    task = compared_task()
    return match(read_entrants(candidates, task, "test"), task, split="test", intersect=intersect)


def refused(*paths: Path, intersect: bool = False) -> str:
    with pytest.raises(CvlabError) as found:
        matched(*paths, intersect=intersect)
    assert found.value.exit_code == 2
    return str(found.value)


@pytest.fixture
def pair(tmp_path: Path) -> list[RunFolder]:
    """Two runs with a table of samples each."""
    runs = [classification_run(tmp_path, name, skill) for name, skill in (("vgg", 2.0), ("alexnet", 1.0))]
    for run in runs:
        write_samples(run)
    return runs


def write_samples(run: RunFolder, *, train: int = 30, content: str = "c") -> None:
    """Writes `samples.csv`: the test samples as the predictions have them, and some training samples."""
    p = read_predictions(run.predictions("test"))
    lines = [["sample_id", "stage", "split", "group", "content", "target:class"]]
    lines += [
        [f"faces/t{number}.jpg", "train", "train", f"g{number}", f"t{number}", "happy"] for number in range(train)
    ]
    rows = zip(p.sample_id, p.group, p.target, strict=True)
    lines += [[one, "train", "test", group, f"{content}{one}", p.class_names[target]] for one, group, target in rows]
    write_text(run.samples, "".join(map(csv_line, lines)))


def edit_rows(path: Path, change: list[tuple[int, int, str]]) -> None:
    """Writes texts into cells (row and column from 0, the header is row 0)."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    for row, column, text in change:
        rows[row][column] = text
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_same_samples_in_any_order_and_with_classes_in_any_order(tmp_path: Path) -> None:
    first = classification_run(tmp_path, "vgg", 2.0)
    other = write_run(tmp_path / "alexnet" / "20250102-030405", table_of(1.0, 3))
    with other.predictions("test").open(newline="") as file:
        rows = list(csv.reader(file))
    turned = [[*row[:4], *row[:3:-1]] for row in (rows[0], *rows[:0:-1])]
    with other.predictions("test").open("w", newline="") as file:
        csv.writer(file).writerows(turned)
    before = classification_metrics(read_predictions(other.predictions("test")))
    (one, two), samples = matched(first.path, other.path)
    tables = [entrant.results[0].table for entrant in (one, two)]
    assert samples.pairing == "samples"
    assert len(samples.ids) == 150
    assert not samples.grouped
    assert np.array_equal(tables[0].sample_id, tables[1].sample_id)
    assert np.array_equal(tables[0].target, tables[1].target)
    assert tables[1].class_names == NAMES
    after = classification_metrics(tables[1])
    assert after["accuracy"] == before["accuracy"]
    assert after["per_class"]["sad"]["roc_auc"] == before["per_class"]["sad"]["roc_auc"]
    assert two.results[0].metrics["macro_f1"]["value"] == pytest.approx(before["macro_f1"]["value"], abs=1e-12)


def test_other_samples_are_refused_with_counts_and_names_or_intersected(tmp_path: Path) -> None:
    first = classification_run(tmp_path, "vgg", 2.0)
    text = table_of(1.0, 3, ids=ids_of(150, 10))
    # The truth of sample i is that of the first run's sample i, which stands ten rows further down.
    lines, targets = text.splitlines(), read_predictions(first.predictions("test")).target
    for number in range(140):
        cells = lines[number + 1].split(",")
        cells[2] = NAMES[targets[number + 10]]
        lines[number + 1] = ",".join(cells)
    other = write_run(tmp_path / "alexnet" / "20250102-030405", "\n".join(lines) + "\n", seed=7)
    message = refused(first.path, other.path)
    assert "140 samples of the test split are those of all runs" in message
    assert "vgg 20250102-030442: 150 samples, of which 10 are not shared: faces/0000.jpg, faces/0001.jpg" in message
    assert "alexnet 20250102-030405: 150 samples, of which 10 are not shared: faces/0150.jpg" in message
    assert "--intersect" in message
    assert "the seed decides the split" in message
    entrants, samples = matched(first.path, other.path, intersect=True)
    assert list(samples.ids) == ids_of(140, 10)
    assert samples.left_out == {"vgg": 10, "alexnet": 10}
    p = read_predictions(first.predictions("test"))
    expected = float((p.target == p.predicted)[10:].mean())
    assert entrants[0].value(("accuracy",)) == pytest.approx(expected, abs=1e-12)


def test_disjoint_samples_are_refused_even_for_their_intersection(tmp_path: Path) -> None:
    first = classification_run(tmp_path, "vgg", 2.0)
    other = write_run(tmp_path / "alexnet" / "20250102-030405", table_of(1.0, 3, ids=ids_of(150, 500)))
    edit_json(other.data, synthetic=True)
    for intersect in (False, True):
        message = refused(first.path, other.path, intersect=intersect)
        assert "no sample stands in the test split of all of them" in message
        assert "Some runs are of synthetic sample data, others are not." in message
        assert "alexnet 20250102-030405: 150 samples, such as faces/0500.jpg" in message


def test_another_truth_of_a_sample_is_named(pair: list[RunFolder]) -> None:
    for run in pair:
        run.samples.unlink()
    p = read_predictions(pair[1].predictions("test"))
    other = NAMES[(p.target[4] + 1) % 3]
    edit_rows(pair[1].predictions("test"), [(5, 2, other)])
    message = refused(*(run.path for run in pair))
    assert (
        f"the truth of test sample 'faces/0004.jpg': {NAMES[p.target[4]]} in {pair[0].predictions('test')}" in message
    )
    assert f"{other} in {pair[1].predictions('test')}" in message


def test_an_edited_table_is_noticed_with_row_and_column(pair: list[RunFolder]) -> None:
    path = pair[1].predictions("test")
    text, p = path.read_text(), read_predictions(path)
    other = NAMES[(p.target[4] + 1) % 3]
    edits = {
        "row 6, column 'score:happy': expected a number from 0 to 1, received '-0.5'": (5, 4, "-0.5"),
        f"row 6, column 'target': expected '{NAMES[p.target[4]]}' for 'faces/0004.jpg' as in samples.csv": (
            5,
            2,
            other,
        ),
        "row 6, column 'group': expected 'person_4' for 'faces/0004.jpg'": (5, 1, "person_9"),
        "row 6, column 'sample_id': expected a sample of this split as in samples.csv, received 'new.jpg'": (
            5,
            0,
            "new.jpg",
        ),
    }
    for message, change in edits.items():
        path.write_text(text)
        edit_rows(path, [change])
        assert message.replace("'-0.5'", "-0.5") in refused(*(run.path for run in pair))
    path.write_text("".join(line for line in text.splitlines(keepends=True) if "0004.jpg" not in line))
    assert "lacks 1 sample of" in refused(*(run.path for run in pair))


def test_names_that_look_like_formulas_are_compared_as_they_are(pair: list[RunFolder]) -> None:
    """Tables of before cells were marked as text, and of after, are of the same samples."""
    names = ["=x.jpg", "-1", "'=x", "@a b", "--x", "''"]
    for run in pair:
        rows = read_rows(run.predictions("test"))
        first = [[name, *row[1:]] for name, row in zip(names, rows[1:], strict=False)]
        write_text(run.predictions("test"), "".join(map(csv_line, [rows[0], *first, *rows[7:]])))
        write_samples(run)
    both = matched(*(run.path for run in pair))
    assert {*names} <= {*both[1].ids}
    assert warnings_of(*both) == []
    rows = read_rows(pair[1].samples)
    rows[1][0] = "=t"
    write_text(pair[1].samples, "".join(map(csv_line, rows)))
    # As an earlier version left it, which marked nothing.
    old = (csv_line(row) if row[0].startswith("'") else ",".join(row) + "\n" for row in rows)
    write_text(pair[0].samples, "".join(old))
    assert warnings_of(*matched(*(run.path for run in pair))) == []
    edit_rows(pair[0].samples, [(40, 2, "val")])
    assert "expected a sample of this split" in refused(*(run.path for run in pair))


def test_a_table_that_is_not_that_of_metrics_json_is_noticed(pair: list[RunFolder]) -> None:
    for run in pair:
        metrics = classification_metrics(read_predictions(run.predictions("test")))
        write_json(run.metrics, {"test": metrics})
    matched(*(run.path for run in pair))
    path = pair[1].predictions("test")
    with path.open(newline="") as file:
        cells = list(csv.reader(file))[3]
    edit_rows(path, [(3, 4, cells[5]), (3, 5, cells[4]), (3, 3, NAMES[1 - NAMES.index(cells[3])])][: 2 + 1])
    message = refused(*(run.path for run in pair))
    assert str(pair[1].metrics) in message
    assert "changed after the evaluation" in message or "highest score" in message


def test_other_classes_are_refused(tmp_path: Path) -> None:
    first = classification_run(tmp_path, "vgg", 2.0)
    other = write_run(tmp_path / "alexnet" / "20250102-030405", table_of(1.0, 3, names=("happy", "neutral", "angry")))
    message = refused(first.path, other.path)
    assert f"{first.path}: sad" in message
    assert f"{other.path}: angry" in message


def test_one_run_the_same_twice_a_copy_and_no_run(pair: list[RunFolder], tmp_path: Path) -> None:
    first, second = (run.path for run in pair)
    assert "Expected two or more runs to compare; received one" in refused(first)
    assert f"{first}: the same run stands there twice" in refused(first, second, first)
    assert f"{first}: the same run stands there twice" in refused(first.parent, first)
    shutil.copytree(first, tmp_path / "copy")
    assert f"is a copy of {first}" in refused(first, tmp_path / "copy")
    assert "there is no such run folder" in refused(first, tmp_path / "nowhere")
    assert "config.yaml: is a file; expected the folder of a run" in refused(first, first / "config.yaml")
    assert "is not a run folder and holds none" in refused(first, first / "predictions")


def test_an_unfinished_run_is_refused_where_it_is_named_and_left_out_of_a_folder(
    pair: list[RunFolder], tmp_path: Path
) -> None:
    third = classification_run(tmp_path, "mobilenet", 1.5)
    edit_json(third.status, status="interrupted", reason="Stopped in stage 'train' after epoch 2.")
    message = refused(pair[0].path, third.path)
    assert f"{third.path}: is not finished (interrupted: Stopped in stage 'train' after epoch 2)" in message
    assert f"cvlab train --resume {third.path}" in message
    candidates, left_out = find_candidates([tmp_path])
    assert [candidate.path for candidate in candidates] == [pair[1].path, pair[0].path]
    assert left_out == [
        f"Left out: {third.path}: is not finished (interrupted: Stopped in stage 'train' after epoch 2)."
    ]
    (tmp_path / "alexnet").rename(tmp_path / ".hidden")
    message = refused(tmp_path)
    assert "received one" in message
    assert f"Left out: {third.path}" in message


def test_missing_predictions_say_what_there_is(pair: list[RunFolder]) -> None:
    pair[0].predictions("test").rename(pair[0].predictions("val"))
    assert "There are those of val: choose with --split val" in refused(*(run.path for run in pair))


def test_equal_ids_of_other_files_and_other_groups_are_told(pair: list[RunFolder]) -> None:
    write_samples(pair[1], content="other")
    _, samples = matched(*(run.path for run in pair))
    assert "150 samples of test have the same id" in samples.warnings[0]
    for run in pair:
        run.samples.unlink()
    edit_rows(pair[1].predictions("test"), [(1, 1, "x"), (2, 1, "x"), (3, 1, "x")])
    edit_rows(pair[0].predictions("test"), [(3, 1, "y"), (4, 1, "y")])
    _, samples = matched(*(run.path for run in pair))
    assert "do not put the same samples into groups" in samples.warnings[0]
    # What either of the runs keeps together is one group: rows 1 to 3 by one, 3 and 4 by the other.
    assert len(set(samples.group[:4])) == 1
    assert samples.groups == 150 - 3


def test_seeds_of_one_configuration_are_one_model_and_other_settings_are_not(tmp_path: Path) -> None:
    runs = [classification_run(tmp_path, "vgg", 2.0, seed) for seed in (1, 2, 3)]
    runs.append(classification_run(tmp_path, "vgg", 2.0, 4, model={"name": "vggnet", "dropout": 0.2}))
    entrants, _ = matched(*(run.path for run in runs))
    assert [(entrant.kind, len(entrant.parts)) for entrant in entrants] == [("seeds", 3), ("run", 1)]
    # All have the name of the experiment, which therefore says nothing.
    assert [entrant.title for entrant in entrants] == ["20250102-030401 (3 seeds)", "20250102-030404"]
    values = [entrants[0].results[number].metrics["accuracy"]["value"] for number in range(3)]
    assert entrants[0].value(("accuracy",)) == pytest.approx(np.mean(values), abs=1e-12)


def test_the_same_seed_twice_is_no_repetition(tmp_path: Path) -> None:
    first, second = (classification_run(tmp_path / place, "vgg", 2.0) for place in ("a", "b"))
    entrants, _ = matched(first.path, second.path)
    assert [entrant.title for entrant in entrants] == ["a/20250102-030442", "b/20250102-030442"]


def test_where_the_seed_decides_the_split_runs_of_equal_seeds_are_paired(tmp_path: Path) -> None:
    paths = []
    for name, skill in (("vgg", 2.0), ("alexnet", 1.0)):
        for seed in (1, 2):
            table = table_of(skill, seed, ids=ids_of(150, 150 * seed))
            paths.append(write_run(tmp_path / name / f"2025010{seed}-030405", table, seed=seed).path)
    entrants, samples = matched(*paths)
    assert [entrant.title for entrant in entrants] == ["vgg (2 seeds)", "alexnet (2 seeds)"]
    assert samples.pairing == "seeds"
    assert len(samples.ids) == 300
    _, alone = matched(*paths[:2])
    assert alone.pairing == "nothing"
    assert "not tested on the same samples" in refused(*paths[:3]) or "no sample stands" in refused(*paths[:3])


def write_parent(tmp_path: Path, kind: str, parts: dict[str, RunFolder]) -> Path:
    parent = next(iter(parts.values())).path.parent
    numbers = [int(name.rpartition("-")[2]) for name in parts]
    repetitions = {"kind": kind, "parts": list(parts), "numbers": numbers, "folded_stages": []}
    write_json(parent / "repetitions.json", repetitions)
    shutil.copy(next(iter(parts.values())).config, parent / "config.yaml")
    return parent


def test_parts_of_repetitions_do_not_lead_out_of_their_folder(pair: list[RunFolder]) -> None:
    parent = write_parent(pair[0].path, "folds", {"fold-1": pair[0], "fold-2": pair[1]})
    edit_json(parent / "repetitions.json", parts=[str(run.path) for run in pair])
    assert "repetitions.json: is damaged" in refused(parent)


def test_repetitions_count_as_their_parts_and_folds_as_their_pooled_predictions(tmp_path: Path) -> None:
    parent = tmp_path / "vgg" / "20250102-030405"
    tables = {f"fold-{fold}": table_of(2.0, fold, ids=ids_of(150, 150 * fold)) for fold in (1, 2)}
    folds = {part: write_run(parent / part, table, name="vgg") for part, table in tables.items()}
    lines = [table.splitlines() for table in tables.values()]
    write_text(parent / "predictions" / "test.csv", "\n".join([*lines[0], *lines[1][1:]]) + "\n")
    write_parent(tmp_path, "folds", folds)
    seeds = {
        f"seed-{seed}": write_run(tmp_path / "alexnet" / "t" / f"seed-{seed}", tables["fold-1"], seed=seed)
        for seed in (1, 2)
    }
    other = write_parent(tmp_path, "seeds", seeds)
    entrants, samples = matched(parent)
    assert [entrant.title for entrant in entrants] == ["vgg (2 folds)"]
    assert len(samples.ids) == 300
    pooled = entrants[0].value(("accuracy",))
    assert pooled == pytest.approx(np.mean(entrants[0].values_of_parts(("accuracy",))), abs=1e-12)
    (seeds_alone,), _ = matched(other)
    assert (seeds_alone.kind, len(seeds_alone.results)) == ("seeds", 2)
    # The parts belong to their parent.
    candidates, _ = find_candidates([tmp_path])
    assert sorted(candidate.kind for candidate in candidates) == ["folds", "seeds"]
    assert "a part of" in refused(parent, parent / "fold-1")
    write_text(parent / "predictions" / "test.csv", tables["fold-1"])
    assert "does not hold the test samples of its 2 folds" in refused(parent)
    edit_json(folds["fold-2"].status, status="running")
    assert "is not finished (fold-2: running" in refused(parent)


def test_differences_of_configurations_by_dotted_key() -> None:
    one = {"name": "a", "seed": 1, "train": {"batch_size": 16}, "stages": [{"epochs": 3}], "augment": []}
    other = {"name": "b", "seed": 1, "train": {"batch_size": 32}, "stages": [{"epochs": 3}, {"epochs": 4}]}
    assert dotted(one)["stages.0.epochs"] == "3"
    assert differences([[one], [other]]) == [
        ("train.batch_size", ["16", "32"]),
        ("augment", ["[]", "(not set)"]),
        ("stages.1.epochs", ["(not set)", "4"]),
    ]
    assert differences([[one, {**one, "seed": 2}], [one]]) == [("seed", ["1, 2", "1"])]
    assert differences([[one], [yaml.safe_load(yaml.safe_dump(one))]]) == []
