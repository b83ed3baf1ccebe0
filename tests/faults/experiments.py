"""Toy experiments of every task and of everything that resuming must get right, each with data of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cvlab.data.synthetic import affect, brain, chest, emotion

STAGES = """
stages:
  - {name: train, epochs: 4, learning_rate: 0.02, schedule: {name: cosine, warmup_epochs: 0.5}}
  - {name: tune, epochs: 3, learning_rate: 1e-3}
"""
AUGMENT = """
augment:
  - {name: Affine, p: 1.0, rotate: [-20, 20], translate_percent: [-0.1, 0.1], border_mode: replicate}
  - {name: HorizontalFlip, p: 0.5}
"""
FACES = """
task: {name: classification, class_weights: balanced, loss: {name: cross_entropy, label_smoothing: 0.1}}
data:
  name: image_folder
  root: DATA/train
  image_size: [32, 32]
  split: {train: 0.7, val: 0.15, test: 0.15, group_pattern: '(.+)_\\d+$'}
model: {name: vggnet, width: 0.25, dense_units: [16]}
"""
PATIENCE = "early_stopping: {patience: 3, start_after_steps: 0}, reduce_lr: {factor: 0.5, patience: 1}"
TWO_STAGES = f"""{FACES}{AUGMENT}
train: {{batch_size: 8, precision: PRECISION, optimizer: {{name: adam, global_clipnorm: 5.0}}, {PATIENCE},
        save_every_minutes: 0.02}}
stages:
  - {{name: train, epochs: 4, learning_rate: 0.02, schedule: {{name: cosine, warmup_epochs: 0.5}}}}
  - {{name: tune, epochs: 3, learning_rate: 1e-3, data: {{root: DATA/tune}}, optimizer: {{name: sgd}}}}
"""
LOSS_SCALE = f"""{FACES}{AUGMENT}
train: {{batch_size: 8, precision: mixed_float16, save_every_steps: 5}}
{STAGES}"""
INJECTED = f"""{FACES}
train: {{batch_size: 8, precision: float32, save_every_steps: 3}}
{STAGES}
evaluate: {{dropout_injection: {{layers: head, samples: 3, rate: auto}}}}
"""
AFFECT = f"""
task: {{name: regression, targets: [valence, arousal]}}
data:
  name: csv_table
  table: DATA/affect/training.csv
  root: DATA/affect/images
  columns: {{image: subDirectory_filePath, numbers: [valence, arousal]}}
  missing: [-2]
  image_size: [32, 32]
  split: {{train: 0.7, val: 0.15, test: 0.15}}
{AUGMENT}
model: {{name: mobilenet, width: 0.25}}
train: {{batch_size: 8, precision: float32, save_every_steps: 4}}
{STAGES}
evaluate: {{dropout_injection: {{layers: head, samples: 3, rate: 0.1}}}}
"""
FILMS = """
task: {name: classification, output: sigmoid, loss: {name: focal}}
data:
  name: image_folder
  root: DATA/chest
  image_size: [32, 32]
  sampling: oversample
  split: {train: 0.6, val: 0.2, test: 0.2}
"""
FEATURES = f"""{FILMS}
  expand: [identity, flip]
model: {{name: covid_cnn, depth: 3, head: [{{units: 12, batchnorm: true, dropout: 0.3}}]}}
train: {{batch_size: 8, precision: float32, save_every_steps: 4}}
stages:
  - {{name: whole, epochs: 2, learning_rate: 1e-3}}
  - {{name: head, epochs: 6, learning_rate: 1e-2, trainable: head, reduce_lr: {{factor: 0.5, patience: 1}}}}
evaluate: {{threshold: youden}}
"""
PRETRAINED = f"""{FILMS}
model: {{name: pretrained, network: MobileNetV2, weights: none, head: [{{units: 8, dropout: 0.2}}]}}
{AUGMENT}
train: {{batch_size: 8, precision: float32, save_every_steps: 4}}
stages:
  - {{name: frozen, epochs: 2, learning_rate: 1e-2, trainable: head}}
  - {{name: tune, epochs: 2, learning_rate: 1e-3, trainable: {{last_layers: 9}}, batchnorm_mode: inference}}
"""
MASKS = """
task: {name: segmentation, loss: {name: dice_bce}}
data: {name: lgg_mri, root: DATA/kaggle_3m, image_size: [32, 32], split: {train: 0.6, val: 0.2, test: 0.2}}
augment:
  - {name: RandomRotate90, p: 0.5}
  - {name: RandomBrightnessContrast, p: 0.5}
"""
UNET = f"""{MASKS}
model: {{name: unet, filters: [4, 6, 8, 8, 8], batchnorm: true, dropout: 0.1}}
train: {{batch_size: 6, precision: mixed_bfloat16, save_every_minutes: 0.02}}
stages:
  - {{name: first, epochs: 3, learning_rate: 1e-2}}
  - {{name: second, epochs: 3, learning_rate: 1e-3, trainable: head}}
evaluate: {{threshold: dice, dropout_injection: {{layers: head, samples: 3, rate: 0.1}}}}
"""
UNET_VGG16 = f"""{MASKS}
model: {{name: unet_vgg16, weights: none, decoder_filters: [16, 8, 8, 4]}}
train: {{batch_size: 6, precision: float32, save_every_steps: 4}}
stages:
  - {{name: frozen, epochs: 2, learning_rate: 1e-2, trainable: head}}
  - {{name: whole, epochs: 2, learning_rate: 1e-4}}
evaluate: {{threshold: dice}}
"""


def _draw_faces(folder: Path) -> None:
    for domain, name in enumerate(("train", "tune")):
        emotion.write(folder / name, identities=8, images_per_identity=16, image_size=32, domain=domain)


def _draw_affect(folder: Path) -> None:
    affect.write(folder / "affect", identities=8, images_per_identity=16, image_size=32)


def _draw_films(folder: Path) -> None:
    chest.write(folder / "chest", identities=40, images_per_identity=2, image_size=32)


def _draw_brains(folder: Path) -> None:
    brain.write(folder / "kaggle_3m", identities=12, images_per_identity=6, image_size=32)


KINDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "two_stages": (_draw_faces, TWO_STAGES),
    "loss_scale": (_draw_faces, LOSS_SCALE),
    "injected_dropout": (_draw_faces, INJECTED),
    "regression": (_draw_affect, AFFECT),
    "cached_features": (_draw_films, FEATURES),
    "pretrained": (_draw_films, PRETRAINED),
    "unet": (_draw_brains, UNET),
    "unet_vgg16": (_draw_brains, UNET_VGG16),
}


def write_experiment(folder: Path, kind: str = "two_stages", *, precision: str = "mixed_bfloat16") -> Path:
    """Draws the data of a kind and writes its configuration; returns the path of `toy.yaml`.

    Args:
        folder: An empty folder for both.
        kind: A key of `KINDS`.
        precision: The precision of `two_stages`; the other kinds have one of their own.
    """
    draw, text = KINDS[kind]
    draw(folder / "data")
    config = folder / "toy.yaml"
    config.write_text("name: toy\nseed: 7" + text.replace("DATA", str(folder / "data")).replace("PRECISION", precision))
    return config
