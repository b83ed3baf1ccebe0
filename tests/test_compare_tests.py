"""The tests of pairs of models, against scikit-learn, SciPy, DeLong by hand, and resampling row by row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score, roc_auc_score

from cvlab import compare_draws
from cvlab.compare import Request, compare_runs
from cvlab.compare_draws import SEED, draw
from cvlab.compare_found import Compared
from cvlab.compare_tests import Comparison
from cvlab.console import Console
from cvlab.metrics import classification
from cvlab.metrics.classification import read_predictions
from cvlab.metrics.segmentation import read_predictions as read_masks
from cvlab.run_folder import RunFolder
from cvlab.statistics.bootstrap import group_weights
from cvlab.statistics.paired import bootstrap_difference, mcnemar
from tests.compare_fixture import (
    NAMES,
    classification_run,
    ids_of,
    regression_run,
    segmentation_run,
    table_of,
    write_run,
)
from tests.run_fixture import fake_scores

# Nearly every test draws a figure, or reads a whole run: `scripts/test fast` leaves them out.
pytestmark = pytest.mark.slow


def compared(*paths: Path, by: str | None = None) -> Compared:
    return compare_runs(Request(paths, None, "test", by, False), Console())


def of(found: Compared, key: str, pair: int = 0) -> Comparison:
    (one,) = [one for one in found.pairs[pair].comparisons if one.metric.key == key]
    return one


RESAMPLES = 500


@pytest.fixture(scope="module", autouse=True)
def _few_resamples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare_draws, "RESAMPLES", RESAMPLES)
        patch.setattr(compare_draws, "RESAMPLES_A_PAIR", 100)
        yield


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """Three models on 150 images that are groups of their own."""
    parent = tmp_path_factory.mktemp("three")
    skills = {"vgg": 2.2, "alexnet": 1.2, "mobile": 1.1}
    return compared(*(classification_run(parent, name, skill).path for name, skill in skills.items()))


def tables(found: Compared, pair: int = 0) -> list[Any]:
    return [model.results[0].table for model in (found.pairs[pair].first, found.pairs[pair].second)]


def test_the_better_model_is_first(three: Compared) -> None:
    values = [entrant.value(("accuracy",)) or 0.0 for entrant in three.entrants]
    assert values == sorted(values, reverse=True)
    assert [entrant.letter for entrant in three.entrants] == ["A", "B", "C"]
    pairs = [(pair.first.letter, pair.second.letter) for pair in three.pairs]
    assert pairs == [("A", "B"), ("A", "C"), ("B", "C")]


@pytest.mark.parametrize("pair", [0, 1, 2])
def test_accuracy_is_tested_by_mcnemar(three: Compared, pair: int) -> None:
    one, other = (table.predicted == table.target for table in tables(three, pair))
    found = of(three, "accuracy", pair)
    b, c = int((one & ~other).sum()), int((other & ~one).sum())
    assert found.difference == pytest.approx((b - c) / 150, abs=1e-12)
    expected = stats.binomtest(b, b + c).pvalue if b + c < 25 else stats.chi2.sf((b - c) ** 2 / (b + c), 1)
    assert found.p == pytest.approx(expected, rel=1e-9)
    assert found.test.startswith("McNemar")
    (bootstrap,) = found.others
    assert (bootstrap.test.name, bootstrap.holds) == ("bootstrap", True)
    # Two ways to the same: the interval of the test and that of the bootstrap.
    assert bootstrap.test.difference is not None
    assert found.low == pytest.approx(bootstrap.test.difference.low, abs=0.02)
    assert found.high == pytest.approx(bootstrap.test.difference.high, abs=0.02)


def delong_by_hand(positive: np.ndarray, one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Difference and p of two AUCs by the definition: every pair of a positive and a negative."""
    wins = [
        (scores[positive][:, None] > scores[~positive]) + 0.5 * (scores[positive][:, None] == scores[~positive])
        for scores in (one, other)
    ]
    aucs = [win.mean() for win in wins]
    variance = sum(
        np.var(wins[0].mean(axis=axis) - wins[1].mean(axis=axis), ddof=1) / wins[0].shape[1 - axis] for axis in (0, 1)
    )
    return aucs[0] - aucs[1], 2 * stats.norm.sf(abs(aucs[0] - aucs[1]) / np.sqrt(variance))


def test_the_area_of_a_class_is_tested_by_delong(three: Compared) -> None:
    one, other = tables(three)
    for index, name in enumerate(one.class_names):
        found = of(three, f"per_class.{name}.roc_auc")
        difference, p = delong_by_hand(one.target == index, one.scores[:, index], other.scores[:, index])
        assert found.difference == pytest.approx(difference, abs=1e-12)
        assert found.p == pytest.approx(p, rel=1e-9)
        assert found.test.startswith("DeLong")


