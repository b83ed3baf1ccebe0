"""The part of evaluation that finds how uncertain each prediction is, by dropout injection."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cvlab.config import DropoutInjection, Experiment
from cvlab.console import Console
from cvlab.data.decoded import DecodedSamples
from cvlab.errors import counted
from cvlab.heatmaps import overlay
from cvlab.metrics.segmentation_counts import predicted_masks
from cvlab.metrics.uncertainty import INJECTION, Moments
from cvlab.metrics.uncertainty_metrics import uncertainty_metrics
from cvlab.metrics.uncertainty_table import MaskUncertainty, UncertaintyTable
from cvlab.plots import image_grid, save_figure
from cvlab.run_folder import Json, RunFolder, read_json, write_json
from cvlab.tasks.segmentation import mask_path
from cvlab.tasks.task import Task
from cvlab.uncertainty import RATES, Array, InjectedNetwork, best_rate, chosen_layers, rate_losses, uncertain
from cvlab.uncertainty_kinds import Kind, kind_of, read_map

if TYPE_CHECKING:
    import keras

DEFAULT_THRESHOLD = 0.5
PICTURED = 10
CHOSEN_ON = "val"


def without_injection(point: Json) -> Json | None:
    """Returns what `operating_point.json` holds of a task; None where it holds nothing of it."""
    return {key: value for key, value in point.items() if key != INJECTION} or None


def check_injection(model: keras.Model, experiment: Experiment) -> None:
    """Refuses layers for dropout injection that the network does not have, before anything is computed.

    Raises:
        ConfigError: There is no such layer.
    """
    settings = experiment.evaluate.dropout_injection
    if settings is not None:
        chosen_layers(model, settings.layers)


@dataclass(frozen=True)
class UncertaintyStep:
    """What dropout injection needs to know of a run; `settings` are `evaluate.dropout_injection`."""

    run: RunFolder
    experiment: Experiment
    task: Task
    synthetic: bool
    console: Console
    settings: DropoutInjection

    def evaluate(
        self, model: keras.Model, splits: Mapping[str, DecodedSamples], validation: Callable[[], DecodedSamples]
    ) -> None:
        """Writes a table of uncertainties for each split, and the metrics of all such tables.

        Rate and scale come from validation; what is stored is used while settings and predictions are the same.

        Args:
            model: The trained network, which stays as it is.
            splits: Samples by the name of their table.
            validation: Gives the validation samples, should they be needed.

        Raises:
            ConfigError: The settings name a layer that there is not.
        """
        if not splits:
            return
        network = InjectedNetwork.of(model, self.settings.layers)
        chosen = self._stored() or self._choose(network, validation())
        self._drop_others(chosen)
        if chosen["rate"] is None:
            self.console.warn(f"There are no uncertainties (evaluate.dropout_injection): {chosen['reason']}.")
            return
        rate = chosen["rate"]
        for split, samples in splits.items():
            self.console.say(f"Predicting {split} {self.settings.samples} times with dropout of {rate:g} injected")
            results = self._results(network, samples, split, rate)
            table = self._kind(split).table(samples.table.sample_id, results, chosen)
            table.write(self.run.uncertainty(split))
            if isinstance(table, MaskUncertainty) and self._is_pictured(split):
                self._draw_maps(model, table, samples, split)
            self._add_metrics(split, table, chosen)

    def _stored(self) -> Json | None:
        """What was chosen on validation before; None if it was chosen by other settings, or never."""
        path = self.run.operating_point
        stored: Json | None = read_json(path).get(INJECTION) if path.is_file() else None
        wanted = self._wanted()
        return stored if stored is not None and all(stored.get(key) == wanted[key] for key in wanted) else None

    def _wanted(self) -> Json:
        return {"layers": self.settings.layers, "samples": self.settings.samples, "rule": self.settings.rate}

    def _choose(self, network: InjectedNetwork, samples: DecodedSamples) -> Json:
        """Chooses rate and scale on validation and keeps them in `operating_point.json`."""
        chosen: Json = {**self._wanted(), "injected": [*network.layers], "split": CHOSEN_ON}
        chosen |= self._rate(network, samples)
        if chosen["rate"] is not None:
            chosen |= self._kind(CHOSEN_ON).fit(self._results(network, samples, CHOSEN_ON, chosen["rate"]))
        path = self.run.operating_point
        write_json(path, {**(read_json(path) if path.is_file() else {}), INJECTION: chosen})
        return chosen

    def _rate(self, network: InjectedNetwork, samples: DecodedSamples) -> Json:
        if self.settings.rate != "auto":
            return {"rate": self.settings.rate}
        effort = (
            f"{counted(len(samples.table), 'image')}, {self.settings.samples} passes for each of {len(RATES)} rates"
        )
        self.console.say(f"Choosing the dropout rate on {CHOSEN_ON} ({effort})")
        kind = self._kind(CHOSEN_ON)
        losses = rate_losses(
            network,
            self._batches(samples, kind),
            kind.reading,
            samples=self.settings.samples,
            seed=self._seed(CHOSEN_ON),
        )
        tried = [{"rate": rate, **cell} for rate, cell in losses.items()]
        rate = best_rate(losses)
        if rate is not None:
            self.console.say(f"Dropout rate {rate:g}, the lowest negative log-likelihood: {losses[rate]['value']:.4g}")
            return {"rate": rate, "nll": tried}
        reason = f"the negative log-likelihood of {CHOSEN_ON} is undefined at every rate: {tried[-1]['reason']}"
        return {"rate": None, "reason": reason, "nll": tried}

    def _results(
        self, network: InjectedNetwork, samples: DecodedSamples, split: str, rate: float
    ) -> Iterator[tuple[Moments, Array]]:
        kind = self._kind(split)
        batches = self._batches(samples, kind)
        passes = self.settings.samples
        return uncertain(network, batches, kind.reading, rate=rate, samples=passes, seed=self._seed(split))

    def _batches(self, samples: DecodedSamples, kind: Kind) -> Iterator[tuple[Array, Array]]:
        size, total = self.experiment.stages[-1].batch_size, len(samples.table)
        for start in range(0, total, size):
            part = samples.take(np.arange(start, min(start + size, total)))
            yield part.pixels(), kind.truth(part)

    def _seed(self, split: str) -> tuple[int, ...]:
        return (self.experiment.seed, *split.encode())

    def _kind(self, split: str) -> Kind:
        maps = self.run.uncertainty(split).with_suffix("")
        return kind_of(self.task, rule=self.experiment.evaluate.threshold, maps=maps)

    def _threshold(self) -> float:
        path = self.run.operating_point
        return float((read_json(path) if path.is_file() else {}).get("threshold", DEFAULT_THRESHOLD))

    def _drop_others(self, chosen: Json) -> None:
        """Removes what another choice left: its uncertainties are on another scale."""
        path = self.run.uncertainty_metrics
        if path.is_file() and read_json(path).get("chosen") != chosen:
            shutil.rmtree(path.parent)

    def _add_metrics(self, split: str, table: UncertaintyTable, chosen: Json) -> None:
        path = self.run.uncertainty_metrics
        found = read_json(path).get("splits", {}) if path.is_file() else {}
        write_json(path, {"chosen": chosen, "splits": {**found, split: uncertainty_metrics(table)}})

    def _is_pictured(self, split: str) -> bool:
        """Whether a report, which is about test (or else validation), shows the masks of a split."""
        return split == "test" or (split == CHOSEN_ON and not self.run.uncertainty("test").is_file())

    def _draw_maps(self, model: keras.Model, table: MaskUncertainty, samples: DecodedSamples, split: str) -> None:
        """Draws the most uncertain images: image, true mask, mask as the plain network predicts it, entropy."""
        most = np.argsort(-table.entropy, kind="stable")[:PICTURED]
        part, folder = samples.take(most), self.run.uncertainty(split).with_suffix("")
        images = part.pixels()
        predicted = predicted_masks(model.predict_on_batch(images)[..., 0], self._threshold())
        heat = np.stack([read_map(mask_path(folder, name)) for name in part.table.sample_id])
        columns = (images, _as_picture(part.truth() > 0), _as_picture(predicted), overlay(images, heat))
        titles = [("image", "truth", "prediction", f"uncertainty {table.entropy[row]:.3f}") for row in most]
        figure = image_grid(
            np.stack(columns, axis=1).reshape(-1, *images.shape[1:]),
            [title for row in titles for title in row],
            columns=2 * len(columns),
            title=f"Most uncertain masks ({split}), with the mean entropy of each",
            synthetic=self.synthetic,
        )
        save_figure(figure, self.run.uncertain_masks)


def _as_picture(masks: Array) -> Array:
    """White where a mask (n, height, width) is, black elsewhere."""
    return np.repeat(np.where(masks, 255, 0).astype(np.uint8)[..., None], 3, axis=-1)
