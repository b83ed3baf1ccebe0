"""The pictures that evaluation draws: augmented images, and predictions with heat maps beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cvlab.config import Experiment
from cvlab.console import Console
from cvlab.data.augment import Augmenter
from cvlab.data.decoded import DecodedSamples
from cvlab.data.samples import CLASS
from cvlab.errors import CvlabError, RunFolderError
from cvlab.heatmaps import HeatMapper, overlay
from cvlab.mask_pictures import augmented_masks, predicted_masks_of
from cvlab.plots import image_grid, save_figure
from cvlab.run_folder import Json, RunFolder, write_json
from cvlab.tasks.pictures import Pictures
from cvlab.tasks.task import Task

if TYPE_CHECKING:
    import keras

RANDOM_IMAGES, GALLERY_IMAGES = 24, 12
COLUMNS, PAIRED_COLUMNS = 6, 8
ROWS, DRAWS, SLICES = 4, 5, 5


@dataclass(frozen=True)
class PictureBook:
    """What drawing needs to know of a run; `task` is that of its last stage."""

    run: RunFolder
    experiment: Experiment
    task: Task
    synthetic: bool
    console: Console

    def draw_augmented(self, training: DecodedSamples) -> None:
        """Draws training images beside what augmentation makes of them."""
        augment = self.experiment.stages[-1].augment
        if self.task.truth_is_masks:
            some = training.take(self._with_structure(training))
            names, seed = self.task.picture_names(some.table), self.experiment.seed
            figure = augmented_masks(some, names, augment, seed=seed, synthetic=self.synthetic)
            save_figure(figure, self.run.pictures / "augmented.png")
            return
        if not augment:
            return
        chosen = training.take(self._some(len(training.table), ROWS))
        plain = chosen.pixels()
        augmenter = Augmenter(augment)
        draws = [augmenter(plain, seed=(self.experiment.seed, draw)) for draw in range(DRAWS)]
        titles = [title for name in self.task.picture_names(chosen.table) for title in (name, *["augmented"] * DRAWS)]
        images = np.stack([plain, *draws], axis=1).reshape(-1, *plain.shape[1:])
        title = "Training images, each with five draws of the augmentation"
        self._save("augmented", images, titles, title=title, columns=DRAWS + 1)

    def draw_predictions(self, model: keras.Model, samples: DecodedSamples, split: str, point: Json | None) -> None:
        """Draws images of a split with truth, prediction and heat map: some at random, and the task's galleries.

        Raises:
            RunFolderError: The predictions on disk are those of other samples.
        """
        path = self.run.predictions(split)
        shown = self.task.pictures(path, samples.table, point)
        if not np.array_equal(shown.sample_id, samples.table.sample_id):
            raise RunFolderError(f"{path}: holds other samples than this run. `cvlab evaluate RUN_DIR` writes it anew.")
        if self.task.truth_is_masks:
            for gallery in shown.galleries:
                folder = path.with_suffix("")
                figure = predicted_masks_of(samples, shown, gallery, folder, split=split, synthetic=self.synthetic)
                save_figure(figure, self.run.pictures / f"{gallery.name}.png")
            return
        mapper = self._heat_mapper(model, shown, split)
        chosen = {"predictions": ("Random images", self._some(len(samples.table), RANDOM_IMAGES))}
        chosen |= {gallery.name: (gallery.title, gallery.rows[:GALLERY_IMAGES]) for gallery in shown.galleries}
        for name, (title, rows) in chosen.items():
            if not len(rows):
                (self.run.pictures / f"{name}.png").unlink(missing_ok=True)
                continue
            images, titles = samples.take(rows).pixels(), [shown.titles[row] for row in rows]
            columns = COLUMNS
            if mapper is not None and shown.explained is not None:
                heat = overlay(images, mapper.maps(images, shown.explained[rows]))
                images = np.stack([images, heat], axis=1).reshape(-1, *images.shape[1:])
                explained = [f"heat: {shown.explained_names[row]}" for row in rows]
                titles = [title for pair in zip(titles, explained, strict=True) for title in pair]
                columns = PAIRED_COLUMNS
            self._save(name, images, titles, title=f"{title} ({split}) · {shown.note}", columns=columns)

    def _heat_mapper(self, model: keras.Model, shown: Pictures, split: str) -> HeatMapper | None:
        """Cuts the model for heat maps and writes down where; None where there are none."""
        self.run.heat_maps.unlink(missing_ok=True)
        if shown.explained is None:
            return None
        try:
            mapper = HeatMapper.of(model)
        except CvlabError as error:
            self.console.say(f"Note: pictures come without heat maps: {error}.")
            return None
        explains = "logit" if mapper.of_logits else "output"
        where = {"layer": mapper.layer, "size": list(mapper.size), "explains": explains, "split": split}
        write_json(self.run.heat_maps, where)
        return mapper

    def _with_structure(self, samples: DecodedSamples) -> np.ndarray:
        """Some images at random whose masks show something, as far as there are any."""
        shown = np.flatnonzero(samples.table.targets[CLASS] == self.task.outputs[-1])
        return shown[self._some(len(shown), SLICES)] if len(shown) else self._some(len(samples.table), SLICES)

    def _some(self, total: int, count: int) -> np.ndarray:
        return np.random.default_rng(self.experiment.seed).choice(total, size=min(count, total), replace=False)

    def _save(self, name: str, images: np.ndarray, titles: list[str], *, title: str, columns: int) -> None:
        figure = image_grid(images, titles, columns=columns, title=title, synthetic=self.synthetic)
        save_figure(figure, self.run.pictures / f"{name}.png")
