"""The notebook way to train VGGNet: ImageDataGenerator, plain Keras layers, compile, fit, float32.

    python -m benchmarks.notebook FOLDER --epochs 3

FOLDER holds `train` and `val` with class folders. Prints a line of JSON: seconds and validation accuracies.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any


def vggnet(classes: int, size: int) -> Any:
    """The network of `cvlab.models.vggnet`, from plain layers."""
    from keras import Sequential, layers

    def norm() -> list[Any]:
        return [layers.BatchNormalization(momentum=0.9), layers.ReLU()]

    stack: list[Any] = [layers.Input((size, size, 3))]
    for filters in (16, 32, 64, 128, 128):
        for _ in range(2):
            stack += [layers.Conv2D(filters, 3, padding="same", use_bias=False), *norm()]
        stack += [layers.MaxPooling2D(2), layers.GaussianDropout(0.2)]
    stack.append(layers.Flatten())
    for _ in range(2):
        stack += [layers.Dense(1024, use_bias=False), *norm(), layers.Dropout(0.5)]
    return Sequential([*stack, layers.Dense(classes, activation="softmax")])


def train(folder: Path, *, epochs: int, batch_size: int, size: int) -> list[float]:
    """Trains and returns the validation accuracy after each epoch."""
    import keras
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    keras.utils.set_random_seed(42)
    augmented = ImageDataGenerator(
        rescale=1 / 255, rotation_range=20, width_shift_range=0.1, height_shift_range=0.1, horizontal_flip=True
    )
    plain = ImageDataGenerator(rescale=1 / 255)
    shape = {"target_size": (size, size), "batch_size": batch_size}
    training = augmented.flow_from_directory(str(folder / "train"), seed=42, **shape)
    validation = plain.flow_from_directory(str(folder / "val"), shuffle=False, **shape)
    model = vggnet(training.num_classes, size)
    model.compile(keras.optimizers.Adam(1e-3), "categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(training, validation_data=validation, epochs=epochs, verbose=0).history
    return [float(value) for value in history["val_accuracy"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--size", type=int, default=128)
    arguments = parser.parse_args()
    began = time.perf_counter()
    accuracies = train(arguments.folder, epochs=arguments.epochs, batch_size=arguments.batch_size, size=arguments.size)
    print(json.dumps({"seconds": time.perf_counter() - began, "val_accuracy": accuracies}))


if __name__ == "__main__":
    main()
