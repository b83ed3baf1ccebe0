from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvlab.errors import RunFolderError
from cvlab.metrics.segmentation import (
    MaskCounter,
    PixelCounts,
    SegmentationPredictions,
    predictions_csv,
    read_predictions,
)
from cvlab.metrics.segmentation_table import COLUMNS, THRESHOLDS

GRID = ",".join(["2,1"] * 10 + ["1,0"] * 9)
GOOD = f"a,g,2,1,1,12,1.5,{GRID}"
HEADER = ",".join(COLUMNS)


def drawn(ids: list[str], groups: list[str], seed: int) -> SegmentationPredictions:
    rng = np.random.default_rng(seed)
    truth = rng.random((len(ids), 5, 6)) < rng.choice([0, 0.4, 1], (len(ids), 1, 1))
    counter = MaskCounter(float(rng.choice([0.3, 0.55, 0.7])))
    counter.add(ids, groups, rng.random((len(ids), 5, 6)) * rng.choice([0, 1], (len(ids), 1, 1)), truth)
    return counter.predictions()


@settings(max_examples=60, deadline=None)
@given(ids=st.lists(st.text(max_size=8), min_size=1, max_size=5, unique=True), seed=st.integers(0, 2**32 - 1))
def test_table_reads_back_exactly(ids: list[str], seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    groups = [f"{one} " for one in ids]
    p = drawn(ids, groups, seed)
    path = tmp_path_factory.getbasetemp() / "table.csv"
    text = predictions_csv(p)
    path.write_text(text, encoding="utf-8", newline="")
    read = read_predictions(path)
    assert (read.sample_id.tolist(), read.group.tolist()) == (ids, groups)
    for name in ("hd95", "grid_tp", "grid_fp"):
        np.testing.assert_array_equal(getattr(read, name), getattr(p, name))
    for name, counts in vars(p.counts).items():
        np.testing.assert_array_equal(getattr(read.counts, name), counts)
    assert predictions_csv(read) == text


def test_the_columns_are_the_documented_ones(tmp_path: Path) -> None:
    assert COLUMNS[:9] == ("sample_id", "group", "tp", "fp", "fn", "tn", "hd95", "tp@0.05", "fp@0.05")
    assert COLUMNS[-2:] == ("tp@0.95", "fp@0.95")
    assert THRESHOLDS == (
        0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95
    )  # fmt: skip
    path = tmp_path / "test.csv"
    path.write_text(f"{HEADER}\n{GOOD}\n")
    p = read_predictions(path)
    assert predictions_csv(p) == path.read_text()
    assert (p.counts.true[0], p.counts.predicted[0], p.counts.pixels[0], p.hd95[0]) == (3, 3, 16, 1.5)
    assert [int(counts[0]) for counts in vars(p.at(18)).values()] == [1, 0, 2, 13]


def row(**changes: str) -> str:
    """The good row with other fields; `column__0_05` stands for `column@0.05`."""
    fields = dict(zip(COLUMNS, GOOD.split(","), strict=True))
    named = {name.replace("__0_", "@0."): value for name, value in changes.items()}
    assert named.keys() <= fields.keys()
    return ",".join((fields | named).values())


@pytest.mark.parametrize(
    ("rows", "where", "what"),
    [
        ([row(tp="2.0")], "row 2, column 'tp'", "a number of pixels (digits alone, at most 12), received '2.0'"),
        ([row(fn="")], "row 2, column 'fn'", "received ''"),
        ([row(tn="-1")], "row 2, column 'tn'", "received '-1'"),
        ([row(tn="1" * 13)], "row 2, column 'tn'", f"received '{'1' * 13}'"),
        ([row(tp="٢")], "row 2, column 'tp'", "received '٢'"),
        ([row(fp__0_95="x")], "row 2, column 'fp@0.95'", "received 'x'"),
        ([row(hd95="far")], "row 2, column 'hd95'", "expected a distance in pixels (a number from 0), or nothing"),
        ([row(hd95="-1")], "row 2, column 'hd95'", "received '-1'"),
        ([row(hd95="inf")], "row 2, column 'hd95'", "received 'inf'"),
        ([row(hd95="nan")], "row 2, column 'hd95'", "received 'nan'"),
        ([row(hd95="")], "row 2, column 'hd95'", "expected a distance: neither mask is empty"),
        ([row(tp="0", fn="0", tn="15", tp__0_05="0")], "row 2, column 'hd95'", "expected nothing: a mask is empty"),
        ([GOOD, row(sample_id="b", tn="13")], "row 3, columns 'tp' to 'tn'", "16 pixels of the first image"),
        ([row(tp="0", fp="0", fn="0", tn="0")], "row 2, columns 'tp' to 'tn'", "expected a sum of at least one pixel"),
        ([row(tp__0_05="4")], "row 2, column 'tp@0.05'", "expected at most 3, received 4"),
        ([row(fp__0_05="14")], "row 2, column 'fp@0.05'", "expected at most 13, received 14"),
        ([row(tp__0_95="2")], "row 2, column 'tp@0.95'", "expected at most 1, received 2"),
        ([row(fp__0_60="1")], "row 2, column 'fp@0.60'", "expected at most 0, received 1"),
        ([GOOD, GOOD], "row 3, column 'sample_id'", "first in row 2"),
        ([GOOD[:-2]], "row 2", f"expected {len(COLUMNS)} columns, received {len(COLUMNS) - 1}"),
        ([], "row 2", "at least one sample"),
        (['"a'], "the file", "UTF-8 CSV"),
    ],
)  # fmt: skip
def test_a_damaged_row_is_refused_with_the_place(tmp_path: Path, rows: list[str], where: str, what: str) -> None:
    path = tmp_path / "test.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    with pytest.raises(RunFolderError) as caught:
        read_predictions(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: {where}: ")
    assert what in message
    assert message.endswith("`cvlab evaluate RUN_DIR` writes the file anew.")


@pytest.mark.parametrize(
    ("header", "where", "what"),
    [
        ("", "column 1", "expected 'sample_id', received 'nothing'"),
        (HEADER.replace("hd95", "hd"), "column 7", "expected 'hd95', received 'hd'"),
        (HEADER.replace("tp@0.10", "tp@0.1"), "column 10", "expected 'tp@0.10', received 'tp@0.1'"),
        (HEADER.removesuffix(",fp@0.95"), f"column {len(COLUMNS)}", "expected 'fp@0.95', received 'nothing'"),
        (HEADER + ",tp@1.00", f"column {len(COLUMNS) + 1}", "expected no further column, received 'tp@1.00'"),
    ],
)
def test_another_header_is_refused_with_the_column(tmp_path: Path, header: str, where: str, what: str) -> None:
    path = tmp_path / "test.csv"
    path.write_text(f"{header}\n{GOOD}\n" if header else "")
    with pytest.raises(RunFolderError) as caught:
        read_predictions(path)
    assert f"row 1 (the header), {where}: {what}" in str(caught.value)


def test_a_missing_table_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"none\.csv: cannot be read .*`cvlab evaluate RUN_DIR` first"):
        read_predictions(tmp_path / "none.csv")


def test_counts_that_contradict_each_other_are_not_written() -> None:
    p = drawn(["a", "b"], ["g", "g"], seed=3)
    more = replace(p, counts=PixelCounts(p.counts.tp, p.counts.fp, p.counts.fn, p.counts.tn + np.array([0, 1])))
    with pytest.raises(
        RunFolderError, match="Predictions of sample 'b', columns 'tp' to 'tn': expected a sum of the 30"
    ):
        predictions_csv(more)
    with pytest.raises(RunFolderError, match="Predictions of sample 'a', column 'hd95'"):
        predictions_csv(replace(p, hd95=np.where(np.isnan(p.hd95), 1.0, np.nan)))
