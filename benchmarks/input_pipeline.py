"""How fast batches come: cvlab's pipeline against what notebooks use, in images a second.

With augmentation against Keras' ImageDataGenerator, without against image_dataset_from_directory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import images, measure

SIZE = 128
SECONDS = 1.5  # a measurement runs whole epochs until this much time has passed
HEAD = ("against", "determinism", "Keras", "cvlab", "ratio", "smallest .. largest", "by processor time")
MODULE = "benchmarks.input_pipeline"


def cvlab_batches(folder: Path, *, batch_size: int, augment: bool) -> Callable[[], int]:
    """An epoch of training batches from the cache, as `cvlab train` reads them; returns how many images came."""
    from cvlab.console import Console
    from cvlab.data.augment import Augmenter
    from cvlab.data.cache import open_or_build
    from cvlab.data.cache_folder import default_cache_dir
    from cvlab.data.fingerprint import content_hashes
    from cvlab.data.pipeline import Batches

    files = images.files_of(folder)
    hashes = content_hashes(files, cache_dir=default_cache_dir(), console=Console())
    cache = open_or_build(files, hashes, image_size=(SIZE, SIZE), cache_dir=default_cache_dir(), console=Console())
    names = sorted({path.parent.name for path in files})
    targets = np.eye(len(names), dtype=np.float32)[[names.index(path.parent.name) for path in files]]
    batches = Batches(
        cache.images,
        cache.rows(hashes),
        batch_size,
        seed=(0, 0),
        targets=targets,
        weights=np.ones(len(files), np.float32),
        augmenter=Augmenter(list(images.AUGMENT)) if augment else None,
        shuffled=True,
    )

    def epoch() -> int:
        batches.epoch += 1
        return sum(len(batch[0]) for batch in batches.dataset())

    return epoch


def keras_generator(folder: Path, *, batch_size: int) -> Callable[[], int]:
    """An epoch of the ImageDataGenerator with rotation, shift and flip."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    generator = ImageDataGenerator(
        rescale=1 / 255, rotation_range=20, width_shift_range=0.1, height_shift_range=0.1, horizontal_flip=True
    )
    flow = generator.flow_from_directory(str(folder), target_size=(SIZE, SIZE), batch_size=batch_size)
    return lambda: sum(len(next(flow)[0]) for _ in range(len(flow)))


def keras_dataset(folder: Path, *, batch_size: int) -> Callable[[], int]:
    """An epoch of plain images through tf.data."""
    import keras
    import tensorflow as tf

    dataset = keras.utils.image_dataset_from_directory(
        str(folder), label_mode="categorical", image_size=(SIZE, SIZE), batch_size=batch_size, verbose=False
    ).prefetch(tf.data.AUTOTUNE)
    return lambda: sum(len(batch[0]) for batch in dataset)


def rate_of(epoch: Callable[[], int], seconds: float) -> float:
    """Images a second over whole epochs that last `seconds` or more."""
    began, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds or not count:
        count += epoch()
    return count / passed


def serve(settings: dict[str, Any]) -> None:
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    if settings["deterministic"]:
        tf.config.experimental.enable_op_determinism()
    folder, size = Path(settings["folder"]), settings["batch_size"]
    if settings["side"] == "cvlab":
        epoch = cvlab_batches(folder, batch_size=size, augment=settings["augment"])
    else:
        epoch = (keras_generator if settings["augment"] else keras_dataset)(folder, batch_size=size)
    measure.serve(lambda: rate_of(epoch, settings["seconds"]))


def main() -> None:
    parser = measure.parser(__doc__)
    images.add_argument(parser)
    parser.add_argument("--batch-size", type=int, default=32)
    arguments = parser.parse_args()
    if arguments.side:
        serve(arguments.side)
        return
    smoke = arguments.smoke
    with measure.scratch() as scratch:
        folder = images.image_folder(arguments.data, scratch, identities=1 if smoke else 100)
        measure.show(
            f"{measure.machine()}\n{images.describe(folder)}; batches of {arguments.batch_size}, {SIZE}x{SIZE}.\n"
        )
        rows = []
        for augment in (True, False):
            for deterministic in (True,) if smoke else (False, True):
                common = {"folder": str(folder), "batch_size": arguments.batch_size, "augment": augment}
                common |= {"deterministic": deterministic, "seconds": 0.1 if smoke else SECONDS}
                keras, cvlab = (common | {"side": side} for side in ("keras", "cvlab"))
                (found,) = measure.compare(MODULE, keras, [cvlab], repeats=arguments.repeats)
                against = "ImageDataGenerator, augmented" if augment else "image_dataset_from_directory, plain"
                rows.append([against, "on" if deterministic else "off", *found.cells()])
    measure.show(measure.table(HEAD, rows))


if __name__ == "__main__":
    main()
