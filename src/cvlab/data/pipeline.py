"""The input pipeline: tf.data over batch numbers; each batch is gathered and augmented in one call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cvlab.data.augment import Augmenter
from cvlab.data.expansion import turn
from cvlab.data.fingerprint import worker_count
from cvlab.data.sampling import Sampler
from cvlab.errors import CvlabError

if TYPE_CHECKING:
    import tensorflow as tf

PREFETCH = 2
MOST_READERS = 8  # Python's part of an augmentation leaves no work for more


@dataclass
class Batches:
    """Batches as a function of their number, so that any point of a training can be taken up again.

    Attributes:
        images: uint8 (n, height, width, 3), 0..255 RGB, or float32 (n, ...) features; usually on disk.
        rows: The rows of `images` to use, one a sample.
        targets: Truth, float32, a row a sample; None when predicting, or where masks are the truth.
        weights: Weight of each sample in the loss, float32; None for equal weights.
        masks: uint8 (m, height, width), 0 or 1, which stand in the place of targets; usually on disk.
        mask_rows: The rows of `masks` to use, one a sample.
        variants: How each sample is turned (the column `variant`); None where none is.
        augmenter: Applied to every batch; None for plain images.
        seed: The seed and the number of the stage; with the epoch and the batch it decides everything random.
        shuffled: Whether each epoch has an order of its own.
        sampler: What an epoch draws, in which order, where that is not every sample once; needs `shuffled`.
        most_batches: How many batches an epoch has at most; None for all.
        epoch: The epoch (counted from 0) that `dataset` reads when it is iterated.
        error: What went wrong while a batch was made; TensorFlow would wrap it in an error of its own.
        ready: When each batch of the epoch was ready, on the clock of `time.monotonic`.
    """

    images: np.ndarray
    rows: np.ndarray
    batch_size: int
    seed: tuple[int, ...]
    targets: np.ndarray | None = None
    weights: np.ndarray | None = None
    masks: np.ndarray | None = None
    mask_rows: np.ndarray | None = None
    variants: np.ndarray | None = None
    augmenter: Augmenter | None = None
    shuffled: bool = False
    sampler: Sampler | None = None
    most_batches: int | None = None
    epoch: int = 0
    error: CvlabError | None = None
    ready: dict[int, float] = field(default_factory=dict, repr=False)
    _dataset: tf.data.Dataset | None = None
    _order: tuple[int, np.ndarray] | None = field(default=None, init=False, repr=False)
    _readers: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_readers(), thread_name_prefix="batch"), init=False, repr=False
    )
    _begun: dict[tuple[int, int], Future[tuple[np.ndarray, ...]]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"expected a batch size of at least 1, received {self.batch_size}")
        if self.masks is not None and (self.mask_rows is None or self.targets is not None):
            raise ValueError("expected rows with the masks, and no targets: masks stand in their place")
        if self.weights is not None and self.targets is None and self.masks is None:
            raise ValueError("expected targets with the weights: Keras would take the weights for targets")
        if self.sampler is not None and not self.shuffled:
            raise ValueError("expected `shuffled` with a sampler: what it draws has no order of the table")
        for name, column in (("targets", self.targets), ("weights", self.weights)):
            if column is not None and (len(column) != len(self.rows) or column.dtype != np.float32):
                raise ValueError(
                    f"expected {name} as float32, a row for each of {len(self.rows)} samples; "
                    f"received {column.dtype} of shape {column.shape}"
                )

    @property
    def drawn(self) -> int:
        """Samples in an epoch, repetitions included."""
        drawn = len(self.rows) if self.sampler is None else len(self.sampler)
        return drawn if self.most_batches is None else min(drawn, self.most_batches * self.batch_size)

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch; the last one may be smaller."""
        return -(-self.drawn // self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """The order of the samples in an epoch (counted from 0)."""
        if not self.shuffled:
            return np.arange(len(self.rows))
        known = self._order
        if known is None or known[0] != epoch:
            # Kept whole: several threads ask at once.
            self._order = known = (epoch, self._shuffle(epoch))
        return known[1]

    def _shuffle(self, epoch: int) -> np.ndarray:
        if self.sampler is not None:
            return self.sampler.order(self.seed, epoch)
        return np.random.default_rng([*self.seed, epoch, 0x0D]).permutation(len(self.rows))

    def members(self, epoch: int, batch: int) -> np.ndarray:
        """The samples of a batch."""
        return self.order(epoch)[batch * self.batch_size : (batch + 1) * self.batch_size]

    def load(self, epoch: int, batch: int) -> tuple[np.ndarray, ...]:
        """Returns `(images,)`, `(images, targets)` or `(images, targets, weights)` of a batch.

        Masks stand in the place of targets: uint8 (b, height, width, 1), 0 or 1, turned and augmented as the images.
        """
        members = self.members(epoch, batch)
        images = self.images[self.rows[members]]
        masks = None if self.masks is None or self.mask_rows is None else self.masks[self.mask_rows[members]]
        if self.variants is not None:
            images = turn(images, self.variants[members])
            masks = None if masks is None else turn(masks, self.variants[members])
        if self.augmenter is not None:
            # Gathering made copies already.
            seed = (*self.seed, epoch, batch)
            if masks is None:
                images = self.augmenter(images, seed=seed, in_place=True)
            else:
                images, masks = self.augmenter(images, seed=seed, masks=masks, in_place=True)
        truth = [] if masks is None else [masks[..., None]]
        columns = [column[members] for column in (self.targets, self.weights) if column is not None]
        return (images, *truth, *columns)

    def dataset(self, *, first: int = 0) -> tf.data.Dataset:
        """Returns the batches of an epoch from batch `first` on, prepared ahead of the network.

        One data set serves all whole epochs (a new one for each would be traced anew): set `epoch`, then iterate.
        """
        if self._dataset is None or first:
            dataset = self._make_dataset(first)
            if first:
                return dataset
            self._dataset = dataset
        return self._dataset

    def _make_dataset(self, first: int) -> tf.data.Dataset:
        import tensorflow as tf

        masks = None if self.masks is None else self.masks[..., None]
        columns = [column for column in (self.images, masks, self.targets, self.weights) if column is not None]
        shapes = [(None, *column.shape[1:]) for column in columns]
        types = [tf.as_dtype(column.dtype) for column in columns]

        def load(batch: tf.Tensor) -> tuple[tf.Tensor, ...]:
            parts = tf.numpy_function(self._load_or_keep_error, [batch], types)
            for part, shape in zip(parts, shapes, strict=True):
                part.set_shape(shape)
            return tuple(parts)

        batches = tf.data.Dataset.range(first, self.per_epoch).map(load)
        return batches.prefetch(PREFETCH)

    def _load_or_keep_error(self, batch: int) -> tuple[np.ndarray, ...]:
        try:
            return self._load_ahead(int(batch))
        except CvlabError as error:
            self.error = error
            raise

    def _load_ahead(self, batch: int) -> tuple[np.ndarray, ...]:
        """Loads a batch, and begins the next ones: each is augmented by one thread, as many at once as there are cores.

        While the network is slower, one thread at a time works; the network has the rest of the cores.
        """
        if self.augmenter is None:
            return self._load_and_note(self.epoch, batch)
        wanted = [(self.epoch, number) for number in range(batch, min(batch + 1 + _readers(), self.per_epoch))]
        self._begun = {key: future for key, future in self._begun.items() if key in wanted}
        for key in wanted:
            if key not in self._begun:
                self._begun[key] = self._readers.submit(self._load_and_note, *key)
        return self._begun.pop(wanted[0]).result()

    def _load_and_note(self, epoch: int, batch: int) -> tuple[np.ndarray, ...]:
        parts = self.load(epoch, batch)
        self.ready[batch] = time.monotonic()
        return parts


def batches_ahead(*, augmented: bool) -> int:
    """Returns how many batches are held in memory at most besides the one that the network computes with."""
    return PREFETCH + 1 + (_readers() if augmented else 0)


def _readers() -> int:
    return min(worker_count(), MOST_READERS)


@contextmanager
def own_errors(batches: Batches) -> Iterator[None]:
    """Raises what went wrong while a batch was made, instead of TensorFlow's error about it."""
    try:
        yield
    except Exception as error:
        if batches.error is not None:
            raise batches.error from error
        raise