def test_holm_is_over_the_pairs_of_each_metric(three: Compared) -> None:
    for column in zip(*(pair.comparisons for pair in three.pairs), strict=True):
        p = sorted(one.p for one in column if one.p is not None)
        adjusted = sorted(one.p_holm for one in column if one.p_holm is not None)
        expected = np.maximum.accumulate([min(1.0, value * (len(p) - place)) for place, value in enumerate(p)])
        assert adjusted == pytest.approx(expected)


def test_the_bootstrap_of_groups_is_that_of_resampled_rows(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / name / "20250102-030405", table_of(skill, seed, group_of=3))
        for name, skill, seed in (("vgg", 2.0, 1), ("alexnet", 1.2, 2))
    ]
    found = compared(*(run.path for run in runs))
    assert found.samples.groups == 50
    accuracy = of(found, "accuracy")
    assert accuracy.test == "bootstrap"
    assert [(other.test.name.removesuffix(", exact"), other.holds) for other in accuracy.others] == [("McNemar", False)]
    one, other = tables(found)
    weights = group_weights(found.samples.group, one.target, resamples=RESAMPLES, seed=SEED)
    drawn: dict[str, list[float]] = {"macro_f1": [], "macro_roc_auc": []}
    for row in weights[:60]:
        rows = np.repeat(np.arange(150), row)
        f1 = [f1_score(t.target[rows], t.predicted[rows], average="macro", labels=[0, 1, 2]) for t in (one, other)]
        auc = [roc_auc_score(t.target[rows], t.scores[rows], multi_class="ovr") for t in (one, other)]
        drawn["macro_f1"].append(f1[0] - f1[1])
        drawn["macro_roc_auc"].append(auc[0] - auc[1])
    replicates = [model[0].replicates for model in draw(found.entrants, found.samples, found.metrics, found.task)]
    for key, values in drawn.items():
        mine = replicates[0][(key,)] - replicates[1][(key,)]
        assert mine[:60] == pytest.approx(values, abs=1e-9)
        assert of(found, key).low == pytest.approx(np.quantile(mine, 0.025), abs=0.01)
        assert of(found, key).high == pytest.approx(np.quantile(mine, 0.975), abs=0.01)


def test_the_dice_of_patients_is_tested_by_wilcoxon(tmp_path: Path) -> None:
    runs = [segmentation_run(tmp_path, name, skill) for name, skill in (("unet", 0.9), ("plain", 0.6))]
    found = compared(*(run.path for run in runs))
    one = of(found, "dice_group_mean")
    dice = []
    for run in runs:
        p = read_masks(run.predictions("test"))
        sums = {
            group: [int(counts[p.group == group].sum()) for counts in (p.counts.tp, p.counts.fp, p.counts.fn)]
            for group in sorted({*p.group})
        }
        dice.append(np.array([2 * tp / (2 * tp + fp + fn) for tp, fp, fn in sums.values()]))
    better = 0 if dice[0].mean() >= dice[1].mean() else 1
    differences = dice[better] - dice[1 - better]
    assert one.difference == pytest.approx(differences.mean(), abs=1e-12)
    assert one.p == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue, abs=1e-12)
    assert one.test.startswith("Wilcoxon over groups, exact")
    assert one.low is not None
    (of_images,) = [other for other in of(found, "dice_all").others if other.test.name.startswith("Wilcoxon")]
    assert not of_images.holds


def test_a_lower_error_is_better(tmp_path: Path) -> None:
    runs = [regression_run(tmp_path, name, skill) for name, skill in (("vgg", 0.4), ("alexnet", 0.8))]
    found = compared(*(run.path for run in runs))
    assert [entrant.name for entrant in found.entrants] == ["alexnet", "vgg"]
    one = of(found, "rmse")
    assert one.difference is not None
    assert one.difference < 0
    assert one.high is not None
    assert one.high < 0
    by = compared(*(run.path for run in runs), by="per_target.valence.mae")
    assert by.metrics[0].key == "per_target.valence.mae"
    assert by.pairs[0].comparisons[0].metric.key == "per_target.valence.mae"


