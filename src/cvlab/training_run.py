"""A run under way: its stages trained one after the other, with `status.json` kept true."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from cvlab import checkpoint, memory
from cvlab.config import Experiment, StageConfig
from cvlab.console import Console
from cvlab.data.augment import Augmenter
from cvlab.data.decoded import cache_dir
from cvlab.data.pipeline import Batches
from cvlab.data.prepare import PreparedData
from cvlab.data.sampling import Sampler
from cvlab.errors import CvlabError, DataError, Interrupted, WriteError, counted
from cvlab.features import compute_features
from cvlab.models.network import BACKBONE, Network, parameter_counts
from cvlab.models.pretrained_weights import NO_WEIGHTS
from cvlab.out_of_memory import refusals_named
from cvlab.progress import EpochProgress
from cvlab.run_folder import RunFolder, atomic_path, read_json, write_json
from cvlab.runtime import Machine
from cvlab.shortage import batch_key
from cvlab.speed import verdict
from cvlab.stage_parts import StageParts
from cvlab.stopping import StopRequest, Terminated
from cvlab.tasks.task import Task
from cvlab.training_state import TrainingState

if TYPE_CHECKING:
    import keras

    from cvlab.training import StageTrainer


@dataclass(frozen=True)
class TrainingRun:
    """What belongs together while a run is trained; `most_steps` bounds the steps of an epoch, for a trial."""

    run: RunFolder
    experiment: Experiment
    data: PreparedData
    tasks: Sequence[Task]
    machine: Machine
    console: Console
    most_steps: int | None = None

    def train_stages(self, networks: Sequence[Network], state: TrainingState) -> None:
        """Trains stage after stage, each from the best weights of the one before, and writes `best.keras`."""
        if not state.ends(len(self.experiment.stages)):
            self._drop_results()
        with self._stop_request() as stop:
            while True:
                stage = self.experiment.stages[state.stage]
                with refusals_named(partial(self._refused, state)):
                    self.trainer(networks[state.stage], state, stop).run_stage()
                self.console.say(f"Stage '{stage.name}' ended: {state.ended}; best epoch {state.best_epoch}.")
                if state.ends(len(self.experiment.stages)):
                    break
                state = state.next_stage()
        self._say_speed(state)
        self._write_best()

    def _refused(self, state: TrainingState) -> str:
        """Says what did not fit into memory, what is saved, and how to go on; see `refusals_named`."""
        stage = self.experiment.stages[state.stage]
        height, width = stage.data.image_size
        saved = "Nothing was saved before."
        if self.run.last.is_file():
            saved = (
                "What was saved last is whole; a run goes on with its own batch size, where there is more memory: "
                f"cvlab train --resume {self.run.to_resume}."
            )
        less = "data.image_size=[...]"
        if stage.batch_size > 1:
            less = f"{batch_key(self.experiment, state.stage)}={stage.batch_size // 2}"
        return (
            f"There is not enough memory on this {'CPU' if self.machine.gpu is None else 'GPU'} for stage "
            f"'{stage.name}' with batches of {counted(stage.batch_size, 'image')} of {height} x {width}: {{refused}}. "
            f"{saved} With less memory, start anew: cvlab train {self.run.config} {less}"
        )

    def _say_speed(self, state: TrainingState) -> None:
        said = verdict(
            state.history,
            augmented=any(stage.augment for stage in self.experiment.stages),
            precision=self.machine.precision,
            device=self.machine.device,
            backend=self.machine.backend,
        )
        if said:
            self.console.say(said)

    def _drop_results(self) -> None:
        """Removes what older weights of this run left: `best.keras` and its predictions exist for the final ones."""
        self.run.best.unlink(missing_ok=True)
        self.run.metrics.unlink(missing_ok=True)
        self.run.operating_point.unlink(missing_ok=True)
        for folder in (self.run.predictions("test").parent, self.run.uncertainty("test").parent):
            shutil.rmtree(folder, ignore_errors=True)

    def _write_best(self) -> None:
        source = self.run.stage_best(self.experiment.stages[-1].name)
        checkpoint.read_state(source)
        with atomic_path(self.run.best) as temporary:
            shutil.copyfile(source, temporary)

    def _stop_request(self) -> StopRequest:
        def say() -> None:
            self.console.say("Stopping: finishing the step and saving. Ctrl-C again stops at once.")

        def give_up() -> None:
            self.write_status("interrupted", "Stopped at once.")
            # Of a part of several, the process that started this one says how to go on.
            go_on = (
                "" if self.console.title else f" Go on from the last save: cvlab train --resume {self.run.to_resume}"
            )
            self.console.say(f"Stopped at once.{go_on}")

        return StopRequest(on_first=say, on_second=give_up)

    def trainer(self, network: Network, state: TrainingState, stop: StopRequest) -> StageTrainer:
        """Makes what trains the stage that `state` is in, from there on."""
        from cvlab.training import StageTrainer

        stage = self.experiment.stages[state.stage]
        model = network.connect(stage)
        total, trainable = parameter_counts(model)
        self.console.say(
            f"Stage '{stage.name}': {trainable:,} of {total:,} parameters trained, {total - trainable:,} not (frozen "
            "layers, BatchNorm statistics)"
        )
        started = bool(state.epoch or state.batch)
        if started:
            checkpoint.load_weights(model, self.run.last)
        if state.stage and not started:
            best = self.run.stage_best(self.experiment.stages[state.stage - 1].name)
            if self.has_new_head(state.stage):
                checkpoint.load_layer(model, best, BACKBONE)
            else:
                checkpoint.load_weights(model, best)
        trainer = StageTrainer(
            self._parts(network, model, state.stage),
            stage=stage,
            train=self.experiment.train,
            jit_compile=self.machine.jit_compile,
            new_batchnorm=self._has_new_batchnorm(state.stage),
            run=self.run,
            identity={"config": self.experiment.model_dump(mode="json"), "synthetic": self.data.synthetic},
            state=state,
            progress=EpochProgress(self.console, stage=stage.name, epochs=stage.epochs, batch_size=stage.batch_size),
            stop=stop,
        )
        if started:
            trainer.restore()
        else:
            checkpoint.reseed(model, (self.experiment.seed, state.stage))
        return trainer

    def has_new_head(self, stage: int) -> bool:
        """Whether a stage has other outputs than the one before, and so a head of its own."""
        return stage > 0 and self.tasks[stage].outputs != self.tasks[stage - 1].outputs

    def _has_new_batchnorm(self, stage: int) -> bool:
        model = self.experiment.model
        return model.has_batchnorm and ((stage == 0 and model.init_from is None) or self.has_new_head(stage))

    def _parts(self, network: Network, model: keras.Model, number: int) -> StageParts:
        stage, task = self.experiment.stages[number], self.tasks[number]
        samples, held_out = (self.data.stages[number].samples.of_split(split) for split in ("train", "val"))
        training = Batches(
            samples.images,
            samples.rows,
            stage.batch_size,
            seed=(self.experiment.seed, number),
            targets=task.encode(samples.table),
            weights=task.sample_weights(samples.table),
            variants=samples.variants,
            augmenter=Augmenter(stage.augment) if stage.augment else None,
            shuffled=True,
            sampler=Sampler.of(samples.table, stage.data.sampling),
            most_batches=self.most_steps,
            masks=samples.masks if task.truth_is_masks else None,
            mask_rows=samples.mask_rows if task.truth_is_masks else None,
        )
        validation = held_out.batches(stage.batch_size, seed=(self.experiment.seed,), with_masks=task.truth_is_masks)
        parts = StageParts(model, None, task, training, validation, held_out.table)
        return self._over_features(parts, network, number) if self._caches_features(network, stage) else parts

    def _caches_features(self, network: Network, stage: StageConfig) -> bool:
        """Whether the features of the backbone are computed once; says why not where they could be."""
        if not network.backbone_is_frozen:
            return False
        if not self._is_pretrained(stage):
            self.console.warn(
                f"Stage '{stage.name}' freezes a backbone with new, random weights: only the head can learn, from "
                "features that nobody has trained."
            )
        if not self.experiment.train.cache_features or not network.has_vector_features:
            return False
        if stage.augment:
            self.console.say(
                f"Stage '{stage.name}': the backbone is frozen, but its features cannot be computed once, since the "
                f"images are augmented. Without augmentation (`stages: [{{name: {stage.name}, augment: []}}]`) only "
                "the head would run in each step, many times faster."
            )
            return False
        self.console.say(
            f"Stage '{stage.name}': the backbone is frozen and the images are not augmented, so that its features are "
            "computed once, and only the head runs in each step."
        )
        return True

    def _is_pretrained(self, stage: StageConfig) -> bool:
        """Whether the backbone has learned anything before a stage."""
        model = self.experiment.model
        weights = getattr(model, "weights", NO_WEIGHTS) != NO_WEIGHTS or model.init_from is not None
        earlier = self.experiment.stages[: self.experiment.stages.index(stage)]
        return weights or any(before.trainable != "head" for before in earlier)

    def _over_features(self, parts: StageParts, network: Network, number: int) -> StageParts:
        """Puts the features of the frozen backbone in the place of the images, and the head in that of the network."""
        stage, samples = self.experiment.stages[number], self.data.stages[number].samples
        training, held_out = samples.of_split("train"), samples.of_split("val")
        extractor, head = network.split_at_features()
        features = compute_features(
            network,
            extractor,
            samples.take(np.flatnonzero(np.isin(samples.table.split, ["train", "val"]))),
            batch_size=stage.batch_size,
            machine=[self.machine.device, f"deterministic: {self.experiment.train.deterministic}"],
            folder=cache_dir(stage.data),
            console=self.console,
        )
        return replace(
            parts,
            head=head,
            training=replace(parts.training, images=features.values, rows=features.rows(training), variants=None),
            validation=replace(parts.validation, images=features.values, rows=features.rows(held_out), variants=None),
        )

    @contextlib.contextmanager
    def status(self) -> Iterator[None]:
        """Keeps `status.json` true: running, then done, interrupted or failed with the reason."""
        self.write_status("running", "")
        try:
            yield
        except Interrupted as stop:
            self.console.log(str(stop))
            self.write_status("interrupted", str(stop).splitlines()[0])
            raise
        except (KeyboardInterrupt, Terminated):
            self.write_status("interrupted", "stopped before or after training")
            raise
        except (WriteError, DataError) as error:
            # The disk or the data: what can be put right, so that the same run goes on.
            self.console.log(str(error))
            with contextlib.suppress(WriteError):
                self.write_status("failed", str(error))
            raise type(error)(
                f"{error}\nWhat was saved before is whole. When this is put right, go on with: "
                f"cvlab train --resume {self.run.to_resume}"
            ) from error
        except BaseException as error:
            reason = str(error) if isinstance(error, CvlabError) else f"{type(error).__name__}: {error}"
            self.console.log(reason)
            self.write_status("failed", reason)
            raise
        self.write_status("done", "")

    def write_status(self, status: str, reason: str) -> None:
        """Writes `status.json`, keeping the stage and epoch that training has written there."""
        reached = read_json(self.run.status) if self.run.status.is_file() else {}
        kept = {key: reached[key] for key in ("stage", "epoch", "step") if key in reached}
        about = {"synthetic": self.data.synthetic, "memory": memory.record()}
        write_json(self.run.status, {**kept, "status": status, "reason": reason, **about})
