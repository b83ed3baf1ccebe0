"""A valid configuration that sets something in every section, and what loading a changed one says."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvlab.config_file import load_experiment
from cvlab.errors import ConfigError

VALID = """\
name: demo
seed: 1
task: {name: classification, output: softmax, class_weights: balanced, loss: {name: cross_entropy}}
data:
  name: image_folder
  root: data/a
  image_size: [64, 64]
  split: {train: 0.8, val: 0.1, test: 0.1}
augment:
  - {name: Affine, p: 1.0, rotate: [-20, 20]}
  - {name: HorizontalFlip, p: 0.5}
model: {name: vggnet, dropout: 0.5}
train:
  batch_size: 40
  optimizer: {name: adam, beta_1: 0.9}
  schedule: {name: cosine, final: 0.1, warmup_epochs: 1}
  early_stopping: {patience: 10}
  reduce_lr: {factor: 0.2, patience: 5}
  monitor: val_loss
stages:
  - {name: train, epochs: 24, learning_rate: 1e-3, trainable: all}
  - name: tune
    epochs: 12
    learning_rate: 1e-4
    data: {root: data/b}
    augment: []
    optimizer: {name: sgd, momentum: 0.9}
evaluate: {top_k: 3}
"""


def changed(*replacements: tuple[str, str]) -> str:
    """`VALID` with each text replaced once."""
    text = VALID
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new, 1)
    return text


def problems_of(path: Path, text: str, *words: str) -> list[str]:
    """What is said about `text` with the overrides `words`, where the file is called `c.yaml`."""
    path.write_text(text, encoding="utf-8", newline="")
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, words)
    return [line.replace(str(path), "c.yaml") for line in caught.value.problems]
