"""Segmentation: a mask for each image, one structure against the rest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from PIL import Image

from cvlab.config import EvaluateConfig, TaskConfig
from cvlab.data.pipeline import Batches
from cvlab.data.samples import CLASS, SPLITS, SampleTable
from cvlab.data.source import Labels
from cvlab.errors import ConfigError, DataError
from cvlab.metrics.intervals import with_intervals
from cvlab.metrics.segmentation import (
    MaskCounter,
    MaskMonitor,
    MaskThreshold,
    choose,
    predictions_csv,
    read_predictions,
    segmentation_metrics,
    spread_rows,
    worst_rows,
)
from cvlab.metrics.segmentation_replicates import resampling
from cvlab.metrics.segmentation_threshold import BEST_DICE, DEFAULT
from cvlab.png_file import read_png
from cvlab.run_folder import Json, atomic_path
from cvlab.tasks.pictures import Gallery, Pictures
from cvlab.tasks.segmentation_settings import Dice, Loss

if TYPE_CHECKING:
    import keras

PICTURED = 10


class Config(TaskConfig):
    """Settings of `segmentation`.

    Attributes:
        loss: `dice`, `bce`, `dice_bce` (with `weight`), `focal` (with `gamma` and `alpha`) or `tversky` (with `alpha`
            and `beta`).
    """

    monitors: ClassVar[Mapping[str, bool]] = {"loss": False, "dice": True, "iou": True, "accuracy": True}
    headline: ClassVar[tuple[str, ...]] = ("dice_nonempty", "dice_pooled", "iou_pooled", "pixel_accuracy")
    name: Literal["segmentation"] = "segmentation"
    loss: Loss = Dice()


def build(config: Config, labels: Labels) -> Segmentation:
    """Makes the task for a data set.

    Raises:
        ConfigError: The data have no masks.
    """
    if not labels.masks:
        raise ConfigError(
            [
                "task.name: segmentation needs masks, but the data have none. Use a source with masks (data.name: "
                "image_mask_folder, or lgg_mri)."
            ]
        )
    return Segmentation(config, labels.masks[0])


class Segmentation:
    """Where in an image `structure` is."""

    def __init__(self, config: Config, structure: str) -> None:
        self.config = config
        self.structure = structure

    @property
    def truth_is_masks(self) -> bool:
        """True: batches bring the masks."""
        return True

    @property
    def counts_at_threshold(self) -> bool:
        """True: a table holds counts of pixels."""
        return True

    @property
    def outputs(self) -> tuple[str, ...]:
        """The task and the structure."""
        return ("segmentation", self.structure)

    def misfit(self, labels: Labels) -> str:
        """Other data must have masks of the same structure."""
        if labels.masks == (self.structure,):
            return ""
        return f"expected masks of {self.structure}; found {', '.join(labels.masks) or 'none'}"

    def output_layer(self) -> keras.layers.Layer:
        """A 1x1 convolution with a sigmoid, in float32: the probability of each pixel."""
        import keras

        return keras.layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name="output")

    def loss(self) -> keras.losses.Loss:
        """The loss that the configuration names."""
        from cvlab.tasks.segmentation_losses import make_loss

        return make_loss(self.config.loss)

    def training_metrics(self) -> list[keras.metrics.Metric]:
        """Dice, IoU and accuracy, pooled over the pixels."""
        from cvlab.tasks.segmentation_losses import training_metrics

        return training_metrics()

    def encode(self, table: SampleTable) -> np.ndarray | None:
        """None: the masks are the truth."""
        return None

    def sample_weights(self, table: SampleTable) -> np.ndarray | None:
        """None: every pixel counts alike."""
        return None

    def validate(self, model: keras.Model, batches: Batches, table: SampleTable) -> dict[str, float]:
        """Loss, Dice, IoU and accuracy over all pixels of all images, batch by batch."""
        monitor = MaskMonitor(self.config.loss.model_dump())
        for probabilities, truth in _predicted(model, batches):
            monitor.add(probabilities, truth)
        return monitor.values()

    def predict(
        self, model: keras.Model, batches: Batches, table: SampleTable, *, point: Json | None, masks: Path | None
    ) -> str:
        """Counts the pixels of each image at the threshold; writes the predicted masks as PNGs below `masks`."""
        threshold = MaskThreshold.from_json(point).threshold if point else DEFAULT
        counter, start = MaskCounter(threshold), 0
        for probabilities, truth in _predicted(model, batches):
            part = table.take(np.arange(start, start + len(truth)))
            predicted = counter.add(part.sample_id, part.group, probabilities, truth)
            if masks is not None:
                for name, mask in zip(part.sample_id, predicted, strict=True):
                    write_mask(mask_path(masks, name), mask)
            start += len(truth)
        return predictions_csv(counter.predictions())

    def check_evaluation(self, evaluate: EvaluateConfig, table: SampleTable) -> None:
        """Masks have one structure, and their threshold is a number or `dice`.

        Raises:
            ConfigError: Another rule or a class is given.
            DataError: The threshold is to be chosen where no mask shows anything.
        """
        problems = []
        if evaluate.positive_class is not None:
            problems.append("evaluate.positive_class: masks show one structure; leave it out.")
        if evaluate.temperature:
            problems.append("evaluate.temperature: is for classes; leave it out.")
        if not isinstance(evaluate.threshold, float) and evaluate.threshold != BEST_DICE:
            problems.append(f"evaluate.threshold: expected a number or '{BEST_DICE}' for masks.")
        if problems:
            raise ConfigError(problems)
        if evaluate.threshold == BEST_DICE and not self._shown(table.of_split("val")).any():
            raise DataError(
                f"evaluate.threshold: {BEST_DICE} chooses the threshold on validation, where no mask shows anything. "
                "Change data.split, or give the threshold as a number (evaluate.threshold=0.5)."
            )

    def _shown(self, table: SampleTable) -> np.ndarray:
        shown: np.ndarray = table.targets[CLASS] == self.structure
        return shown

    def operating_point(self, predictions: Path, evaluate: EvaluateConfig) -> Json | None:
        """The threshold, as it was chosen on validation or given."""
        return choose(read_predictions(predictions), evaluate.threshold).to_json()

    def metrics(
        self, predictions: Path, evaluate: EvaluateConfig, point: Json | None = None, *, seed: int | None = None
    ) -> dict[str, Any]:
        """Every metric of a predictions table."""
        p = read_predictions(predictions)
        found = segmentation_metrics(p)
        return found if seed is None else with_intervals(found, resampling(p), evaluate.bootstrap, seed=seed)

    def pictures(self, predictions: Path, table: SampleTable, point: Json | None) -> Pictures:
        """Images from the best to the worst, and the worst."""
        p = read_predictions(predictions)
        dice = p.counts.dice()
        titles = [f"{name.rpartition('/')[2]}  Dice {value:.3f}" for name, value in zip(p.sample_id, dice, strict=True)]
        galleries = [
            Gallery("predictions", "From the best to the worst", spread_rows(p, PICTURED)),
            Gallery("worst", "The worst", worst_rows(p, PICTURED)),
        ]
        return Pictures(p.sample_id, titles, "Dice of each", galleries)

    def picture_names(self, table: SampleTable) -> list[str]:
        """The name of each image."""
        return [name.rpartition("/")[2] for name in table.sample_id]

    def summary(self, table: SampleTable) -> Mapping[str, Mapping[str, int]]:
        """Images with and without the structure, by split."""
        names = [f"no {self.structure}", self.structure]
        counts = table.counts(CLASS)
        return {split: {name: counts[split].get(name, 0) for name in names} for split in SPLITS if split in counts}


def _predicted(model: keras.Model, batches: Batches) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields probabilities and masks of each batch, (b, height, width, 1); memory holds one batch."""
    for images, truth, *_ in batches.dataset().as_numpy_iterator():
        yield np.asarray(model.predict_on_batch(images)), truth


def mask_path(folder: Path, sample_id: str) -> Path:
    """Returns where the predicted mask of a sample is kept: its id, with what no file name should hold replaced."""
    plain = re.sub(r"[^\w.#-]", "_", sample_id)
    # Different ids stay different, and long ones fit a file name.
    if plain != sample_id.replace("/", "_") or len(plain.encode()) > 150:
        # Cut by bytes, which is what file systems count.
        plain = f"{plain.encode()[:140].decode(errors='ignore')}-{hashlib.sha256(sample_id.encode()).hexdigest()[:8]}"
    return folder / f"{plain}.png"


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Writes a mask (height, width) as a PNG of 0 and 255."""
    with atomic_path(path) as temporary:
        Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(temporary, format="PNG")


def read_mask(path: Path) -> np.ndarray:
    """Reads what `write_mask` wrote, as booleans (height, width)."""
    found: np.ndarray = np.asarray(read_png(path)) > 0
    return found