def test_several_runs_are_compared_by_their_means_and_their_spread(tmp_path: Path) -> None:
    runs = [
        classification_run(tmp_path, name, skill, seed)
        for name, skill in (("vgg", 2.0), ("alexnet", 1.4))
        for seed in (1, 2, 3)
    ]
    found = compared(*(run.path for run in runs))
    one = of(found, "accuracy")
    values = [entrant.values_of_parts(("accuracy",)) for entrant in found.entrants]
    assert one.difference == pytest.approx(np.mean(values[0]) - np.mean(values[1]), abs=1e-12)
    assert one.others == ()
    welch = stats.ttest_ind(*values, equal_var=False).confidence_interval()
    assert one.low is not None
    assert one.high is not None
    # The samples add to what the seeds alone make uncertain, and there are more degrees of freedom.
    spread = np.sqrt(sum(np.var(of_model, ddof=1) / 3 for of_model in values))
    assert one.high - one.low > 2 * 1.96 * spread
    assert one.low < welch.low + 0.05
    assert "accuracy over the 3 seeds of vgg: mean" in " ".join(found.sentences())


def test_runs_paired_by_seed_differ_seed_by_seed(tmp_path: Path) -> None:
    paths = [
        write_run(
            tmp_path / name / f"2025010{seed}-030405", table_of(skill, seed, ids=ids_of(150, 150 * seed)), seed=seed
        ).path
        for name, skill in (("vgg", 2.0), ("alexnet", 1.4))
        for seed in (1, 2)
    ]
    found = compared(*paths)
    one = of(found, "accuracy")
    pooled = []
    for path in paths:
        p = read_predictions(RunFolder(path).predictions("test"))
        pooled.append(float((p.target == p.predicted).mean()))
    assert one.difference == pytest.approx(abs((pooled[0] + pooled[1]) / 2 - (pooled[2] + pooled[3]) / 2), abs=1e-12)
    assert one.p is not None


def test_equal_predictions_show_no_difference(tmp_path: Path) -> None:
    text = table_of(1.5, 3)
    runs = [write_run(tmp_path / name / "20250102-030405", text) for name in ("vgg", "alexnet")]
    found = compared(*(run.path for run in runs))
    for one in found.pairs[0].comparisons:
        assert one.difference == 0
        assert one.p == 1
    assert "both classified equally many of the 150 test images correctly" in found.sentences()[0]


def test_a_class_of_few_groups_is_not_tested(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / name / "20250102-030405", table_of(1.0, seed, samples=30, group_of=6))
        for seed, name in enumerate(("vgg", "alexnet"))
    ]
    one = of(compared(*(run.path for run in runs)), "macro_f1")
    assert (one.p, one.low) == (None, None)
    assert one.reason == "5 groups are too few (6 are the least)"


def test_a_mean_over_classes_is_as_uncertain_as_its_rare_classes(tmp_path: Path) -> None:
    target = np.repeat([0, 1, 2], [3, 60, 60])
    runs = []
    for seed, name in enumerate(("vgg", "alexnet")):
        scores = fake_scores(target, 3, 0.4 * seed, seed)
        # One of them knows the rare class better than the other.
        share = [np.array([0.9, 0.5, 0.3]), np.array([0.1, 0.4, 0.05])][seed]
        scores[:3] = np.column_stack([share, (1 - share) / 2, (1 - share) / 2])
        ids = ids_of(len(target))
        runs.append(write_run(tmp_path / name / "t", classification.predictions_csv(ids, ids, target, scores, NAMES)))
    found = compare_runs(Request([run.path for run in runs], None, "test", None, False), Console())
    area = of(found, "macro_roc_auc")
    assert (area.p, area.low) == (None, None)
    assert area.reason == "rare classes decide it: happy (3 samples)"
    rare = of(found, "per_class.happy.roc_auc")
    assert (rare.p, rare.reason, rare.others) == (None, "3 samples are too few (6 are the least)", ())
    assert of(found, "per_class.sad.roc_auc").test.startswith("DeLong")
    assert of(found, "accuracy").p is not None


def test_groups_keep_the_rate_of_false_findings() -> None:
    """Two equal models, 20 groups of 5 alike samples: McNemar finds too much, the bootstrap of groups does not."""
    rng = np.random.default_rng(8)
    group = np.repeat(np.arange(20), 5)
    found = np.zeros(2)
    for repeat in range(200):
        shared, *own = rng.normal(0, 1, (3, 20))[:, group]
        one, other = (shared + 1.5 * mine + rng.normal(size=100) > 0 for mine in own)
        weights = group_weights(group, resamples=500, seed=repeat)
        drawn = (weights @ one.astype(float) - weights @ other) / weights.sum(axis=1)
        p = bootstrap_difference(one.mean() - other.mean(), drawn, groups=20).p
        assert p is not None
        found += p < 0.05, mcnemar(one, other).p < 0.05
    assert found[0] <= 20
    assert found[1] > 30
