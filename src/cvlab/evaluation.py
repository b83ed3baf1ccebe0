"""Evaluation: the predictions tables of a run, and the metrics and pictures that come from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cvlab import checkpoint
from cvlab.config import Experiment, StageConfig
from cvlab.config_values import Transform
from cvlab.console import Console
from cvlab.data.augment import Augmenter
from cvlab.data.decoded import DecodedSamples, cache_dir, decode_all
from cvlab.data.fingerprint import content_hashes
from cvlab.data.pipeline import own_errors
from cvlab.data.samples import read_samples
from cvlab.errors import DataError, RunFolderError, counted, listing
from cvlab.evaluation_pictures import PictureBook
from cvlab.evaluation_uncertainty import UncertaintyStep, check_injection, without_injection
from cvlab.initial import tasks_of
from cvlab.metrics.operating_point import chosen_values, same_choice
from cvlab.metrics.uncertainty import INJECTION
from cvlab.other_data import drop_other_data, open_other_data
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
        return cls(run, experiment, tasks_of(run, experiment), bool(read_json(run.data).get("synthetic")), console)

    @property
    def task(self) -> Task:
        """The task of the last stage, which the run's results are about."""
        return self.tasks[-1]

    def evaluate(self, splits: Sequence[str] | None = None) -> None:
        """Predicts (train plain and augmented, validation, test), then writes metrics and pictures.

        Args:
            splits: Predict these only; None for all. Metrics come from all predictions that there are.

        Raises:
            RunFolderError: Only some are to be predicted, and those at another threshold than the rest.
        """
        if splits is not None:
            self._check_threshold()
        model = checkpoint.load_model(self._best())
        stage = self.experiment.stages[-1]
        samples = self._samples(stage)
        self.task.check_evaluation(self.experiment.evaluate, samples.table)
        check_injection(model, self.experiment)
        missing = [split for split in splits or () if split not in samples.splits]
        if missing:
            raise DataError(f"--split: this run has no {missing[0]} split; it has {', '.join(samples.splits)}.")
        wanted = [split for split in samples.splits if splits is None or split in splits]
        before = self._stored_point()
        if "val" in wanted:
            self.run.operating_point.unlink(missing_ok=True)
            self._predict_validation(model, samples)
        point = self._operating_point(model)
        if point is not None and self.task.counts_at_threshold and before.get("threshold") != point["threshold"]:
            drop_other_data(self.run, self.console)
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

    def _predict_validation(self, model: keras.Model, samples: DecodedSamples) -> None:
        """Predicts validation; where tables are counted at the threshold, once more at that which is chosen by it."""
        self._predict_split(model, samples, "val", None)
        if self.task.counts_at_threshold:
            point = self.task.operating_point(self.run.predictions("val"), self.experiment.evaluate)
            self._predict_split(model, samples, "val", point)

    def _predict_split(self, model: keras.Model, samples: DecodedSamples, split: str, point: Json | None) -> None:
        chosen, augment = samples.of_split(split), self.experiment.stages[-1].augment
        at = f", threshold {point['threshold']:.4g}" if point and self.task.counts_at_threshold else ""
        self.console.say(f"Predicting {split} ({counted(len(chosen.table), 'image')}{at})")
        path = self.run.predictions(split)
        self._predict(model, chosen, path, point=point, masks=path.with_suffix(""))
        if split == "train" and augment:
            self._predict(model, chosen, self.run.predictions("train-augmented"), augment=augment, point=point)

    def evaluate_folder(self, folder: Path) -> Path:
        """Predicts all images of another data folder and returns the path of the predictions table.

        Raises:
            DataError: The run was trained on some of these images, groups or ids.
        """
        self._check_threshold()
        data = open_other_data(folder, self.run, self.experiment, self.task, self.console)
        for note in data.notes:
            self.console.say(f"Note: {note}")
        model, path = checkpoint.load_model(self._best()), self.run.predictions(data.name)
        point = self._operating_point(model)
        self._predict(model, data.samples, path, point=point, masks=path.with_suffix(""))
        write_json(path.with_suffix(".json"), {"data": str(folder.resolve()), "notes": data.notes})
        self._write_metrics(point)
        stage = self.experiment.stages[-1]
        self._uncertainty(model, {data.name: data.samples}, lambda: self._samples(stage).of_split("val"))
        return path

    def _check_threshold(self) -> None:
        """Refuses to evaluate a part by another threshold than the one that the other tables are counted at."""
        before, now = self._stored_point().get("rule"), self.experiment.evaluate.threshold
        if self.task.counts_at_threshold and before not in (None, now):
            raise RunFolderError(
                f"{self.run.config}: evaluate.threshold is {now}, but the predictions of this run are counted at that "
                f"of {before}. Count all of them anew first: cvlab evaluate {self.run.path}"
            )

    def _stored_point(self) -> Json:
        """What was chosen on validation before; empty where nothing was."""
        path = self.run.operating_point
        stored: Json = read_json(path) if path.is_file() else {}
        return stored

    def _best(self) -> Path:
        if self.run.best.is_file():
            return self.run.best
        if self.run.status.is_file() and read_json(self.run.status)["status"] == "done":
            raise RunFolderError(
                f"{self.run.best}: is missing. To write it again: cvlab train --resume {self.run.to_resume}"
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
                f"'{self.experiment.stages[-1].name}' is over. Go on with: cvlab train --resume {self.run.to_resume}"
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
        masks: Path | None = None,
    ) -> None:
        """Writes a predictions table, and predicted masks into the folder `masks`."""
        task = task or self.task
        size, seed = self.experiment.stages[-1].batch_size, (self.experiment.seed,)
        batches = samples.batches(size, seed=seed, with_masks=task.truth_is_masks)
        if augment:
            batches.augmenter = Augmenter(augment)
        with own_errors(batches):
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
            self._predict_validation(model, self._samples(self.experiment.stages[-1]))
        point = self.task.operating_point(val, self.experiment.evaluate)
        stored = self._stored_point()
        if point is not None and same_choice(stored, point):
            return without_injection(stored)
        kept = {key: value for key, value in stored.items() if key == INJECTION}
        if point is None and not kept:
            path.unlink(missing_ok=True)
            return None
        write_json(path, {**(point or {}), **kept})
        for name, value in chosen_values(point).items():
            self.console.say(f"Operating point: {name} {value}, kept in {path.name}")
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
        """Computes every metric from the predictions tables on disk; the operating point is that of the last stage.

        Intervals are about images that were not trained on, and about what a stage ended with.
        """
        folder = self.run.predictions("test").parent
        names = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("[!.]*.csv")]
        names.sort(key=lambda name: (name not in _ORDER, _ORDER.index(name) if name in _ORDER else 0, name))
        settings = self.experiment.evaluate
        found = {}
        for name in names:
            task, judged_by = self._task_of(name), None if "/" in name else point
            without = name in ("train", "train-augmented") or name.partition("/")[0].endswith("-before")
            seed = None if without else self.experiment.seed
            found[name] = task.metrics(folder / f"{name}.csv", settings, judged_by, seed=seed)
        write_json(self.run.metrics, found)

    def _task_of(self, predictions: str) -> Task:
        """The task of a table of predictions: `<stage>-before/<split>`, `<stage>-after/<split>`, or the last one's."""
        moments = {
            f"{stage.name}-{moment}": task
            for stage, task in zip(self.experiment.stages, self.tasks, strict=True)
            for moment in ("before", "after")
        }
        return moments.get(predictions.rpartition("/")[0], self.task)
