from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cvlab.metrics.regression import RegressionPredictions, regression_metrics
from cvlab.reading_regression import read_curves

ALL_FINDINGS = (
    "Overfitting",
    "Biased augmentation",
    "Lagging BatchNorm",
    "Not better than the mean",
    "Constant prediction",
    "Too few samples",
    "Sign agreement",
    "Still improving",
)


def cells(
    rmse: float, *, std: float = 0.45, error: float = 0.005, predicted_std: float = 0.3, corr: float | None = 0.0
) -> dict[str, Any]:
    """What is read of one target; `error` is the standard error of `rmse`."""
    values = {
        "rmse": rmse,
        "rmse_standard_error": error,
        "r2": 1 - (rmse / std) ** 2,
        "corr": corr,
        "truth_mean": 0.2,
        "truth_std": std,
        "predicted_mean": 0.1,
        "predicted_std": predicted_std,
        "sagr": 0.7,
    }
    return {name: {"value": value} for name, value in values.items()}


def table(samples: int = 400, **targets: dict[str, Any]) -> dict[str, Any]:
    rmse = sum(target["rmse"]["value"] for target in targets.values()) / len(targets)
    return {"rmse": {"value": rmse}, "per_target": targets, "samples": samples}


def of_splits(plain: float, augmented: float, val: float, test: float | None = None) -> dict[str, Any]:
    values = {"train": plain, "train-augmented": augmented, "val": val, "test": val if test is None else test}
    return {split: table(valence=cells(value)) for split, value in values.items()}


def epochs(val_losses: list[float], *, rmse: float = 0.32, stage: str = "train") -> list[dict[str, Any]]:
    return [
        {
            "stage": stage,
            "epoch": number,
            "loss": 0.1,
            "rmse": rmse,
            "val_loss": loss,
            "val_rmse": 0.33,
            "val_ccc": 0.5,
            "best": loss == min(val_losses),
        }
        for number, loss in enumerate(val_losses, start=1)
    ]


FLAT = epochs([1.0, 0.9, 0.91])


def found(sentences: list[str]) -> list[str]:
    return [name for name in ALL_FINDINGS if any(sentence.startswith(name) for sentence in sentences)]


def sentence(sentences: list[str], start: str) -> str:
    (one,) = [text for text in sentences if text.startswith(start)]
    return one


def test_a_sound_run_has_no_finding_but_its_numbers() -> None:
    assert read_curves(FLAT, of_splits(0.30, 0.31, 0.33, 0.34)) == [
        "Stage train: best epoch 2 of 3 epochs "
        "(val_loss 0.900, val_rmse 0.330, val_ccc 0.500, loss 0.100, rmse 0.320).",
        "RMSE of the best weights: training images plain 0.300, training images augmented 0.310, "
        "validation 0.330, test 0.340; validation less training plain: +0.030.",
    ]


def test_a_mean_of_targets_is_called_one() -> None:
    both = {"val": table(valence=cells(0.3), arousal=cells(0.4))}
    assert read_curves([], both) == ["RMSE of the best weights, mean of 2 targets: validation 0.350."]


def test_overfitting_names_the_targets_whose_gap_is_clear() -> None:
    metrics = {
        "train": table(valence=cells(0.20), arousal=cells(0.30)),
        "val": table(valence=cells(0.35), arousal=cells(0.33)),
    }
    sentences = read_curves(FLAT, metrics)
    assert found(sentences) == ["Overfitting"]
    text = sentence(sentences, "Overfitting")
    assert "on 400 validation images: valence 0.200 against 0.350; more data" in text
    assert "arousal" not in text


@pytest.mark.parametrize(("unit", "shown"), [(1e-4, "2e-05 against 3.5e-05"), (1e4, "2,000.000 against 3,500.000")])
def test_the_unit_of_a_target_does_not_matter(unit: float, shown: str) -> None:
    metrics = {
        split: table(age=cells(rmse * unit, std=0.45 * unit, error=0.005 * unit, predicted_std=0.3 * unit))
        for split, rmse in (("train", 0.2), ("train-augmented", 0.21), ("val", 0.35))
    }
    sentences = read_curves(epochs([1, 0.9, 0.91], rmse=0.22 * unit), metrics)
    assert found(sentences) == ["Overfitting"]
    assert f"age {shown}" in sentence(sentences, "Overfitting")


def test_a_gap_within_the_noise_of_few_validation_images_is_no_overfitting() -> None:
    metrics = of_splits(0.25, 0.26, 0.35)
    assert found(read_curves(FLAT, metrics)) == ["Overfitting"]
    metrics["val"] = table(60, valence=cells(0.35, error=0.06))
    assert found(read_curves(FLAT, metrics)) == []


def test_biased_augmentation() -> None:
    sentences = read_curves(FLAT, of_splits(0.44, 0.32, 0.43))
    assert found(sentences) == ["Biased augmentation"]
    assert "valence 0.320 against 0.440" in sentence(sentences, "Biased")


def test_lagging_batchnorm_is_told_from_the_others_and_from_a_model_that_has_learned_nothing() -> None:
    sentences = read_curves(FLAT, of_splits(0.46, 0.47, 0.46))
    assert found(sentences) == ["Lagging BatchNorm"]
    text = sentence(sentences, "Lagging")
    assert "counted an RMSE of 0.320 at the best epoch" in text
    assert "0.460 on the training images plain and 0.470 augmented" in text


