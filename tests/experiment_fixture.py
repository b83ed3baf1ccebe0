"""A toy experiment on drawn faces: everything that a real one has, in seconds."""

from __future__ import annotations

from pathlib import Path

from cvlab.data.synthetic import emotion

CONFIG = """
name: toy
seed: 7
task: {name: classification, class_weights: balanced}
data:
  name: image_folder
  root: DATA/train
  image_size: [32, 32]
  split: {train: 0.6, val: 0.2, test: 0.2, group_pattern: '(.+)_\\d+$'}
  sample: emotion
augment:
  - {name: Affine, p: 1.0, rotate: [-20, 20], translate_percent: [-0.1, 0.1], border_mode: replicate}
  - {name: HorizontalFlip, p: 0.5}
model: {name: alexnet, width: 0.25, dense_units: [16], dropout: 0.1, batchnorm_momentum: 0.5}
train: {batch_size: 4, precision: float32}
stages:
  - {name: train, epochs: 2, learning_rate: 1e-3}
"""


def write_toy(folder: Path, *, identities: int = 8, tune: bool = False) -> Path:
    """Draws the data and writes `toy.yaml`; returns its path."""
    emotion.write(folder / "data" / "train", identities=identities, images_per_identity=8, image_size=32)
    text = CONFIG.replace("DATA", str(folder / "data"))
    if tune:
        emotion.write(folder / "data" / "tune", identities=5, images_per_identity=8, image_size=32, domain=1)
        text += f"  - {{name: tune, epochs: 1, learning_rate: 1e-4, data: {{root: {folder}/data/tune}}}}\n"
    path = folder / "toy.yaml"
    path.write_text(text)
    return path
