"""What is said about settings that are wrong: the place, the key, what was expected and what was received."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvlab.config_file import load_experiment
from cvlab.config_values import MAX_IMAGE_SIDE
from tests.config_fixture import VALID, changed, problems_of

SOURCES = "'csv_table', 'image_folder', 'image_mask_folder' or 'lgg_mri'"
MODELS = "'alexnet', 'covid_cnn', 'mobilenet', 'pretrained', 'unet', 'unet_vgg16' or 'vggnet'"
OPTIMIZERS = "'adam', 'adamw', 'sgd' or 'rmsprop'"
TRAINABLE = "'all', 'head', {first_frozen: N}, {last_layers: N}, {fraction: F} with 0 < F <= 1, or {from_layer: NAME}"
CLASS_WEIGHTS = "'balanced', null, or a mapping of class names to weights above 0"
TOP_KEYS = "name, seed, task, data, augment, model, train, stages, evaluate, expected"


def test_the_valid_configuration(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(VALID)
    experiment = load_experiment(path)
    first, second = experiment.stages
    assert (first.epochs, first.learning_rate, first.optimizer.name, first.batch_size) == (24, 1e-3, "adam", 40)
    assert (second.epochs, second.learning_rate, second.optimizer.name, second.batch_size) == (12, 1e-4, "sgd", 40)
    assert (len(first.augment), second.augment) == (2, [])
    assert second.data.image_size == first.data.image_size == (64, 64)
    assert second.schedule == first.schedule == experiment.train.schedule
    assert second.early_stopping == experiment.train.early_stopping


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        # Misspelt keys, in every section and at every depth.
        ("seed:", "sed:", "2: sed: unknown key; did you mean 'seed'?"),
        ("output:", "ouput:", "3: task.ouput: unknown key; did you mean 'output'?"),
        ("{name: cross_entropy}", "{name: cross_entropy, label_smoothin: 0.1}",
         "3: task.loss.label_smoothin: unknown key; did you mean 'label_smoothing'?"),
        ("image_size:", "imagesize:", "7: data.imagesize: unknown key; did you mean 'image_size'?"),
        ("test: 0.1", "tset: 0.1", "8: data.split.tset: unknown key; did you mean 'test'?"),
        ("dropout:", "dropuot:", "12: model.dropuot: unknown key; did you mean 'dropout'?"),
        ("batch_size:", "batchsize:", "14: train.batchsize: unknown key; did you mean 'batch_size'?"),
        ("beta_1:", "beta1:", "15: train.optimizer.beta1: unknown key; did you mean 'beta_1'?"),
        ("final:", "fnal:", "16: train.schedule.fnal: unknown key; did you mean 'final'?"),
        ("patience:", "patiense:", "17: train.early_stopping.patiense: unknown key; did you mean 'patience'?"),
        ("factor:", "factr:", "18: train.reduce_lr.factr: unknown key; did you mean 'factor'?"),
        ("trainable:", "trainible:", "21: stages.0.trainible: unknown key; did you mean 'trainable'?"),
        ("{root: data/b}", "{rot: data/b}", "25: stages.1.data.rot: unknown key; did you mean 'root'?"),
        ("momentum:", "momentun:", "27: stages.1.optimizer.momentun: unknown key; did you mean 'momentum'?"),
        ("top_k:", "topk:", "28: evaluate.topk: unknown key; did you mean 'top_k'?"),
        # Keys of another place, and names near to nothing.
        ("seed: 1", "epochs: 5", "2: epochs: unknown key here; did you mean 'stages.0.epochs'?"),
        ("dropout: 0.5", "batch_size: 5", "12: model.batch_size: unknown key here; did you mean 'train.batch_size'?"),
        ("seed: 1", "xyz: 1", f"2: xyz: unknown key; the keys here are {TOP_KEYS}."),
        ("name: sgd, momentum", "name: sgd, beta_1", "27: stages.1.optimizer.beta_1: unknown key; the keys of 'sgd' "
         "are name, weight_decay, clipnorm, global_clipnorm, clipvalue, momentum, nesterov."),
        # Components that there are not.
        ("name: vggnet", "name: vgnet",
         f"12: model.name: expected {MODELS}, received 'vgnet'; did you mean 'vggnet'?"),
        ("name: vggnet", "name: [vggnet]",
         f"12: model.name: expected {MODELS}, received ['vggnet']."),
        ("{name: vggnet, dropout: 0.5}", "vggnet",
         "12: model: expected a mapping such as {name: vggnet}, received 'vggnet'."),
        ("name: adam", "name: SGD",
         f"15: train.optimizer.name: expected {OPTIMIZERS}, received 'SGD'; did you mean 'sgd'?"),
        ("name: adam", "nme: adam",
         f"15: train.optimizer.name: is missing; expected {OPTIMIZERS}; did you write 'nme' for it?"),
        ("name: vggnet", "Name: vggnet", f"12: model.name: is missing; expected {MODELS}; "
         "did you write 'Name' for it?"),
        ("  name: image_folder\n", "", f"4: data.name: is missing; expected {SOURCES}."),
        ("{root: data/b}", "{name: images, root: data/b}",
         f"25: stages.1.data.name: expected {SOURCES}, received 'images'."),
        ("name: adam", "name: adem",
         f"15: train.optimizer.name: expected {OPTIMIZERS}, received 'adem'; did you mean 'adam'?"),
        ("{name: adam, beta_1: 0.9}", "sgd",
         "15: train.optimizer: expected a mapping such as {name: sgd}, received 'sgd'."),
        ("{name: cosine, final: 0.1, warmup_epochs: 1}", "{final: 0.1}",
         "16: train.schedule.name: is missing; expected 'constant', 'cosine' or 'step'."),
        # Wrong types.
        ("epochs: 24", "epochs: true", "21: stages.0.epochs: expected a whole number, received true."),
        ("epochs: 24", "epochs: 8.0", "21: stages.0.epochs: expected a whole number, received 8.0."),
        ("epochs: 24", "epochs: '8'",
         "21: stages.0.epochs: expected a whole number, received '8'; leave out the quotes."),
        ("epochs: 24", "epochs: [8]", "21: stages.0.epochs: expected a whole number, received [8]."),
        ("epochs: 24", "epochs:", "21: stages.0.epochs: expected a whole number, received null."),
        ("epochs: 24", "epochs: 0", "21: stages.0.epochs: expected at least 1, received 0."),
        ("1e-3", "'1e-3'", "21: stages.0.learning_rate: expected a number, received '1e-3'; leave out the quotes."),
        ("1e-3", "0", "21: stages.0.learning_rate: expected above 0, received 0."),
        ("1e-3", ".inf", "21: stages.0.learning_rate: expected a finite number, received .inf."),
        ("name: demo", "name: 5", "1: name: expected text, received 5; put it in quotes."),
        ("name: demo", "name: a/b", "1: name: expected a file name: at most 100 letters, digits, `_`, `-` and `.`, "
         "a letter or digit first, received 'a/b'."),
        ("seed: 1", "seed: -1", "2: seed: expected at least 0, received -1."),
        ("{patience: 10}", "5", "17: train.early_stopping: expected a mapping with the keys patience, min_delta, "
         "start_after_steps or null, received 5."),
        ("augment: []", "augment: null", "26: stages.1.augment: expected a list, received null."),
        ("{root: data/b}", "null",
         "25: stages.1.data: expected a mapping such as {name: image_folder}, received null."),
        ("batch_size: 40", "device: tpu",
         "14: train.device: expected 'auto', 'cpu', 'gpu', or one of several: 'gpu:1', "
         "received 'tpu'; did you mean 'gpu'?"),
        ("batch_size: 40", "precision: float16", "14: train.precision: expected 'auto', 'float32', 'mixed_float16' or "
         "'mixed_bfloat16', received 'float16'; did you mean 'float32'?"),
        ("output: softmax", "output: true", "3: task.output: expected 'softmax' or 'sigmoid', received true."),
        ("class_weights: balanced", "class_weights: blanced",
         f"3: task.class_weights: expected {CLASS_WEIGHTS}, received 'blanced'; did you mean 'balanced'?"),
        # Missing keys.
        ("name: demo\n", "", "1: name: is missing; add `name: ...`."),
        ("  root: data/a\n", "", "4: data.root: is missing; add `root: ...`."),
        ("    epochs: 12\n", "", "22: stages.1.epochs: is missing; add `epochs: ...`."),
        ("model: {name: vggnet, dropout: 0.5}\n", "",
         "1: model: is missing; add `model: {name: ...}`, with a name such as 'alexnet'."),
        # Impossible values and combinations.
        ("[64, 64]", "[0, 128]", "7: data.image_size.0: expected at least 1, received 0."),
        ("[64, 64]", "[16, 16]",
         "7: data.image_size: expected at least 32 pixels a side for this model, received [16, 16]."),
        ("[64, 64]", f"[64, {MAX_IMAGE_SIDE + 1}]", "7: data.image_size.1: expected at most 4096, received 4097."),
        ("[64, 64]", "[64]", "7: data.image_size: expected 2 values, received [64]."),
        ("[64, 64]", "64", "7: data.image_size: expected a list, received 64."),
        ("{root: data/b}", "{root: data/b, image_size: [32, 32]}",
         "25: stages.1.data.image_size: expected [64, 64] as in the first stage, received [32, 32]."),
        ("test: 0.1}", "test: 0.2}", "8: data.split: expected fractions that sum to 1, "
         "received {train: 0.8, val: 0.1, test: 0.2}, which sum to 1.1."),
        ("val: 0.1, test: 0.1}", "test: 0.2}", "8: data.split: expected `train` and `val` above 0, since validation "
         "chooses the best weights, received {train: 0.8, test: 0.2}."),
        ("split: {train: 0.8, val: 0.1, test: 0.1}", "split: {val: 1}",
         "8: data.split: expected `val` above 0 and below 1, received {val: 1}."),
        ("test: 0.1}", "test: 0.1, group_pattern: '('}", "8: data.split.group_pattern: expected a regular expression, "
         "received '(' (missing ), unterminated subpattern at position 0)."),
        ("root: data/a", "root: data/a\n  classes: [one]",
         "7: data.classes: expected at least 2 values, received ['one']."),
        ("beta_1: 0.9", "beta_1: 1", "15: train.optimizer.beta_1: expected below 1, received 1."),
        ("beta_1: 0.9", "clipnorm: 1, clipvalue: 1", "15: train.optimizer: expected at most one of `clipnorm`, "
         "`global_clipnorm` and `clipvalue`, received {name: 'adam', clipnorm: 1, clipvalue: 1}."),
        ("name: tune", "name: train",
         "22: stages.1.name: expected a name of its own, received 'train', as in stage 0."),
        ("val_loss", "val_acuracy", "19: train.monitor: expected 'val_loss', 'val_accuracy' or "
         "'val_balanced_accuracy', received 'val_acuracy'; did you mean 'val_accuracy'?"),
        ("warmup_epochs: 1", "warmup_epochs: 13",
         "16: train.schedule.warmup_epochs: expected at most the 12 epochs of stage 1, received 13."),
        # Augmentations.
        ("name: Affine", "name: Afine", "10: augment.0.name: expected the name of an albumentations transform, "
         "received 'Afine'; did you mean 'Affine'?"),
        ("rotate:", "rotat:", "10: augment.0.rotat: expected a parameter of Affine, received 'rotat'; "
         "did you mean 'rotate'?"),
        ("p: 0.5", "p: 2", "11: augment.1.p: expected a number from 0 to 1 for `p` of HorizontalFlip, received 2."),
        ("augment: []", "augment: [HorizontalFlip]",
         "26: stages.1.augment.0: expected a mapping such as {name: 'HorizontalFlip'}, received 'HorizontalFlip'."),
        ("augment: []", "augment: [{name: HorzontalFlip}]", "26: stages.1.augment.0.name: expected the name of an "
         "albumentations transform, received 'HorzontalFlip'; did you mean 'HorizontalFlip'?"),
    ],
)  # fmt: skip
def test_one_problem_is_one_line(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert problems_of(tmp_path / "c.yaml", changed((old, new))) == [f"c.yaml:{problem}"]


@pytest.mark.parametrize(
    "value",
    ["ALL", "3", "true", "null", "[all]", "{}", "{first_frozen: -1}", "{first_frozen: 1.0}", "{first_frozen: true}",
     "{last_layers: 0}", "{fraction: 0}", "{fraction: 1.5}", "{fraction: true}", "{from_layer: 3}", "{from_layer: ''}",
     "{first_frozen: 1, last_layers: 2}"],
)  # fmt: skip
def test_trainable_is_refused(tmp_path: Path, value: str) -> None:
    (problem,) = problems_of(tmp_path / "c.yaml", changed(("trainable: all", f"trainable: {value}")))
    assert problem.startswith(f"c.yaml:21: stages.0.trainable: expected {TRAINABLE}, received ")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("all", "all"),
        ("head", "head"),
        ("{first_frozen: 0}", {"first_frozen": 0}),
        ("{last_layers: 2}", {"last_layers": 2}),
        ("{fraction: 1}", {"fraction": 1}),
        ("{fraction: 0.3}", {"fraction": 0.3}),
        ("{from_layer: c}", {"from_layer": "c"}),
    ],
)
def test_trainable_is_accepted(tmp_path: Path, value: str, expected: object) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(changed(("trainable: all", f"trainable: {value}")))
    assert load_experiment(path).stages[0].trainable == expected


def test_a_misspelt_form_of_trainable_has_a_suggestion(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path / "c.yaml", changed(("trainable: all", "trainable: {frist_frozen: 3}")))
    assert problem.endswith(", received {frist_frozen: 3}; did you mean 'first_frozen'?")


@pytest.mark.parametrize(
    ("stages", "problem"),
    [
        ("", "1: stages: is missing; add `stages: ...`."),
        ("stages:", "20: stages: expected a list, received null."),
        ("stages: []", "20: stages: expected at least 1 value, received []."),
        ("stages: train", "20: stages: expected a list, received 'train'."),
        ("stages: [5]", "20: stages.0: expected a mapping (`key: value` lines), received 5."),
    ],
)
def test_stages_must_be_a_list(tmp_path: Path, stages: str, problem: str) -> None:
    text = VALID[: VALID.index("stages:")] + stages + "\n"
    assert problems_of(tmp_path / "c.yaml", text) == [f"c.yaml:{problem}"]


def test_everything_that_is_wrong_is_said_at_once_from_top_to_bottom(tmp_path: Path) -> None:
    text = changed(
        ("name: demo", "nme: demo"),
        ("[64, 64]", "[64, 0]"),
        ("name: vggnet", "name: vgnet"),
        ("batch_size: 40", "batch_size: 40\n  batch_size: 50"),
        ("beta_1", "beta_3"),
        ("rotate:", "rotat:"),
        ("epochs: 24", "epochs: '24'"),
        ("name: tune", "name: train"),
        ("val_loss", "loss"),
    )
    found = [problem.split(": ")[:2] for problem in problems_of(tmp_path / "c.yaml", text, "stages.1.epochs=x", "b")]
    assert found == [
        ["c.yaml:1", "name"],
        ["c.yaml:1", "nme"],
        ["c.yaml:7", "data.image_size.1"],
        ["c.yaml:10", "augment.0.rotat"],
        ["c.yaml:12", "model.name"],
        ["c.yaml:15", "train.batch_size"],
        ["c.yaml:16", "train.optimizer.beta_3"],
        ["c.yaml:20", "train.monitor"],
        ["c.yaml:22", "stages.0.epochs"],
        ["c.yaml:23", "stages.1.name"],
        ["command line", "expected key=value (for example stages.0.epochs=8), received 'b'."],
        ["command line", "stages.1.epochs"],
    ]


def test_what_stages_inherit_is_reported_once(tmp_path: Path) -> None:
    text = changed(
        ("root: data/a", "root: 5\n  allow_leakage: 3"),
        ("batch_size: 40", "batch_size: x"),
        ("name: cosine", "name: cosin"),
        ("factor:", "factr:"),
        ("test: 0.1}", "test: 0.9}"),
    )
    keys = [problem.split(": ")[1] for problem in problems_of(tmp_path / "c.yaml", text)]
    assert keys == [
        "data.root", "data.allow_leakage", "data.split", "train.batch_size", "train.schedule.name",
        "train.reduce_lr.factr",
    ]  # fmt: skip


def test_the_same_fault_written_twice_is_reported_twice(tmp_path: Path) -> None:
    text = changed(("batch_size: 40", "batch_size: x"), ("augment: []", "augment: []\n    batch_size: x"))
    assert problems_of(tmp_path / "c.yaml", text) == [
        "c.yaml:14: train.batch_size: expected a whole number, received 'x'.",
        "c.yaml:27: stages.1.batch_size: expected a whole number, received 'x'.",
    ]


def test_a_missing_section_is_no_fault_of_the_stages(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "c.yaml", changed(("data:\n", "dat:\n"))) == [
        "c.yaml:1: data: is missing; add `data: {name: ...}`, with a name such as 'image_folder'.",
        "c.yaml:4: dat: unknown key; did you mean 'data'?",
    ]


def test_augmentations_are_tried_on_images_of_the_stages_own_size(tmp_path: Path) -> None:
    crop = "augment: [{name: RandomSizedCrop, min_max_height: [100, 120], size: [128, 128], p: 1.0}]"
    text = changed(("    augment: []", f"    {crop}"), ("[64, 64]", "[128, 128]"))
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert load_experiment(path).stages[1].augment[0]["name"] == "RandomSizedCrop"
    (problem,) = problems_of(path, text, "data.image_size=[64, 96]")
    assert problem.startswith("c.yaml:26: stages.1.augment.0: expected a transform that works on RGB images of 64x96")


def test_huge_numbers_are_refused_or_read_exactly(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path / "c.yaml", VALID, f"stages.0.learning_rate=1{'0' * 400}")
    assert problem.startswith("command line: stages.0.learning_rate: expected a finite number, received 1000")
