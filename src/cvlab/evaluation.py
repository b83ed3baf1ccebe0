"""Evaluation: the predictions tables of a run, and the metrics and pictures that come from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cvlab import checkpoint, registry
from cvlab.config import DataConfig, Experiment, StageConfig
from cvlab.config_values import Transform
from cvlab.console import Console
from cvlab.data.audit import find_leaks
from cvlab.data.augment import Augmenter
from cvlab.data.cache import ImageCache
from cvlab.data.decoded import DecodedSamples, cache_dir, decode_all, open_images
from cvlab.data.findings import report_groups, report_unreadable
from cvlab.data.fingerprint import content_hashes
from cvlab.data.near_duplicates import FREQUENCIES, Near, find_near, looks_of
from cvlab.data.pipeline import own_errors
from cvlab.data.pool import decode_source
from cvlab.data.samples import by_stage, read_samples, text_column
from cvlab.data.source import Labels, LoadedSource
from cvlab.errors import DataError, RunFolderError, counted, listing
from cvlab.evaluation_pictures import PictureBook
from cvlab.evaluation_uncertainty import UncertaintyStep, check_injection, without_injection
from cvlab.initial import build_tasks, samples_before
from cvlab.metrics.uncertainty import INJECTION
from cvlab.run_folder import Json, RunFolder, read_json, write_json, write_text
from cvlab.tasks.task import Task

if TYPE_CHECKING:
    import keras

_ORDER = ("train", "train-augmented", "val", "test")


@dataclass(frozen=True)
class Evaluator:
    """What evaluation needs to know of a run."""

    run: RunFolder
    experiment: Experiment
    tasks: Sequence[Task]
    synthetic: bool
    console: Console

    @classmethod
    def open(cls, run: RunFolder, experiment: Experiment, console: Console) -> Evaluator:
        """Opens a run with its resolved configuration."""
        data = read_json(run.data)
        kinds = ("class_names", "numbers", "masks")
        labels = [Labels(*(tuple(stage[kind]) for kind in kinds)) for stage in data["stages"]]
        return cls(run, experiment, build_tasks(experiment, labels), data["synthetic"], console)

    @property
    def task(self) -> Task:
        """The task of the last stage, which the run's results are about."""
        return self.tasks[-1]

    def evaluate(self, splits: Sequence[str] | None = None) -> None:
        """Predicts (train plain and augmented, validation, test), then writes metrics and pictures.

        Args:
            splits: Predict these only; None for all. Metrics come from all predictions that there are.
        """
        model = checkpoint.load_model(self._best())
        stage = self.experiment.stages[-1]
        samples = self._samples(stage)
        self.task.check_evaluation(self.experiment.evaluate, samples.table)
        check_injection(model, self.experiment)
        missing = [split for split in splits or () if split not in samples.splits]
        if missing:
            raise DataError(f"--split: this run has no {missing[0]} split; it has {', '.join(samples.splits)}.")
        wanted = [split for split in samples.splits if splits is None or split in splits]
        if "val" in wanted:
            self.run.operating_point.unlink(missing_ok=True)
            self._predict_split(model, samples, "val", None)
        point = self._operating_point(model)
        if "val" in wanted and not self.task.is_counted_at(point):
            self._predict_split(model, samples, "val", point)
            # What it reaches on validation is counted at the threshold itself.
            self.run.operating_point.unlink(missing_ok=True)
            point = self._operating_point(model)
        for split in wanted:
            if split != "val":
                self._predict_split(model, samples, split, point)
        if splits is None and len(self.experiment.stages) > 1:
            self._before_and_after()
        self._write_metrics(point)
        pictures = PictureBook(self.run, self.experiment, self.task, self.synthetic, self.console)
        pictures.draw_augmented(samples.of_split("train"))
        shown = [split for split in samples.splits if self.run.predictions(split).is_file()][-1]
        pictures.draw_predictions(model, samples.of_split(shown), shown, point)
        held_out = {split: samples.of_split(split) for split in wanted if split != "train"}
        self._uncertainty(model, held_out, lambda: samples.of_split("val"))

    def _predict_split(self, model: keras.Model, samples: DecodedSamples, split: str, point: Json | None) -> None:
        chosen, augment = samples.of_split(split), self.experiment.stages[-1].augment
        at = f", threshold {point['threshold']:.4g}" if point and not self.task.is_counted_at(point) else ""
        self.console.say(f"Predicting {split} ({counted(len(chosen.table), 'image')}{at})")
        self._predict(model, chosen, self.run.predictions(split), point=point)
        if split == "train" and augment:
            self._predict(model, chosen, self.run.predictions("train-augmented"), augment=augment, point=point)

    def evaluate_folder(self, folder: Path) -> Path:
        """Predicts all images of another data folder and returns the path of the predictions table.

        Raises:
            DataError: The run was trained on some of these images, groups or ids.
        """
        config = self.experiment.stages[-1].data
        module = registry.load(registry.SOURCES, config.name)
        config = module.other_data(config, folder.resolve())
        source: LoadedSource = module.load(config)
        misfit = self.task.misfit(source.labels)
        if misfit:
            raise DataError(f"{folder}: {misfit}.")
        # Two folders may have one name; the table of one must not take the place of the other's.
        digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:6]
        name = f"data-{folder.resolve().stem if folder.is_file() else folder.resolve().name}-{digest}"
        warnings: list[str] = []
        table, cache, unreadable = decode_source(source, name, config, self.console)
        report_unreadable(unreadable, len(source.table), warnings)
        notes = [*source.notes, *warnings]
        report_groups(source, notes)
        table = table.with_columns(split=text_column(["test"] * len(table)))
        # Variants of an image are no other images.
        stages = [*by_stage(read_samples(self.run.samples).originals()), table]
        before = [earlier.originals() for earlier in samples_before(self.experiment, self.run)]
        near: list[Near] = [*[{}] * (len(stages) - 1), self._near(cache, config, notes)]
        found = find_leaks(stages, before=before, near=near)
        leaks = [leak for leak in found if leak.stage == name]
        if leaks:
            raise DataError(
                f"{folder}: the run was trained on, or chosen by, some of these ({counted(len(leaks), 'leak')}):\n"
                f"{listing([str(leak) for leak in leaks])}\nTake these images out, or evaluate other data."
            )
        for note in notes:
            self.console.say(f"Note: {note}")
        path = self.run.predictions(name)
        samples = DecodedSamples.of(table, cache)
        model = checkpoint.load_model(self._best())
        point = self._operating_point(model)
        self._predict(model, samples, path, point=point)
        write_json(path.with_suffix(".json"), {"data": str(folder.resolve()), "notes": notes})
        self._write_metrics(point)
        stage = self.experiment.stages[-1]
        self._uncertainty(model, {name: samples}, lambda: self._samples(stage).of_split("val"))
        return path

    def _near(self, cache: ImageCache, config: DataConfig, notes: list[str]) -> Near:
        """Finds which of other data's images look like those of the run."""
        if config.near_duplicate_distance is None or min(config.image_size) < FREQUENCIES:
            return {}
        stages = zip(by_stage(read_samples(self.run.samples)), self.experiment.stages, strict=True)
        try:
            own = [looks_of(open_images(table, stage.data, self.console)) for table, stage in stages]
        except DataError as error:
            notes.append(f"Near-duplicates of the run's images were not looked for: {error}")
            return {}
        return find_near(looks_of(cache).with_others(own), config.near_duplicate_distance)

    def _best(self) -> Path:
        if self.run.best.is_file():
            return self.run.best
        if self.run.status.is_file() and read_json(self.run.status)["status"] == "done":
            raise RunFolderError(
                f"{self.run.best}: is missing. To write it again: cvlab train --resume {self.run.path}"
            )
        # The weights of a stage with other outputs answer another question.
        found = [
            self.run.stage_best(stage.name)
            for stage, task in zip(self.experiment.stages, self.tasks, strict=True)
            if task.outputs == self.task.outputs
        ]
        found = [path for path in found if path.is_file()]
        if not found:
            raise RunFolderError(
                f"{self.run.path}: there are no weights to evaluate: no epoch of stage "
                f"'{self.experiment.stages[-1].name}' is over. Go on with: cvlab train --resume {self.run.path}"
            )
        self.console.warn(f"The training is not finished; these are the weights of {found[-1].name}.")
        return found[-1]

    def _samples(self, stage: StageConfig) -> DecodedSamples:
        """Opens the samples of a stage; their files must be those that the run was made with."""
        table = read_samples(self.run.samples)
        table = table.take(table.stage == stage.name)
        paths = [Path(path) for path in table.path]
        hashes = content_hashes(paths, cache_dir=cache_dir(stage.data), console=self.console)
        changed = list(dict.fromkeys(str(p) for p, a, b in zip(paths, hashes, table.content, strict=True) if a != b))
        if changed:
            raise DataError(
                f"{counted(len(changed), 'image')} changed since the run was made:\n{listing(changed)}\n"
                "Put the files back, or train anew."
            )
        return decode_all(table, stage.data, self.console)

    def _predict(
        self,
        model: keras.Model,
        samples: DecodedSamples,
        path: Path,
        *,
        augment: Sequence[Transform] = (),
        task: Task | None = None,
        point: Json | None = None,
    ) -> None:
        task = task or self.task
        size, seed = self.experiment.stages[-1].batch_size, (self.experiment.seed,)
        batches = samples.batches(size, seed=seed, with_masks=task.truth_is_masks)
        if augment:
            batches.augmenter = Augmenter(augment)
        with own_errors(batches):
            # The masks of augmented images, and of other stages' weights, are no result to be kept.
            masks = None if augment or path.parent.name != "predictions" else path.with_suffix("")
            text = task.predict(model, batches, samples.table, point=point, masks=masks)
        write_text(path, text)

    def _before_and_after(self) -> None:
        """Predicts validation and test of every stage with the weights before and after it.

        A later stage with a new head has no table of before: what that head says then is nobody's result.
        """
        model = checkpoint.load_model(self.run.initial)
        outputs = self.tasks[0].outputs
        for stage, task in zip(self.experiment.stages, self.tasks, strict=True):
            best = self.run.stage_best(stage.name)
            if not best.is_file():
                return
            samples = self._samples(stage)
            held_out = {split: samples.of_split(split) for split in samples.splits if split != "train"}
            if task.outputs == outputs:
                for split, chosen in held_out.items():
                    path = self.run.predictions(split, moment=f"{stage.name}-before")
                    self._predict(model, chosen, path, task=task)
            model, outputs = checkpoint.load_model(best), task.outputs
            for split, chosen in held_out.items():
                self._predict(model, chosen, self.run.predictions(split, moment=f"{stage.name}-after"), task=task)

    def _operating_point(self, model: keras.Model) -> Json | None:
        """Returns what was chosen on validation; chosen anew where its predictions or the rule are new.

        It is a function of the predictions of validation, the rule and nothing else: all other tables are judged by it.
        """
        val, path = self.run.predictions("val"), self.run.operating_point
        if not val.is_file():
            self.console.say("Predicting val for the operating point")
            self._predict(model, self._samples(self.experiment.stages[-1]).of_split("val"), val)
        point = self.task.operating_point(val, self.experiment.evaluate)
        stored: Json = read_json(path) if path.is_file() else {}
        if point is not None and all(stored.get(key) == point.get(key) for key in ("rule", "positive_class")):
            return without_injection(stored)
        kept = {key: value for key, value in stored.items() if key == INJECTION}
        if point is None and not kept:
            path.unlink(missing_ok=True)
            return None
        write_json(path, {**(point or {}), **kept})
        if point is not None:
            self.console.say(f"Operating point: threshold {point['threshold']:.4g}, kept in {path.name}")
        return point

    def _uncertainty(
        self, model: keras.Model, splits: Mapping[str, DecodedSamples], validation: Callable[[], DecodedSamples]
    ) -> None:
        """Finds how uncertain the predictions are, where the settings ask for it."""
        settings = self.experiment.evaluate.dropout_injection
        if settings is not None:
            step = UncertaintyStep(self.run, self.experiment, self.task, self.synthetic, self.console, settings)
            step.evaluate(model, splits, validation)

    def _write_metrics(self, point: Json | None) -> None:
        """Computes every metric from the predictions tables on disk; the operating point is that of the last stage."""
        folder = self.run.predictions("test").parent
        names = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("[!.]*.csv")]
        names.sort(key=lambda name: (name not in _ORDER, _ORDER.index(name) if name in _ORDER else 0, name))
        settings = self.experiment.evaluate
        found = {
            name: self._task_of(name).metrics(folder / f"{name}.csv", settings, None if "/" in name else point)
            for name in names
        }
        write_json(self.run.metrics, found)

    def _task_of(self, predictions: str) -> Task:
        """The task of a table of predictions: `<stage>-before/<split>`, `<stage>-after/<split>`, or the last one's."""
        moments = {
            f"{stage.name}-{moment}": task
            for stage, task in zip(self.experiment.stages, self.tasks, strict=True)
            for moment in ("before", "after")
        }
        return moments.get(predictions.rpartition("/")[0], self.task)
