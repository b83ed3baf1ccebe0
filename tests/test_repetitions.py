"""What the parts of a repetition are: their settings, their splits, and what is refused before anything trains."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cvlab.cli import app
from cvlab.config_file import experiment_yaml, load_experiment
from cvlab.config_split import SplitConfig
from cvlab.console import Console
from cvlab.data.prepare import load_sources
from cvlab.data.samples import SampleTable
from cvlab.errors import CvlabError, DataError, RunFolderError
from cvlab.experiment import Request
from cvlab.repeat import resume_repeated
from cvlab.repeat_plan import check_settings, describe, plan, rehearse
from cvlab.repetitions import Kind, Parent, Repetitions, share_of_rest
from cvlab.run_folder import RunFolder, write_json, write_text
from tests.config_fixture import changed, problems_of
from tests.experiment_fixture import CONFIG
from tests.repetition_fixture import BINARY, MASKS, experiment_of, write_data, write_repetition

# Left out of `scripts/test fast`.
pytestmark = pytest.mark.slow

SEEDS = Repetitions("seeds", (1, 2, 3))
FOLDS = Repetitions("folds", (1, 2, 3), ("train", "tune"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_data(tmp_path)
    return tmp_path


def loaded(folder: Path, text: str) -> Parent:
    path = folder / "config.yaml"
    path.write_text(text)
    return Parent(RunFolder(folder), SEEDS)


@pytest.mark.parametrize("repetitions", [SEEDS, FOLDS], ids=["seeds", "folds"])
def test_a_part_repeats_itself_from_its_own_configuration(repetitions: Repetitions, tmp_path: Path) -> None:
    base = loaded(tmp_path, changed()).experiment()
    for part in repetitions.parts:
        experiment = repetitions.experiment_of(base, part)
        path = tmp_path / f"{part}.yaml"
        path.write_text(experiment_yaml(experiment))
        assert load_experiment(path).model_dump() == experiment.model_dump()


def test_with_other_seeds_the_split_stays(tmp_path: Path) -> None:
    base = loaded(tmp_path, changed(("data: {root: data/b}", "data: {root: data/b, split: {seed: 9}}"))).experiment()
    last = SEEDS.experiment_of(base, "seed-3")
    assert (last.seed, last.data.split.seed) == (3, 1)
    assert [stage.data.split.seed for stage in last.stages] == [1, 9]
    first = SEEDS.experiment_of(base, "seed-1").model_dump()
    assert first["data"]["split"] == {**base.model_dump()["data"]["split"], "seed": 1}
    assert {**first, "data": 0, "stages": 0} == {**base.model_dump(), "data": 0, "stages": 0}


def test_a_fold_is_the_test_split_and_the_rest_is_shared_as_before(tmp_path: Path) -> None:
    base = loaded(
        tmp_path, changed(("train: 0.8, val: 0.1, test: 0.1", "train: 0.6, val: 0.2, test: 0.2"))
    ).experiment()
    second = FOLDS.experiment_of(base, "fold-2")
    assert second.seed == base.seed
    for data in (second.data, *(stage.data for stage in second.stages)):
        assert data.split.model_dump(exclude={"group_pattern", "rounding"}) == {
            "train": None, "val": 0.25, "test": None, "folds": 3, "fold": 2, "seed": None,
        }  # fmt: skip
    only_last = Repetitions("folds", (1, 2), ("tune",)).experiment_of(base, "fold-1")
    assert [stage.data.split.folds for stage in only_last.stages] == [None, 2]
    assert only_last.data == base.data


def test_shares_of_the_rest() -> None:
    assert share_of_rest(SplitConfig(train=0.8, val=0.1, test=0.1)) == 0.111111111111
    assert share_of_rest(SplitConfig(train=0.9, val=0.1)) == 0.1
    assert share_of_rest(SplitConfig(val=0.3)) == 0.3
    assert share_of_rest(SplitConfig()) is None


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("folds: 5", "expected `folds` and `fold` together: how many folds there are, and which"),
        ("fold: 5", "expected `folds` and `fold` together"),
        ("folds: 5, fold: 6", "expected `fold` from 1 to 5, received 6"),
        ("folds: 5, fold: 0", "data.split.fold: expected at least 1, received 0"),
        ("folds: 1, fold: 1", "data.split.folds: expected at least 2, received 1"),
        ("folds: 5, fold: 1, test: 0.2, train: 0.7, val: 0.1", "expected no `train` and `test` with `folds`"),
        ("folds: 5, fold: 1, val: 1", "expected `val` above 0 and below 1"),
        ("seed: -1", "data.split.seed: expected at least 0, received -1"),
    ],
)
def test_impossible_folds_are_refused(split: str, message: str, tmp_path: Path) -> None:
    found = problems_of(tmp_path / "c.yaml", changed(("train: 0.8, val: 0.1, test: 0.1", split)))
    assert any(message in problem for problem in found), found


def test_a_table_that_is_split_has_no_folds(tmp_path: Path) -> None:
    source = "name: csv_table\n  table: {train: a.csv, test: b.csv}\n  columns: {image: 0, label: 1}"
    text = changed(
        ("name: image_folder\n  root: data/a", source), ("train: 0.8, val: 0.1, test: 0.1", "folds: 3, fold: 1")
    )
    assert any(
        "no `split.folds` where the table is split already" in line for line in problems_of(tmp_path / "c.yaml", text)
    )


def test_titles_say_how_far_it_is() -> None:
    assert Repetitions("seeds", (42, 43)).title("seed-43") == "seed 43 (2 of 2)"
    assert FOLDS.title("fold-2") == "fold 2 of 3"


def test_the_file_is_read_as_written_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "repetitions.json"
    for repetitions in (SEEDS, FOLDS):
        write_json(path, repetitions.json())
        assert Repetitions.read(path) == repetitions
    good = FOLDS.json()
    damaged: tuple[object, ...] = (
        [],
        {**good, "kind": "times"},
        {**good, "parts": ["fold-1", "../x", "fold-3"]},
        {**good, "numbers": [1, 1, 1]},
        {**good, "numbers": ["1", "2", "3"]},
        {**good, "numbers": None},
        {"kind": "seeds"},
    )
    for bad in damaged:
        path.write_text(json.dumps(bad))
        with pytest.raises(RunFolderError, match=r"repetitions\.json: is damaged: expected"):
            Repetitions.read(path)


def planned(folder: Path, text: str, kind: Kind, count: int) -> tuple[Repetitions, list[list[SampleTable]], str]:
    """Plans a repetition; returns its parts, the samples of each, and what was said."""
    output = io.StringIO()
    base, console = experiment_of(folder, text), Console(output)
    sources = load_sources(base)
    repetitions = plan(base, sources, kind, count)
    tables = rehearse(base, repetitions, sources, console, before=[])
    describe(base, repetitions, tables, console)
    return repetitions, tables, output.getvalue()


def test_folds_test_each_image_once_and_seeds_the_same_ones(data: Path) -> None:
    _, tables, said = planned(data, BINARY, "folds", 3)
    tested = [name for (table,) in tables for name in table.of_split("test").sample_id]
    assert sorted(tested) == sorted(tables[0][0].sample_id)
    assert "--folds 3: each of 48 images is tested once, in folds of 16, 16, 16." in said
    assert "Beside the first fold, 24 images train and 8 validate" in said
    _, tables, said = planned(data, BINARY, "seeds", 3)
    assert tables[0] is tables[2]
    assert "--seeds 3: 5 to 7; the split stays that of seed 5 (data.split.seed)" in said


def test_stages_on_the_same_data_are_folded_alike_and_pass_the_gate(data: Path) -> None:
    two = BINARY.replace("evaluate:", "  - {name: tune, epochs: 1, learning_rate: 1e-4}\nevaluate:")
    repetitions, tables, _ = planned(data, two, "folds", 3)
    assert repetitions.folded == ("train", "tune")
    for first, second in tables:
        assert first.split.tolist() == second.split.tolist()


def test_a_stage_that_came_split_stays_so(data: Path) -> None:
    write_noise(data / "split", {"train": 6, "val": 3})
    repetitions, tables, said = planned(data, two_stages("split", "films"), "folds", 3)
    assert repetitions.folded == ("tune",)
    assert all(first.split.tolist() == tables[0][0].split.tolist() for first, _ in tables)
    assert sorted(name for _, table in tables for name in table.of_split("test").sample_id) == sorted(
        tables[0][1].sample_id
    )
    assert "Stage 'train': the data are split already and stay so in every fold." in said
    with pytest.raises(DataError, match=r"--folds: the data are split already \(train, val\).*--seeds 3\."):
        planned(data, two_stages("films", "split"), "folds", 3)
    assert planned(data, two_stages("films", "split"), "seeds", 2)[0].parts == ["seed-5", "seed-6"]


def write_noise(folder: Path, splits: dict[str, int]) -> None:
    """Draws images in split folders, of persons of their own."""
    rng = np.random.default_rng(3)
    for split, persons in splits.items():
        for label in ("ill", "well"):
            for person in range(persons):
                path = folder / split / label / f"{split}{label}{person}_0.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)


def two_stages(first: str, second: str) -> str:
    """Two stages on two folders; fractions stand with that which is not split yet."""
    pattern = "group_pattern: '(.+)_\\d+$'"
    fractions = {"films": f"{{train: 0.6, val: 0.2, test: 0.2, {pattern}}}", "split": f"{{{pattern}}}"}
    stages = [
        f"{{name: {name}, epochs: 1, learning_rate: 1e-3, data: {{root: DATA/{folder}, split: {fractions[folder]}}}}}"
        for name, folder in (("train", first), ("tune", second))
    ]
    plain = BINARY.replace("  split: {train: 0.6, val: 0.2, test: 0.2, group_pattern: '(.+)_\\d+$'}\n", "")
    head, _, tail = plain.partition("  - {name: train, epochs: 2, learning_rate: 1e-3}\n")
    return head + "".join(f"  - {stage}\n" for stage in stages) + tail


def test_persons_in_the_pools_of_two_stages_are_stopped_by_the_gate(data: Path) -> None:
    for label in ("ill", "well"):
        for number in range(12):
            path = data / "more" / label / f"p{number + 3:02d}_9.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng([number, len(label)]).integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    text = two_stages("films", "films").replace("{root: DATA/films", "{root: DATA/more", 1)
    with pytest.raises(DataError, match="fold 1 of 3: The gate stops this run"):
        planned(data, text, "folds", 3)


@pytest.mark.parametrize(
    ("old", "new", "kind", "count", "message"),
    [
        (
            "group_pattern",
            "folds: 3, fold: 1, group_pattern",
            "folds",
            3,
            r"data.split.folds: the configuration names one",
        ),
        ("seed: 5", "seed: 4294967295", "seeds", 2, r"seed: expected at most 4,294,967,294 with --seeds 2\."),
        ("group_pattern", "group_pattern", "folds", 13, r"13 folds need at least 13 groups .*Ask for at most 12 folds"),
        ("positive_class: well", "positive_class: wel", "folds", 3, r"evaluate.positive_class: expected one of 'ill'"),
    ],
)
def test_what_cannot_be_repeated_is_refused(
    data: Path, old: str, new: str, kind: Kind, count: int, message: str
) -> None:
    text = BINARY.replace(old, new)
    if "folds: 3" in new:
        text = text.replace("train: 0.6, val: 0.2, test: 0.2, ", "")
    with pytest.raises(CvlabError, match=message):
        planned(data, text, kind, count)


def test_too_few_patients_for_masks_without_classes(data: Path) -> None:
    assert len(planned(data, MASKS, "folds", 12)[1]) == 12
    with pytest.raises(DataError, match="13 folds need at least 13 groups"):
        planned(data, MASKS, "folds", 13)


def test_a_folder_goes_on_only_with_its_own_settings(tmp_path: Path) -> None:
    parent = loaded(tmp_path, changed())
    base = parent.experiment()
    for part in ("seed-1", "seed-2"):
        write_text(parent.run(part).config, experiment_yaml(parent.repetitions.experiment_of(base, part)))
    check_settings(parent, base)
    text = parent.run("seed-2").config.read_text()
    parent.run("seed-2").config.write_text(text.replace("precision: auto", "precision: float32"))
    check_settings(parent, base)
    parent.run("seed-2").config.write_text(text.replace("epochs: 24", "epochs: 30"))
    message = r"seed-2: stages.0.epochs: 24 in config.yaml, 30 in the part's own"
    with pytest.raises(RunFolderError, match=message):
        check_settings(parent, base)


def test_a_parent_is_no_run_and_its_parts_are(tmp_path: Path) -> None:
    parent = loaded(tmp_path, changed())
    assert Parent.open(tmp_path) is None
    assert RunFolder.open(tmp_path).to_resume == tmp_path
    write_json(parent.folder.repetitions, SEEDS.json())
    write_text(parent.run("seed-2").config, CONFIG)
    assert Parent.open(tmp_path) == parent
    with pytest.raises(RunFolderError, match="holds several runs"):
        RunFolder.open(tmp_path)
    assert RunFolder.open(tmp_path / "seed-2").to_resume == tmp_path
    assert parent.begun() == ["seed-2"]
    assert parent.finished() == []
    assert not parent.is_done()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "c.yaml", "--seeds", "1"], "greater than or equal to 2"),
        (["train", "c.yaml", "--seeds", "2", "--folds", "2"], "--seeds and --folds exclude each other"),
        (["train", "--resume", "PARENT", "--folds", "3"], "leave out --seeds and --folds"),
        (["train", "--resume", "PARENT", "stages.0.epochs=9"], "go on with the settings that they share"),
        (["part", "train", "PARENT", "seed-9"], "there is no such part"),
    ],
)
def test_words_that_do_not_go_together_are_refused(words: list[str], message: str, tmp_path: Path) -> None:
    parent = loaded(tmp_path, changed())
    write_json(parent.folder.repetitions, SEEDS.json())
    done = CliRunner().invoke(app, [str(tmp_path) if word == "PARENT" else word for word in words])
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())


def test_a_finished_folder_has_nothing_to_do(data: Path) -> None:
    parent = write_repetition(data / "runs", experiment_of(data, BINARY), "seeds", 2)
    write_text(parent.folder.report, "")
    done = CliRunner().invoke(app, ["train", "--resume", str(parent.path)])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("Nothing to do: all 2 seeds are finished.")


def test_other_data_stop_a_folder_before_anything_trains(data: Path) -> None:
    parent = write_repetition(data / "runs", experiment_of(data, BINARY), "folds", 3, finished=[1])
    request = Request(Console(io.StringIO()), ["cvlab", "train"])
    (data / "films" / "ill" / "p00_0.png").unlink()
    with pytest.raises(RunFolderError, match=r"(?s)fold-1: cannot go on with other data.*p00_0.png: is gone"):
        resume_repeated(parent, request)
    assert parent.begun() == ["fold-1"]
    config = parent.folder.config
    config.write_text(config.read_text().replace("epochs: 2", "epochs: 3"))
    with pytest.raises(RunFolderError, match=r"stages.0.epochs: 3 in config.yaml, 2 in the part's own"):
        resume_repeated(parent, request)
