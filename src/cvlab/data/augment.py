"""Random augmentation of training images: what a configuration may ask for, and the batch augmenter."""

from __future__ import annotations

import inspect
import random
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np

from cvlab.data.augment_rules import Transform as Transform
from cvlab.data.augment_rules import albumentations, arguments_of, classes, refusal, written_problems
from cvlab.errors import ConfigError, DataError

CHUNK_SIZE = 16
DRAWS_PER_CHECK = 16


@dataclass(frozen=True)
class TransformProblem:
    """What is wrong with one entry: its place in the list, the parameter (None: the entry) and the message."""

    index: int
    key: str | None
    message: str


def available() -> dict[str, str]:
    """Returns the names of all usable transforms, sorted, each with the first line of its description."""
    known = sorted(classes().items())
    return {name: (inspect.getdoc(cls) or "").split("\n")[0] for name, cls in known if not refusal(name, cls)}


def build(transform: Transform, **replaced: Any) -> Any:
    """Builds the albumentations object of a checked entry; `replaced` takes the place of its parameters."""
    return getattr(albumentations(), transform["name"])(**(arguments_of(transform) | replaced))


def check_transforms(
    transforms: Sequence[Transform], *, image_size: tuple[int, int] = (64, 64)
) -> list[TransformProblem]:
    """Finds everything that is wrong with `transforms`, all at once.

    Names, parameters and values are checked first; an entry without fault there is then tried on small
    made-up images, because many limits of albumentations show only when a transform is applied.

    Args:
        transforms: The entries of `augment`, as read from YAML.
        image_size: Height and width in pixels of the images that will be augmented.

    Returns:
        The problems in the order of the entries; empty when all is well.
    """
    problems = []
    for place, transform in enumerate(transforms):
        found = written_problems(transform) or _trial_problems(transform, image_size)
        problems += [TransformProblem(place, key, message) for key, message in found]
    return problems


def _trial_problems(transform: Transform, image_size: tuple[int, int]) -> list[tuple[None, str]]:
    height, width = image_size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    images = [noise] * DRAWS_PER_CHECK + [np.zeros_like(noise), np.full_like(noise, 255)]
    expected = f"expected a transform that works on RGB images of {height}x{width} pixels, received"
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", message="Pydantic serializer")
        try:
            built = build(transform, p=1.0)
            built.set_random_state(*random_state([0], 0))
            results = [built(image=image.copy())["image"] for image in images]
        # Any exception is possible here: transforms pass on those of OpenCV, NumPy and SciPy.
        except Exception as error:
            kind = "a warning" if isinstance(error, Warning) else "an error"
            return [(None, f"{expected} {kind} from {transform['name']}: {' '.join(str(error).split())}")]
    changed = [item for item in results if item.shape != noise.shape or item.dtype != noise.dtype]
    return [
        (None, f"{expected} {item.dtype} of {'x'.join(map(str, item.shape))} from {transform['name']}")
        for item in changed[:1]
    ]


def random_state(seed: Sequence[int], chunk: int) -> tuple[np.random.Generator, random.Random]:
    """Returns the two generators that albumentations draws from, as a function of `seed` and `chunk`."""
    # The length first and two words a number, because NumPy pads with zeros and splits large numbers: [7] would
    # be [7, 0], and [2**32] would be [0, 1].
    words = [word for part in seed for word in reversed(divmod(index(part), 2**32))]
    parent = np.random.SeedSequence([len(seed), *words], spawn_key=(chunk,))
    for_numpy, for_python = parent.spawn(2)
    return np.random.default_rng(for_numpy), random.Random(int(for_python.generate_state(1, np.uint64)[0]))


class Augmenter:
    """Augments batches. The result depends on the images and the seed alone; several threads may call it at once.

    A batch is cut into chunks of 16 images, each with its own random state: one for every image would cost more.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        """Checks the entries of `augment`, as read from YAML.

        Raises:
            ConfigError: A name or a parameter is wrong.
        """
        found = [(place, *pair) for place, item in enumerate(transforms) for pair in written_problems(item)]
        if found:
            raise ConfigError([f"augment.{place}{f'.{key}' if key else ''}: {text}" for place, key, text in found])
        self._transforms = list(transforms)
        self._local = threading.local()

    def __call__(self, images: np.ndarray, *, seed: Sequence[int], in_place: bool = False) -> np.ndarray:
        """Augments a batch.

        Args:
            images: uint8 of shape (n, h, w, 3), 0..255 RGB.
            seed: Integers of at least 0 that name the batch, for example (seed, stage, epoch, batch).
            in_place: Whether to write the result over `images`, which saves a copy; else they are not modified.

        Returns:
            A new array of the same shape and type; `images` itself if in place, or where there is nothing to do.

        Raises:
            DataError: A transform failed, or changed the size or type of an image.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise ValueError(f"expected uint8 of shape (n, h, w, 3), received {images.dtype} of {images.shape}")
        if not self._transforms:
            return images
        result = images if in_place else np.array(images)
        for start in range(0, len(result), CHUNK_SIZE):
            self._augment_chunk(result, start, seed)
        return result

    def _augment_chunk(self, images: np.ndarray, start: int, seed: Sequence[int]) -> None:
        compose = self._compose()
        # Not `set_random_seed`: it gives every transform the same seed, so that for example a horizontal and
        # a vertical flip would always come together.
        compose.set_random_state(*random_state(seed, start // CHUNK_SIZE))
        for image in images[start : start + CHUNK_SIZE]:
            size = f"{image.shape[0]}x{image.shape[1]}"
            try:
                augmented = compose(image=image)["image"]
            except Exception as error:
                raise DataError(f"The augmentation failed on an image of {size} pixels: {error}.") from error
            if augmented.shape != image.shape or augmented.dtype != image.dtype:
                raise DataError(
                    f"The augmentation must keep images uint8 of {size} pixels; it made {augmented.dtype} "
                    f"of shape {augmented.shape}."
                )
            image[:] = augmented

    def _compose(self) -> Any:
        # Compose keeps state while it runs, so threads must not share one.
        if not hasattr(self._local, "compose"):
            import cv2

            # Batches are augmented side by side; OpenCV's own threads would only compete with them.
            cv2.setNumThreads(0)
            self._local.compose = albumentations().Compose([build(item) for item in self._transforms])
        return self._local.compose