@pytest.mark.parametrize("rmse", [0.45, 0.447, 0.5])
def test_not_better_than_the_mean(rmse: float) -> None:
    sentences = read_curves(epochs([1, 0.9, 0.91], rmse=0.45), of_splits(rmse, rmse, rmse))
    assert found(sentences) == ["Not better than the mean"]
    text = sentence(sentences, "Not better")
    assert f"valence {rmse:.3f} against 0.450" in text
    assert text.endswith("the model has learned nothing yet. Try another learning rate or more epochs.")


def test_one_target_that_is_better_than_its_mean_is_enough() -> None:
    metrics = {"val": table(valence=cells(0.45), arousal=cells(0.3))}
    assert found(read_curves(FLAT, metrics)) == []


def test_what_was_learned_by_heart_is_not_called_nothing() -> None:
    sentences = read_curves(FLAT, of_splits(0.3, 0.31, 0.46))
    assert found(sentences) == ["Overfitting", "Not better than the mean"]
    assert sentence(sentences, "Not better").endswith("has learned holds for its training images only.")


def test_a_wrong_scale_is_not_called_nothing() -> None:
    truth = np.linspace(-1, 1, 100)
    metrics = {"val": regression_metrics(predictions(truth, 3 * truth + np.sin(9 * truth)))}
    text = sentence(read_curves(FLAT, metrics), "Not better")
    assert "the predictions go with the truth, on a wrong scale (age CORR 0.9" in text
    assert "learned nothing" not in text
    related = {"val": table(valence=cells(0.45, corr=0.15), arousal=cells(0.46, corr=None))}
    assert "(valence CORR 0.150, 0.100 ± 0.300 for a truth of 0.200 ± 0.450):" in sentence(
        read_curves(FLAT, related), "Not better"
    )
    related["val"]["per_target"]["valence"] = cells(0.45, corr=0.14)
    assert "learned nothing" in sentence(read_curves(FLAT, related), "Not better")


def predictions(truth: np.ndarray, predicted: np.ndarray) -> RegressionPredictions:
    ids = np.array([f"s{number}" for number in range(len(truth))], dtype=object)
    return RegressionPredictions(ids, ids, truth[:, None], predicted[:, None], ("age",))


@pytest.mark.parametrize("samples", [60, 400])
def test_noise_is_seldom_called_better_than_the_mean(samples: int) -> None:
    """Predictions fitted to unrelated numbers: the best that chance gives."""
    rng = np.random.default_rng(0)
    called = 0
    for _ in range(200):
        truth, signal = rng.normal(size=(2, samples))
        fitted = np.polyval(np.polyfit(signal, truth, 1), signal)
        metrics = {"val": regression_metrics(predictions(truth, fitted))}
        called += "Not better than the mean" not in found(read_curves([], metrics))
    assert called <= 20


def test_constant_predictions_are_named_with_the_constant() -> None:
    metrics = {"val": table(valence=cells(0.45, predicted_std=0.001), arousal=cells(0.3))}
    text = sentence(read_curves(FLAT, metrics), "Constant prediction")
    assert text.endswith("every image of validation: valence 0.100 ± 0.001 (truth 0.200 ± 0.450).")
    assert "arousal" not in text


def test_too_few_samples_are_those_of_test() -> None:
    metrics = of_splits(0.30, 0.31, 0.33)
    metrics["test"] = table(49, valence=cells(0.34, error=0.03))
    sentences = read_curves(FLAT, metrics)
    assert found(sentences) == ["Too few samples"]
    assert "49 test samples (RMSE with its standard error: valence 0.340 ± 0.030)" in sentence(sentences, "Too few")
    metrics["test"] = table(50, valence=cells(0.34))
    assert found(read_curves(FLAT, metrics)) == []


def test_a_truth_of_one_sign_makes_the_sign_agreement_say_little() -> None:
    age = np.linspace(10, 60, 100)
    metrics = {"val": regression_metrics(predictions(age, age + np.sin(age)))}
    sentences = read_curves([], metrics)
    assert found(sentences) == ["Sign agreement"]
    assert sentence(sentences, "Sign") == (
        "Sign agreement (SAGR) on validation: age: the truth is never negative, so that its sign says little."
    )


def test_still_improving_and_turned() -> None:
    sentences = read_curves(epochs([1.0, 0.9, 0.8]), of_splits(0.30, 0.31, 0.33))
    assert found(sentences) == ["Still improving"]
    sentences = read_curves(epochs([1.0, 0.8, 1.2]), of_splits(0.30, 0.31, 0.33))
    assert sentences[1].startswith("Stage train: validation loss turned after epoch 2: from 0.800 there to 1.200")


def test_the_running_rmse_is_that_of_the_last_stage() -> None:
    history = [*epochs([1.0, 1.01], rmse=0.1, stage="head"), *epochs([1.0, 1.01], rmse=0.32, stage="tune")]
    assert found(read_curves(history, of_splits(0.30, 0.31, 0.33))) == []


def test_missing_splits_undefined_values_and_history_are_no_error() -> None:
    assert read_curves([], {}) == []
    one = {split: regression_metrics(predictions(np.array([0.2]), np.array([0.4]))) for split in ("train", "val")}
    sentences = read_curves([], one)
    assert found(sentences) == ["Too few samples", "Sign agreement"]
    assert "1 val sample; a few samples" in sentence(sentences, "Too few")
    constant = np.full(60, -0.3)
    same = {split: regression_metrics(predictions(constant, constant)) for split in ("train", "val")}
    assert found(read_curves(FLAT, same)) == ["Sign agreement"]
