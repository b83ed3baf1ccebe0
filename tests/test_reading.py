from __future__ import annotations

from typing import Any

import pytest

from cvlab.reading import read_curves

CLASSES = 8
ALL_FINDINGS = (
    "Overfitting",
    "Biased augmentation",
    "Lagging BatchNorm",
    "Not above chance",
    "Too few samples",
    "Still improving",
)


def cells(accuracy: float, *, supports: tuple[int, ...] = (50,) * CLASSES, balanced: float | None = None) -> Any:
    return {
        "accuracy": {"value": accuracy},
        "balanced_accuracy": {"value": accuracy if balanced is None else balanced},
        "samples": sum(supports),
        "per_class": {f"c{index}": {"support": {"value": count}} for index, count in enumerate(supports)},
    }


def of_splits(plain: float, augmented: float, val: float, test: float | None = None) -> dict[str, Any]:
    values = {"train": plain, "train-augmented": augmented, "val": val, "test": val if test is None else test}
    return {split: cells(value) for split, value in values.items()}


def epochs(
    val_losses: list[float | None], *, accuracy: float = 0.7, stage: str = "train", best: int | None = None
) -> list[dict[str, Any]]:
    """Epochs of one stage; the best is `best` (from 1) or the one with the lowest validation loss."""
    known = [loss for loss in val_losses if loss is not None]
    chosen = best if best is not None else val_losses.index(min(known)) + 1
    return [
        {
            "stage": stage,
            "epoch": number,
            "loss": 1.0,
            "accuracy": accuracy,
            "val_loss": loss,
            "val_accuracy": 0.5,
            "best": number == chosen,
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
    sentences = read_curves(FLAT, of_splits(0.72, 0.70, 0.68, 0.67))
    assert found(sentences) == []
    assert sentences == [
        "Stage train: best epoch 2 of 3 epochs (val_loss 0.900, val_accuracy 0.500, loss 1.000, accuracy 0.700).",
        "Accuracy of the best weights: training images plain 0.720, training images augmented 0.700, "
        "validation 0.680, test 0.670; training plain less validation: +0.040.",
    ]


def test_overfitting() -> None:
    sentences = read_curves(epochs([1, 0.9, 0.91], accuracy=0.95), of_splits(0.98, 0.93, 0.55))
    assert found(sentences) == ["Overfitting"]
    assert "0.980 on the training images plain and 0.550 on 400" in sentence(sentences, "Overfitting")


def test_a_gap_within_the_noise_of_few_validation_images_is_no_overfitting() -> None:
    metrics = of_splits(0.72, 0.7, 0.55)
    metrics["val"] = cells(0.55, supports=(10, 10))
    del metrics["test"]
    assert found(read_curves(FLAT, metrics)) == []
    metrics["val"] = cells(0.55, supports=(100, 100))
    assert found(read_curves(FLAT, metrics)) == ["Overfitting"]


def test_biased_augmentation_is_told_from_overfitting() -> None:
    sentences = read_curves(epochs([2.1, 2.05, 2.06], accuracy=0.39), of_splits(0.15, 0.39, 0.15))
    assert found(sentences) == ["Biased augmentation"]
    text = sentence(sentences, "Biased")
    assert "0.390 on the training images augmented" in text
    assert "0.150 on them plain and 0.150 on validation" in text


def test_lagging_batchnorm_is_told_from_both() -> None:
    sentences = read_curves(epochs([2.1, 2.05, 2.06], accuracy=0.24), of_splits(0.13, 0.125, 0.12))
    assert found(sentences) == ["Lagging BatchNorm"]
    text = sentence(sentences, "Lagging")
    assert "counted 0.240 at the best epoch" in text
    assert "0.130 on the training images plain and 0.125 augmented" in text


def test_the_running_accuracy_is_that_of_the_last_stages_best_epoch() -> None:
    history = [*epochs([1.0, 1.1], accuracy=0.99, stage="head"), *epochs([1.0, 1.04], accuracy=0.7, stage="tune")]
    history[-1]["accuracy"] = 0.99
    assert found(read_curves(history, of_splits(0.72, 0.70, 0.68))) == []
    history[-2]["accuracy"] = 0.99
    assert found(read_curves(history, of_splits(0.72, 0.70, 0.68))) == ["Lagging BatchNorm"]


def test_resampled_training_is_held_against_balanced_accuracy() -> None:
    metrics = of_splits(0.72, 0.70, 0.68)
    metrics["train"] = cells(0.72, balanced=0.88)
    assert found(read_curves(epochs([1, 0.9, 0.91], accuracy=0.9), metrics)) == []


@pytest.mark.parametrize("accuracy", [0.125, 0.14])
def test_not_above_chance(accuracy: float) -> None:
    metrics = of_splits(accuracy, accuracy, accuracy)
    sentences = read_curves(epochs([2.1, 2.05, 2.06], accuracy=0.13), metrics)
    assert found(sentences) == ["Not above chance"]
    assert f"accuracy {accuracy:.3f}" in sentence(sentences, "Not above")
    assert "among 8 classes 0.125" in sentence(sentences, "Not above")


def test_the_majority_class_alone_is_chance() -> None:
    supports = (350, *(20,) * 7)
    majority = 350 / sum(supports)
    one_class = {split: cells(majority, supports=supports, balanced=0.125) for split in ("train", "val", "test")}
    assert found(read_curves(FLAT, one_class)) == ["Not above chance"]
    balanced = {split: cells(majority, supports=supports, balanced=0.4) for split in ("train", "val", "test")}
    assert found(read_curves(FLAT, balanced)) == []


def test_too_few_samples_names_the_classes_of_the_test_split() -> None:
    metrics = of_splits(0.72, 0.70, 0.68)
    metrics["test"] = cells(0.68, supports=(50, 9, 10, 0))
    sentences = read_curves(FLAT, metrics)
    assert found(sentences) == ["Too few samples"]
    assert "fewer than 10 test samples in c1 (9), c3 (0);" in sentence(sentences, "Too few")
    del metrics["test"]
    metrics["val"] = cells(0.68, supports=(50, 3, 40))
    assert "val samples in c1 (3)" in sentence(read_curves(FLAT, metrics), "Too few")


def test_still_improving_at_the_last_epoch() -> None:
    sentences = read_curves(epochs([1.0, 0.9, 0.8]), of_splits(0.72, 0.70, 0.68))
    assert found(sentences) == ["Still improving"]
    assert "0.800 after 1.000 at epoch 1" in sentence(sentences, "Still")
    for losses in ([1.0, 0.9], [0.802, 0.801, 0.8], [1.0, 0.8, 0.81]):
        assert found(read_curves(epochs(list(losses)), of_splits(0.72, 0.70, 0.68))) == []


def test_the_turn_of_the_validation_loss_is_named() -> None:
    sentences = read_curves(epochs([1.0, 0.8, None, 0.9, 1.2]), of_splits(0.72, 0.70, 0.68))
    assert sentences[1].startswith("Stage train: validation loss turned after epoch 2: from 0.800 there to 1.200")
    assert not any("turned" in text for text in read_curves(FLAT, of_splits(0.72, 0.70, 0.68)))


def test_every_stage_is_read() -> None:
    history = [*epochs([1.0, 0.9, 0.95], stage="head"), *epochs([0.8, 0.7, 0.6], stage="tune")]
    sentences = read_curves(history, of_splits(0.72, 0.70, 0.68))
    assert [text.split(":")[0] for text in sentences[:3]] == ["Stage head", "Stage head", "Stage tune"]
    assert "stage tune ended" in sentence(sentences, "Still improving")


def test_missing_splits_values_and_history_are_no_error() -> None:
    assert read_curves([], {}) == []
    assert read_curves([], {"val": cells(0.6)}) == ["Accuracy of the best weights: validation 0.600."]
    never = epochs([None, float("nan"), None], best=0)
    assert read_curves(never, {})[0] == "Stage train: no epoch of 3 became the best."
    undefined = {"val": {**cells(0.6), "accuracy": {"value": None, "reason": "none"}}}
    assert read_curves([], undefined) == []
