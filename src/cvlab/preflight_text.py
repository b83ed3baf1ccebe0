"""What a check tells: problems, warnings and facts, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cvlab import memory
from cvlab.config import Experiment, StageConfig
from cvlab.data.expansion import expand_training
from cvlab.data.glance import Glance
from cvlab.data.samples import SPLITS, SampleTable
from cvlab.data.sampling import samples_per_epoch
from cvlab.data.source import LoadedSource
from cvlab.errors import counted
from cvlab.gpu_memory import gpu_peak
from cvlab.memory import gigabytes
from cvlab.needs import StageNeeds
from cvlab.run_folder import free_bytes
from cvlab.runtime import Machine
from cvlab.shortage import DiskUse, MemoryUse
from cvlab.text import duration
from cvlab.trial import StageTrial

LABEL = 12
# Validation is a forward pass, which costs about a third of a step.
VALIDATION_COST = 1 / 3


@dataclass
class Findings:
    """What a check found.

    Attributes:
        problems: What stops a training.
        warnings: What may spoil one.
        facts: What is known, a label and a text each, in order.
        unchecked: What was not looked at.
    """

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def tell(self, label: str, text: str) -> None:
        """Adds a fact."""
        self.facts.append((label, text))

    def without_repetitions(self) -> Findings:
        """Returns the same, where stages have told the same, once."""
        problems, warnings = ([*dict.fromkeys(items)] for items in (self.problems, self.warnings))
        return replace(self, problems=problems, warnings=warnings)

    def text(self, ready: str) -> str:
        """Returns all of it as lines; `ready` ends them where there is no problem."""
        lines = [f"{label if label != before else '':<{LABEL}}{text}" for before, (label, text) in self._with_before()]
        lines += [f"WARNING: {warning}" for warning in self.warnings]
        lines += [f"Not checked: {text}." for text in self.unchecked]
        if not self.problems:
            return "\n".join([*lines, ready])
        which = "which" if len(self.problems) == 1 else "each of which"
        head = f"{counted(len(self.problems), 'problem')}, {which} would stop a training:"
        return "\n".join([*lines, head, *(_item(problem) for problem in self.problems)])

    def _with_before(self) -> list[tuple[str, tuple[str, str]]]:
        labels = ["", *(label for label, _ in self.facts)]
        return [*zip(labels, self.facts, strict=False)]


def _item(problem: str) -> str:
    first, *rest = problem.splitlines()
    return "\n".join([f"  - {first}", *(f"    {line}" for line in rest)])


def tell_data(findings: Findings, experiment: Experiment, sources: Sequence[LoadedSource], glance: Glance) -> None:
    """Tells how many samples there are, what of them was read, and what an epoch makes of them."""
    for table, read, source, stage in zip(glance.tables, glance.read, sources, experiment.stages, strict=True):
        groups = len(set(table.group))
        splits = Counter(table.split.tolist())
        parts = ", ".join(f"{split} {splits[split]:,}" for split in SPLITS if splits[split]) or "not split"
        about = "" if glance.is_whole else "about "
        drawn = "SYNTHETIC SAMPLE DATA, " if source.synthetic else ""
        findings.tell("Data", f"{stage.name}: {source.origin}")
        findings.tell("Data", f"{drawn}{counted(len(table), 'image')} in {counted(groups, 'group')}; {about}{parts}")
        findings.tell("Data", f"{'all' if read == len(table) else f'{read:,}'} of them read and decoded")
        if splits["train"]:
            findings.tell("Epochs", _epochs(stage, table))
    if not glance.is_whole:
        findings.unchecked.append(
            "the files that were not read, identical files and near-duplicates across splits, and what names and "
            "storage tell (`cvlab data audit CONFIG` reads everything; so does a training, before it starts)"
        )


def _epochs(stage: StageConfig, table: SampleTable) -> str:
    steps = steps_per_epoch(stage, table)
    return (
        f"{stage.name}: {counted(stage.epochs, 'epoch')} of {counted(steps, 'step')}, batch size {stage.batch_size:,}"
    )


def steps_per_epoch(stage: StageConfig, table: SampleTable) -> int:
    """Returns the steps of an epoch over a table of samples that is split, not expanded."""
    training = expand_training(table, stage.data.expand).of_split("train")
    return -(-samples_per_epoch(training, stage.data.sampling) // stage.batch_size)


def tell_model(findings: Findings, experiment: Experiment, needs: Sequence[StageNeeds]) -> None:
    """Tells the parameters of the network, and what each stage trains of them."""
    trained = [f"{need.trainable:,}" for need in needs]
    if len({*trained}) == 1:
        trained = trained[:1]
    else:
        trained = [f"{text} in {stage.name}" for text, stage in zip(trained, experiment.stages, strict=True)]
    findings.tell(
        "Model", f"{experiment.model.title}, {needs[-1].total:,} parameters, {' and '.join(trained)} of them trained"
    )


def tell_disk(findings: Findings, uses: Sequence[DiskUse]) -> None:
    """Tells what will be written where."""
    sums: Counter[tuple[str, Path]] = Counter()
    for use in uses:
        sums[use.what, use.place] += use.needed
    for (what, place), size in sums.items():
        needed = f"{gigabytes(size)} at most" if size else "there already"
        findings.tell("Disk", f"{what}: {needed}; {gigabytes(free_bytes(place))} free in {_short(place)}")


def _short(place: Path) -> str:
    home = Path.home()
    return f"~/{place.relative_to(home)}" if place.is_relative_to(home) else str(place)


def tell_memory(findings: Findings, stage: str, use: MemoryUse) -> None:
    """Tells what a step needs by estimate, and what is there; a shortage that is sure is a problem."""
    there = f"{gigabytes(use.there.available)} free ({use.there.limit})" if use.there else "what is free is not known"
    findings.tell("Memory", f"{stage}: about {gigabytes(use.needed)} for a step (an estimate); {there}")
    if use.shortage:
        (findings.problems if use.is_sure else findings.warnings).append(use.shortage)


def tell_trial(
    findings: Findings, experiment: Experiment, glance: Glance, trials: Sequence[StageTrial], machine: Machine
) -> None:
    """Tells what the trial of a batch has shown."""
    total = 0.0
    for trial, stage, table in zip(trials, experiment.stages, glance.tables, strict=True):
        findings.tell(
            "Trial",
            f"{trial.stage}: a batch of {counted(trial.images, 'image')} trained, saved, resumed, reloaded and "
            f"predicted; outputs are {_equal(trial.difference)}",
        )
        findings.tell(
            "Trial", f"{trial.stage}: {_seconds(trial.seconds)} a step, the first {_seconds(trial.first_seconds)}"
        )
        held_out = int((table.split == "val").sum()) / stage.batch_size
        total += stage.epochs * trial.seconds * (steps_per_epoch(stage, table) + VALIDATION_COST * held_out)
    used = gigabytes(memory.peak())
    on_gpu = gpu_peak(machine)
    findings.tell("Trial", f"{used} of memory used at most" + (f", {gigabytes(on_gpu)} of the GPU's" if on_gpu else ""))
    findings.tell("Time", f"about {duration(total)} for all epochs")
    findings.unchecked.append("evaluation, pictures and report")


def _equal(difference: float) -> str:
    return "equal" if difference == 0 else f"equal up to {difference:.1g}"


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
