"""The check of one configuration, as a page of steps; a step that fails hides no other that does not need it."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cvlab import runtime
from cvlab.config import Experiment
from cvlab.config_file import experiment_yaml
from cvlab.console import Console
from cvlab.data.augment_bias import find_bias
from cvlab.data.decoded import cache_dir
from cvlab.data.glance import Glance, look_at, undecoded_bytes
from cvlab.data.prepare import load_source
from cvlab.data.samples import SampleTable
from cvlab.data.source import LoadedSource
from cvlab.errors import ConfigError, CvlabError
from cvlab.evaluation_uncertainty import check_injection
from cvlab.initial import build_tasks, samples_before, starting_networks
from cvlab.models.network import Network, build_network, find_weights, to_download
from cvlab.models.pretrained_weights import NO_WEIGHTS
from cvlab.needs import StageNeeds, run_bytes, stage_needs
from cvlab.out_of_memory import refusals_named
from cvlab.preflight_text import (
    Findings,
    tell_data,
    tell_disk,
    tell_memory,
    tell_model,
    tell_trial,
)
from cvlab.run_folder import RunFolder, write_text
from cvlab.runtime import Machine
from cvlab.shortage import DiskUse, disk_shortages, memory_use, unwritable
from cvlab.tasks.task import Task
from cvlab.training_run import TrainingRun
from cvlab.trial import try_out


@dataclass
class Preflight:
    """The check of one experiment.

    Attributes:
        experiment: The settings.
        parent: Where a training would make its run folder; nothing is written there.
        folder: A folder for everything that is written.
        verbose: Whether TensorFlow may print its own messages, and unexpected errors come as they are.
        findings: What was found so far.
    """

    experiment: Experiment
    parent: Path
    folder: Path
    verbose: bool = False
    findings: Findings = field(default_factory=Findings)
    console: Console = field(default_factory=lambda: Console(io.StringIO()))

    def run(self) -> Findings:
        """Does all steps, and tries a batch where nothing stands against it."""
        before, sources = self._earlier_samples(), self._sources()
        tasks = self._tasks(sources)
        glance = self._look_at_data(sources, tasks, before)
        self._look_at_augmentation()
        machine = self._start_machine()
        networks = self._build_networks(tasks, machine)
        needs = self._find_needs(networks)
        self._compare_disk(sources, tasks, needs)
        self._compare_memory(needs, machine)
        if glance and glance.data and machine and not self.findings.problems:
            self._try_batch(glance, tasks, networks, machine)
        return self.findings.without_repetitions()

    def _earlier_samples(self) -> list[SampleTable]:
        with self._noted("Reading the run of model.init_from"):
            return samples_before(self.experiment)
        return []

    def _sources(self) -> list[LoadedSource]:
        """The samples of all stages; none, where those of one cannot be listed."""
        sources = []
        for stage in self.experiment.stages:
            with self._noted("Listing the data"):
                sources.append(load_source(stage.data, stops=self.findings.problems))
        return sources if len(sources) == len(self.experiment.stages) else []

    def _tasks(self, sources: Sequence[LoadedSource]) -> list[Task]:
        if sources:
            with self._noted("Making the task"):
                return build_tasks(self.experiment, [source.labels for source in sources])
        return []

    def _look_at_data(
        self, sources: Sequence[LoadedSource], tasks: Sequence[Task], before: Sequence[SampleTable]
    ) -> Glance | None:
        if not sources:
            return None
        with self._noted("Reading the data"):
            experiment = self._elsewhere()
            glance = look_at(experiment, sources, self.console, self.findings.problems, before=before)
            self.findings.warnings += glance.warnings
            tell_data(self.findings, self.experiment, sources, glance)
            if tasks and glance.tables[-1].split[0]:
                with self._noted("Checking `evaluate`"):
                    tasks[-1].check_evaluation(self.experiment.evaluate, glance.tables[-1])
            return glance
        return None

    def _look_at_augmentation(self) -> None:
        for stage in self.experiment.stages:
            self.findings.warnings += find_bias(stage.augment, image_size=stage.data.image_size)

    def _start_machine(self) -> Machine | None:
        train = self.experiment.train
        with self._noted("Starting the device"):
            machine = runtime.start(
                device=train.device,
                precision=train.precision,
                seed=self.experiment.seed,
                deterministic=train.deterministic,
                verbose=self.verbose,
            )
            self.findings.tell("Device", f"{machine.device}, {machine.precision}, {machine.backend} backend")
            return machine
        return None

    def _build_networks(self, tasks: Sequence[Task], machine: Machine | None) -> list[Network]:
        """The network of each stage; without tasks, the backbone with a plain output, to see whether it can be."""
        experiment = self.experiment
        model, image_size = experiment.model, experiment.data.image_size
        if missing := to_download(model, image_size=image_size):
            self.findings.unchecked.append(f"{missing}, which a training downloads: new weights were used instead")
            model = model.model_copy(update={"weights": NO_WEIGHTS})
        else:
            with self._noted("Finding the weights"):
                find_weights(model, image_size=image_size)
        with self._noted("Building the network"):
            if not tasks or not machine:
                return self._plain_networks()
            networks, weights = starting_networks(experiment.model_copy(update={"model": model}), tasks)
            self.findings.tell("Weights", weights)
            check_injection(networks[-1].connect(experiment.stages[-1]), experiment)
            return networks
        return []

    def _plain_networks(self) -> list[Network]:
        import keras

        stages = self.experiment.stages
        network = build_network(
            self.experiment.model, image_size=stages[0].data.image_size, output=keras.layers.Dense(1, name="output")
        )
        return [network] * len(stages)

    def _find_needs(self, networks: Sequence[Network]) -> list[StageNeeds]:
        stages = self.experiment.stages
        if networks:
            with self._noted("Freezing layers"):
                needs = [stage_needs(network, stage) for network, stage in zip(networks, stages, strict=True)]
                tell_model(self.findings, self.experiment, needs)
                return needs
        return []

    def _compare_disk(
        self, sources: Sequence[LoadedSource], tasks: Sequence[Task], needs: Sequence[StageNeeds]
    ) -> None:
        stages, uses = self.experiment.stages, list[DiskUse]()
        for i, source in enumerate(sources):
            if stages[i].data not in [stage.data for stage in stages[:i]]:
                folder = cache_dir(stages[i].data)
                needed = undecoded_bytes(source, stages[i])
                uses.append(DiskUse("decoded images", folder, needed, "data.cache_dir"))
        if needs and tasks:
            masks = len(sources[-1].table) if tasks[-1].truth_is_masks else 0
            needed = run_bytes(self.experiment, needs, masks=masks)
            uses.append(DiskUse("the run", self.parent, needed, "--run-dir"))
        self.findings.problems += [*unwritable(uses), *disk_shortages(uses)]
        tell_disk(self.findings, uses)

    def _compare_memory(self, needs: Sequence[StageNeeds], machine: Machine | None) -> None:
        if machine is None:
            return
        for number, need in enumerate(needs):
            use = memory_use(self.experiment, number, need.step, machine)
            tell_memory(self.findings, self.experiment.stages[number].name, use)

    def _try_batch(self, glance: Glance, tasks: Sequence[Task], networks: Sequence[Network], machine: Machine) -> None:
        assert glance.data is not None
        experiment = self._elsewhere()
        run = RunFolder.create(self.folder / "runs", experiment.name)
        with self._noted("Training on a batch"):
            write_text(run.config, experiment_yaml(experiment))
            training = TrainingRun(run, experiment, glance.data, tasks, machine, self.console, most_steps=1)
            with refusals_named(lambda: "There is not enough memory for one batch: {refused}. Try a smaller one."):
                trials = try_out(training, networks)
            tell_trial(self.findings, self.experiment, glance, trials, machine)

    def _elsewhere(self) -> Experiment:
        """The experiment with its caches in the folder of this check."""
        place = {"cache_dir": self.folder / "cache"}
        stages = [s.model_copy(update={"data": s.data.model_copy(update=place)}) for s in self.experiment.stages]
        data = self.experiment.data.model_copy(update=place)
        return self.experiment.model_copy(update={"data": data, "stages": stages})

    @contextmanager
    def _noted(self, doing: str) -> Iterator[None]:
        """Notes what is raised as a problem; what nobody expected is what a training would end with."""
        try:
            yield
        except ConfigError as error:
            self.findings.problems += error.problems
        except CvlabError as error:
            self.findings.problems.append(f"{error}{self._about_temporary(error)}")
        except Exception as error:
            if self.verbose:
                raise
            first = (str(error).strip().splitlines() or [""])[0]
            shown = f"{doing} failed: {type(error).__name__}: {first} (--verbose shows where)"
            self.findings.problems.append(f"{shown}{self._about_temporary(error)}")

    def _about_temporary(self, error: Exception) -> str:
        """Says where else the files of this check could go, where there was no room for them."""
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        if not full and str(self.folder) not in str(error):
            return ""
        return f"\nThis check writes below {self.folder.parent}; TMPDIR in the environment names another folder."
