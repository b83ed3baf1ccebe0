"""Random augmentation of training images: what a configuration may ask for, and the batch augmenter."""

from __future__ import annotations

import inspect
import random
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, overload

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
        warnings.simplefilter("error", RuntimeWarning)  # such as an overflow, by a value that is far too large
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

    @overload
    def __call__(
        self, images: np.ndarray, *, seed: Sequence[int], masks: None = None, in_place: bool = False
    ) -> np.ndarray: ...

    @overload
    def __call__(
        self, images: np.ndarray, *, seed: Sequence[int], masks: np.ndarray, in_place: bool = False
    ) -> tuple[np.ndarray, np.ndarray]: ...

    def __call__(
        self, images: np.ndarray, *, seed: Sequence[int], masks: np.ndarray | None = None, in_place: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Augments a batch, and its masks alike: what moves pixels moves both, what changes colours changes no mask.

        Masks change nothing about the images: they come out as they would without.

        Args:
            images: uint8 of shape (n, h, w, 3), 0..255 RGB.
            seed: Integers of at least 0 that name the batch, for example (seed, stage, epoch, batch).
            masks: uint8 of shape (n, h, w) or (n, h, w, 1), 0 or 1; they stay so (nearest neighbour, unless a
                transform is told otherwise).
            in_place: Whether to write the results over `images` and `masks`, which saves copies; else they are not
                modified.

        Returns:
            New arrays of the same shapes and types; those that were given if in place, or where there is nothing to do.

        Raises:
            DataError: A transform failed, changed the size or type of an image or a mask, or gave a mask other values.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise ValueError(f"expected uint8 of shape (n, h, w, 3), received {images.dtype} of {images.shape}")
        shapes = (images.shape[:3], (*images.shape[:3], 1))
        if masks is not None and (masks.dtype != np.uint8 or masks.shape not in shapes):
            raise ValueError(f"expected masks of uint8 and shape {shapes[0]}, received {masks.dtype} of {masks.shape}")
        if self._transforms:
            images = images if in_place else np.array(images)
            masks = masks if in_place or masks is None else np.array(masks)
            planes = masks[..., 0] if masks is not None and masks.ndim == 4 else masks
            for start in range(0, len(images), CHUNK_SIZE):
                self._augment_chunk(images, planes, start, seed)
        return images if masks is None else (images, masks)

    def _augment_chunk(self, images: np.ndarray, masks: np.ndarray | None, start: int, seed: Sequence[int]) -> None:
        compose = self._compose()
        # Not `set_random_seed`: it gives every transform the same seed, so that for example a horizontal and
        # a vertical flip would always come together.
        compose.set_random_state(*random_state(seed, start // CHUNK_SIZE))
        for place in range(start, min(start + CHUNK_SIZE, len(images))):
            given = {"image": images[place]} | ({} if masks is None else {"mask": masks[place]})
            size = "x".join(map(str, images.shape[1:3]))
            try:
                augmented = compose(**given)
            except Exception as error:
                raise DataError(f"The augmentation failed on an image of {size} pixels: {error}.") from error
            for what, array in given.items():
                _check_result(augmented[what], array, what)
                array[:] = augmented[what]

    def _compose(self) -> Any:
        # Compose keeps state while it runs, so threads must not share one.
        if not hasattr(self._local, "compose"):
            import cv2

            # Batches are augmented side by side; OpenCV's own threads would only compete with them.
            cv2.setNumThreads(0)
            self._local.compose = albumentations().Compose([build(item) for item in self._transforms])
        return self._local.compose


def _check_result(result: np.ndarray, given: np.ndarray, what: str) -> None:
    size = "x".join(map(str, given.shape[:2]))
    if result.shape != given.shape or result.dtype != given.dtype:
        raise DataError(
            f"The augmentation must keep {what}s uint8 of {size} pixels; it made {result.dtype} of shape "
            f"{result.shape}."
        )
    if what == "mask" and result.max(initial=0) > 1:
        raise DataError(
            f"The augmentation must keep masks 0 or 1; it made values up to {result.max()}. Look for a parameter that "
            "fills masks, such as `fill_mask`, and set it to 0."
        )
