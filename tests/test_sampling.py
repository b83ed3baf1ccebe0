"""What an epoch draws of each class: as often as promised, another choice each epoch, a function of the seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from cvlab.config import Sampling
from cvlab.data.pipeline import Batches
from cvlab.data.samples import SampleTable, new_table
from cvlab.data.sampling import (
    Sampler,
    check_classes,
    class_draws,
    class_weights,
    describe_draws,
    draws_per_class,
    samples_per_epoch,
)
from cvlab.data.source import Labels
from cvlab.document import block_markdown
from cvlab.errors import DataError
from cvlab.report_imbalance import class_frequencies
from cvlab.report_record import read_record
from cvlab.run_folder import read_json, write_json, write_text
from tests.config_fixture import changed, problems_of
from tests.run_fixture import fake_run

COUNTS = st.lists(st.integers(1, 30), min_size=1, max_size=6)
RESAMPLED: st.SearchStrategy[Sampling] = st.sampled_from(["oversample", "undersample", "balanced"])
EPOCHS = st.integers(0, 40)
SEEDS = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 3))


def table(counts: list[int]) -> SampleTable:
    """Training samples whose classes are mixed, and whose names do not stand in the order of the classes."""
    labels = [f"c{9 - label}" for label, count in enumerate(counts) for _ in range(count)]
    order = np.random.default_rng(len(labels)).permutation(len(labels))
    ids = [f"r/{number:04d}.png" for number in range(len(labels))]
    return new_table(ids, [Path("/") / name for name in ids], ids, {"class": [labels[i] for i in order]})


def sampler(counts: list[int], sampling: Sampling) -> Sampler:
    made = Sampler.of(table(counts), sampling)
    assert made is not None
    return made


@given(COUNTS, RESAMPLED, SEEDS, EPOCHS)
def test_every_class_comes_as_often_as_promised_and_its_samples_evenly(
    counts: list[int], sampling: Sampling, seed: tuple[int, ...], epoch: int
) -> None:
    samples = table(counts)
    made = sampler(counts, sampling)
    order = made.order(seed, epoch)
    assert len(order) == len(made) == samples_per_epoch(samples, sampling)
    labels = samples.targets["class"]
    drawn = Counter(labels[order])
    promised = class_draws(samples, sorted(set(labels)), sampling)
    assert {name: (Counter(labels)[name], drawn[name]) for name in drawn} == promised
    if sampling == "balanced":
        assert len(order) == sum(counts)
        assert max(drawn.values()) - min(drawn.values()) <= 1
    else:
        assert {*drawn.values()} == {max(counts) if sampling == "oversample" else min(counts)}
    often = np.bincount(order, minlength=len(samples))
    for name, (there, draws) in promised.items():
        assert {*often[labels == name]} <= {draws // there, -(-draws // there)}


@given(COUNTS, RESAMPLED, SEEDS, st.integers(0, 5))
def test_within_a_round_of_epochs_every_sample_is_seen(
    counts: list[int], sampling: Sampling, seed: tuple[int, ...], turn: int
) -> None:
    made = sampler(counts, sampling)
    for members, draws in zip(made.members, made.draws, strict=True):
        rest = draws % len(members)
        epochs = -(-len(members) // rest) if rest else 1
        orders = [made.order(seed, turn * epochs + epoch) for epoch in range(epochs)]
        seen = np.bincount(np.concatenate(orders), minlength=sum(counts))[members]
        # Whole rounds, and a turn to come once more.
        assert seen.min() >= epochs * (draws // len(members)) + (rest > 0)


@given(COUNTS, RESAMPLED, SEEDS, EPOCHS)
def test_the_order_is_a_function_of_seed_and_epoch(
    counts: list[int], sampling: Sampling, seed: tuple[int, ...], epoch: int
) -> None:
    one, again = sampler(counts, sampling), sampler(counts, sampling)
    again.order(seed, epoch + 1)
    assert np.array_equal(one.order(seed, epoch), again.order(seed, epoch))
    assert {len(one.order(seed, other)) for other in range(4)} == {len(one)}


@pytest.mark.parametrize("sampling", ["oversample", "undersample", "balanced"])
def test_seed_stage_and_epoch_give_other_orders(sampling: Sampling) -> None:
    made = sampler([40, 9, 21], sampling)
    orders = [made.order(seed, epoch) for seed in ((7, 0), (8, 0), (7, 1)) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 6
    if sampling == "undersample":
        chosen = {frozenset(order.tolist()) for order in orders}
        assert len(chosen) == 6


@given(COUNTS, SEEDS, EPOCHS, st.integers(1, 40))
def test_every_balanced_batch_holds_the_classes_as_evenly_as_its_size_allows(
    counts: list[int], seed: tuple[int, ...], epoch: int, size: int
) -> None:
    order = sampler(counts, "balanced").order(seed, epoch)
    labels = table(counts).targets["class"]
    classes = len(counts)
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        held = Counter(labels[batch])
        per_class = [held[name] for name in {*labels}]
        assert {*per_class} <= {len(batch) // classes, -(-len(batch) // classes)}


def test_batches_of_two_do_not_always_pair_the_same_classes() -> None:
    samples, made = table([8, 8, 8, 8]), sampler([8, 8, 8, 8], "balanced")
    labels = samples.targets["class"]
    pairs = {frozenset(labels[made.order((1, 0), epoch)[:2]]) for epoch in range(60)}
    assert len(pairs) == 6


def test_natural_sampling_is_that_of_the_table() -> None:
    assert Sampler.of(table([3, 5]), "natural") is None
    assert samples_per_epoch(table([3, 5]), "natural") == 8
    assert draws_per_class([3, 5], "natural") == [3, 5]
    assert class_draws(table([3, 5]), ["c9", "c8"], "natural") == {"c9": (3, 3), "c8": (5, 5)}
    assert class_draws(table([3, 5]), [], "natural") == {}


@given(COUNTS, RESAMPLED, st.integers(1, 33), EPOCHS)
def test_batches_hold_what_the_sampler_draws(counts: list[int], sampling: Sampling, size: int, epoch: int) -> None:
    samples = table(counts)
    numbers = np.arange(len(samples))
    images = np.zeros((len(samples), 2, 2, 3), np.uint8) + numbers[:, None, None, None].astype(np.uint8)
    columns: dict[str, Any] = {"targets": numbers[:, None].astype(np.float32), "weights": numbers.astype(np.float32)}
    made = sampler(counts, sampling)
    found = Batches(images, numbers, size, seed=(7, 0), shuffled=True, sampler=made, **columns)
    assert found.drawn == len(made)
    assert found.per_epoch == -(-len(made) // size)
    loaded = [found.load(epoch, batch) for batch in range(found.per_epoch)]
    pixels, targets, weights = (np.concatenate(column) for column in zip(*loaded, strict=True))
    assert np.array_equal(weights, made.order((7, 0), epoch))
    assert np.array_equal(targets[:, 0], weights)
    assert np.array_equal(pixels[:, 0, 0, 0], weights)


def test_a_sampler_without_shuffling_is_refused() -> None:
    images = np.zeros((8, 2, 2, 3), np.uint8)
    with pytest.raises(ValueError, match="expected `shuffled` with a sampler"):
        Batches(images, np.arange(8), 2, seed=(7, 0), sampler=sampler([3, 5], "balanced"))


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=8))
def test_balanced_weights_are_those_of_scikit_learn(counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    found = class_weights("balanced", {str(label): count for label, count in enumerate(counts)})
    assert found is not None
    assert [*found.values()] == pytest.approx(expected, rel=1e-12)


def test_given_weights_are_taken_in_the_order_of_the_classes() -> None:
    assert class_weights({"b": 2, "a": 0.5}, {"a": 3, "b": 4}) == {"a": 0.5, "b": 2.0}
    assert class_weights(None, {"a": 3, "b": 4}) is None


def test_classes_are_needed_to_sample_by_them() -> None:
    for sampling in get_args(Sampling):
        check_classes(Labels(class_names=("a", "b")), sampling)
    check_classes(Labels(numbers=("x",)), "natural")
    with pytest.raises(DataError, match=r"data\.sampling: 'balanced' draws class by class, but the data name no class"):
        check_classes(Labels(numbers=("x",)), "balanced")


def test_what_an_epoch_draws_is_said() -> None:
    said = describe_draws(class_draws(table([9, 2]), ["c9", "c8"], "balanced"), "balanced")
    assert said == (
        "An epoch draws 11 times from 11 training samples, each class 5 or 6 times (data.sampling: balanced)."
    )


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("root: data/a", "root: data/a\n  sampling: oversampl", "7: data.sampling: expected 'natural', 'oversample', "
         "'undersample' or 'balanced', received 'oversampl'; did you mean 'oversample'?"),
        ("root: data/a", "root: data/a\n  sampling: undersample", "4: data: received `sampling: undersample` with "
         "`class_weights: balanced`, which would balance the classes twice. Keep one: data.sampling=natural, or "
         "task.class_weights=null."),
        ("{root: data/b}", "{root: data/b, sampling: balanced}", "25: stages.1.data: received `sampling: balanced` "
         "with `class_weights: balanced`, which would balance the classes twice. Keep one: data.sampling=natural, or "
         "task.class_weights=null."),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert problems_of(tmp_path / "c.yaml", changed((old, new))) == [f"c.yaml:{problem}"]


def report_on(folder: Path, task: dict[str, Any], draws: dict[str, tuple[int, int]], **data: Any) -> list[str]:
    run = fake_run(folder, names=("ill", "well"), stages=("train",))
    config = yaml.safe_load(run.config.read_text())
    config["task"], config["data"] = task, {**config["data"], **data}
    write_text(run.config, yaml.safe_dump(config, sort_keys=False))
    record = read_json(run.data)
    record["stages"][0]["draws"] = {name: {"samples": n, "drawn": drawn} for name, (n, drawn) in draws.items()}
    write_json(run.data, record)
    return [*map(block_markdown, class_frequencies(read_record(run)))]


def test_the_report_shows_what_training_sees_of_each_class(tmp_path: Path) -> None:
    loss = {"name": "cross_entropy", "label_smoothing": 0.0}
    plain: dict[str, Any] = {"name": "classification", "class_weights": None, "loss": loss}
    head, rows, said = report_on(tmp_path / "a", plain, {"ill": (20, 60), "well": (60, 60)}, sampling="oversample")
    assert head == "What an epoch of training sees of each class:"
    assert rows.splitlines()[2:] == ["| ill | 20 | 60 | 1.000 | 50.0% |", "| well | 60 | 60 | 1.000 | 50.0% |"]
    assert said.startswith("Sampling: oversample. Class weights: none. Loss: cross_entropy. ")

    balanced = {**plain, "class_weights": "balanced"}
    _, rows, said = report_on(tmp_path / "b", balanced, {"ill": (20, 20), "well": (60, 60)})
    assert rows.splitlines()[2:] == ["| ill | 20 | 20 | 2.000 | 50.0% |", "| well | 60 | 60 | 0.667 | 50.0% |"]
    assert said.startswith("Sampling: natural. Class weights: balanced. ")

    focal = {**plain, "class_weights": {"well": 1, "ill": 3}, "loss": {"name": "focal", "gamma": 2.0, "alpha": 0.25}}
    _, rows, said = report_on(tmp_path / "c", focal, {"ill": (20, 20), "well": (60, 60)})
    # The second class is the positive one, which alpha weighs: 20 * 3 * 0.75 = 45 and 60 * 1 * 0.25 = 15.
    assert rows.splitlines()[2:] == ["| ill | 20 | 20 | 2.250 | 75.0% |", "| well | 60 | 60 | 0.250 | 25.0% |"]
    assert said.startswith("Sampling: natural. Class weights: as given. Loss: focal (gamma 2, alpha 0.25). ")


def test_losses_of_masks_weigh_pixels_so_that_images_have_no_weight(tmp_path: Path) -> None:
    task = {"name": "segmentation", "loss": {"name": "tversky", "alpha": 1.5, "beta": 0.5}}
    _, rows, said = report_on(tmp_path / "a", task, {"no tumour": (40, 40), "tumour": (20, 20)})
    assert rows.splitlines() == [
        "| class | samples | drawn |",
        "| --- | ---: | ---: |",
        "| no tumour | 40 | 40 |",
        "| tumour | 20 | 20 |",
    ]
    assert said == "Sampling: natural. Loss: tversky (alpha 1.5, beta 0.5), which weighs pixels, not images."
    # Where every mask shows something, there is one class.
    _, rows, _ = report_on(tmp_path / "b", task, {"tumour": (20, 20)})
    assert rows.splitlines()[2:] == ["| tumour | 20 | 20 |"]


def test_a_run_without_classes_has_no_such_table(tmp_path: Path) -> None:
    assert report_on(tmp_path, {"name": "regression"}, {}) == []
