"""The optimizer of a stage."""

from __future__ import annotations

import keras

from cvlab.config import StageConfig
from cvlab.config_training import OptimizerSettings


def make_optimizer(stage: StageConfig) -> keras.optimizers.Optimizer:
    """Makes the optimizer of a stage."""
    settings: OptimizerSettings = stage.optimizer
    classes = {
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "sgd": keras.optimizers.SGD,
        "rmsprop": keras.optimizers.RMSprop,
    }
    arguments = settings.model_dump(exclude={"name"})
    return classes[stage.optimizer.name](learning_rate=stage.learning_rate, **arguments)
