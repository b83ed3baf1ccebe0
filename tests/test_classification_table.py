from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvlab.errors import RunFolderError
from cvlab.metrics.classification import predictions_csv, read_predictions

names_strategy = st.lists(st.text(max_size=6), min_size=2, max_size=5, unique=True)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), names=names_strategy)
def test_table_reads_back_exactly(
    data: st.DataObject, names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    ids = data.draw(st.lists(st.text(max_size=8), min_size=1, max_size=6, unique=True))
    weights = st.lists(st.floats(0, 1, width=32), min_size=len(names), max_size=len(names))
    raw = np.array(data.draw(st.lists(weights, min_size=len(ids), max_size=len(ids))))
    scores = (raw + 1e-3) / (raw + 1e-3).sum(axis=1, keepdims=True)
    target = data.draw(st.lists(st.integers(0, len(names) - 1), min_size=len(ids), max_size=len(ids)))
    groups = [f"{one} " for one in ids]
    path = tmp_path_factory.getbasetemp() / "table.csv"
    path.write_text(predictions_csv(ids, groups, target, scores, names), encoding="utf-8", newline="")
    read = read_predictions(path)
    assert read.class_names == tuple(names)
    assert read.sample_id.tolist() == ids
    assert read.group.tolist() == groups
    assert read.target.tolist() == target
    assert read.target.dtype == read.predicted.dtype == np.int64
    np.testing.assert_array_equal(read.scores, scores)
    np.testing.assert_array_equal(read.predicted, scores.argmax(axis=1))


def test_float32_scores_are_written_exactly(tmp_path: Path) -> None:
    scores = np.array([[1 / 3, 1 / 3, 1 / 3]], dtype=np.float32)
    path = tmp_path / "table.csv"
    path.write_text(predictions_csv(["a"], ["a"], [2], scores, ["x", "y", "z"]))
    read = read_predictions(path)
    assert (read.scores == scores.astype(np.float64)).all()
    assert read.predicted.tolist() == [0]


HEADER = "sample_id,group,target,predicted,score:a,score:b\n"


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "row 1", "expected 'sample_id', received 'nothing'"),
        ("sample_id,target\n", "row 1 (the header), column 2", "expected 'group', received 'target'"),
        ("sample_id,group,target,predicted,score:a\n", "row 1", "two or more classes"),
        ("sample_id,group,target,predicted,score:a,b\n", "row 1 (the header), column 6", "received 'b'"),
        ("sample_id,group,target,predicted,score:a,score:a\n", "row 1 (the header), column 6", "a new class name"),
        (HEADER, "row 2", "at least one sample"),
        (HEADER + "s,g,a,a,1.0\n", "row 2", "expected 6 columns, received 5"),
        (HEADER + "s,g,a,a,1.0,0.0\n\n", "row 3", "expected 6 columns, received 0"),
        (HEADER + "s,g,a,a,1.0,0.0\ns,g,b,b,0.0,1.0\n", "row 3, column 'sample_id'", "first in row 2"),
        (HEADER + "s,g,c,a,1.0,0.0\n", "row 2, column 'target'", "received 'c'"),
        (HEADER + "s,g,a,A,1.0,0.0\n", "row 2, column 'predicted'", "received 'A'"),
        (HEADER + "s,g,a,a,1.0,0.0\nt,g,a,a,high,0.0\n", "row 3, column 'score:a'", "received 'high'"),
        (HEADER + "s,g,a,a,1.0,\n", "row 2, column 'score:b'", "received ''"),
        (HEADER + "s,g,a,a,1.0,nan\n", "row 2, column 'score:b'", "received nan"),
        (HEADER + "s,g,a,a,inf,0.0\n", "row 2, column 'score:a'", "received inf"),
        (HEADER + "s,g,a,a,1.5,-0.5\n", "row 2, column 'score:a'", "from 0 to 1, received 1.5"),
        (HEADER + "s,g,a,a,0.6,0.3\n", "row 2, columns 'score:...'", "a sum of 1"),
        (HEADER + "s,g,a,b,0.6,0.4\n", "row 2, column 'predicted'", "expected 'a'"),
        (HEADER + 's,"g,a,a,0.6,0.4\n', "the file", "UTF-8 CSV"),
    ],
)
def test_a_damaged_table_is_refused_with_the_place(tmp_path: Path, text: str, where: str, what: str) -> None:
    path = tmp_path / "test.csv"
    path.write_text(text)
    with pytest.raises(RunFolderError) as caught:
        read_predictions(path)
    assert str(caught.value).startswith(f"{path}: {where}")
    assert what in str(caught.value)


def test_a_missing_table_and_one_that_is_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="evaluate RUN_DIR` first"):
        read_predictions(tmp_path / "test.csv")
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(RunFolderError, match="UTF-8"):
        read_predictions(tmp_path / "bad.csv")


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.1])
def test_what_could_not_be_read_back_is_not_written(bad: float) -> None:
    with pytest.raises(RunFolderError, match=r"sample 's', column 'score:b': expected a number from 0 to 1"):
        predictions_csv(["s"], ["g"], [0], np.array([[1.0, bad]]), ["a", "b"])
    with pytest.raises(ValueError, match="Expected scores"):
        predictions_csv(["s"], ["g"], [0], np.array([1.0, 0.0]), ["a", "b"])


def test_a_tied_score_is_an_arg_max_too(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    path.write_text(HEADER + "s,g,a,b,0.5,0.5\n")
    assert read_predictions(path).predicted.tolist() == [1]
