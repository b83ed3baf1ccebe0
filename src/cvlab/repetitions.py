"""One experiment repeated: with several seeds, or on each fold of a cross-validation. The parts and their settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from cvlab.config import DataConfig, Experiment
from cvlab.config_file import differences, load_experiment
from cvlab.config_split import SplitConfig
from cvlab.errors import RunFolderError
from cvlab.run_folder import Json, RunFolder, read_json

Kind = Literal["seeds", "folds"]
LARGEST_SEED = 2**32 - 1
# What a run may be trained or evaluated with otherwise and still be the part that it was.
OWN_BUSINESS = re.compile(r"train\.(precision|device)|evaluate\..*")


@dataclass(frozen=True)
class Repetitions:
    """What is repeated.

    Attributes:
        kind: `seeds` or `folds`.
        numbers: The seeds, or the folds from 1.
        folded: For folds, the stages whose samples are divided; others came split and stay so.
    """

    kind: Kind
    numbers: tuple[int, ...]
    folded: tuple[str, ...] = ()

    @property
    def one(self) -> str:
        """What a single one of them is called."""
        return self.kind.removesuffix("s")

    @property
    def parts(self) -> list[str]:
        """The names of the parts and of their folders."""
        return [f"{self.one}-{number}" for number in self.numbers]

    def title(self, part: str) -> str:
        """Returns what a part is called while it is trained."""
        place = self.parts.index(part)
        if self.kind == "folds":
            return f"fold {self.numbers[place]} of {len(self.numbers)}"
        return f"seed {self.numbers[place]} ({place + 1} of {len(self.numbers)})"

    def experiment_of(self, base: Experiment, part: str) -> Experiment:
        """Returns the settings of a part; on their own they repeat it.

        With another seed the split stays that of the base, so that what varies is training. A fold is the test split
        of its part, and training and validation share the rest as they do in the base.
        """
        number = self.numbers[self.parts.index(part)]
        if self.kind == "seeds":
            return _with_data(base, lambda data: _keep_split(data, base.seed), seed=number)
        divided = [stage.data for stage in base.stages if stage.name in self.folded]
        return _with_data(base, lambda data: _on_fold(data, len(self.numbers), number) if data in divided else data)

    def json(self) -> Json:
        """What `repetitions.json` holds."""
        return {"kind": self.kind, "parts": self.parts, "numbers": self.numbers, "folded_stages": self.folded}

    @classmethod
    def read(cls, path: Path) -> Repetitions:
        """Reads `repetitions.json`.

        Raises:
            RunFolderError: It is missing or damaged.
        """
        value = read_json(path)
        try:
            found = cls(value["kind"], tuple(value["numbers"]), tuple(value["folded_stages"]))
            whole = all(type(number) is int and 0 <= number <= LARGEST_SEED for number in found.numbers)
            sound = found.kind in get_args(Kind) and whole and found.parts == value["parts"]
            sound = sound and len({*found.numbers}) == len(found.numbers) > 1
        except (TypeError, KeyError, AttributeError):
            sound = False
        if not sound:
            raise RunFolderError(
                f'{path}: is damaged: expected {{"kind": "seeds" or "folds", "parts": ["seed-42", ...], "numbers": '
                '[42, ...], "folded_stages": [...]}.'
            )
        return found


def _with_data(base: Experiment, change: Any, *, seed: int | None = None) -> Experiment:
    stages = [stage.model_copy(update={"data": change(stage.data)}) for stage in base.stages]
    update = {"data": change(base.data), "stages": stages, **({} if seed is None else {"seed": seed})}
    changed = base.model_copy(update=update)
    # A copy is not checked.
    return type(base).model_validate_json(json.dumps(changed.model_dump(mode="json")))


def _keep_split(data: DataConfig, seed: int) -> DataConfig:
    split = data.split if data.split.seed is not None else data.split.model_copy(update={"seed": seed})
    return data.model_copy(update={"split": split})


def _on_fold(data: DataConfig, folds: int, fold: int) -> DataConfig:
    update = {"train": None, "test": None, "val": share_of_rest(data.split), "folds": folds, "fold": fold}
    return data.model_copy(update={"split": data.split.model_copy(update=update)})


def share_of_rest(split: SplitConfig) -> float | None:
    """Returns the share of training and validation together that validates; None for the default."""
    if split.train is None or split.val is None:
        return split.val
    return round(split.val / (split.train + split.val), 12)


@dataclass(frozen=True)
class Parent:
    """The folder of a repeated experiment: its own files, and a run folder for each part.

    Attributes:
        folder: The folder, with the file names of a run.
        repetitions: What is repeated.
    """

    folder: RunFolder
    repetitions: Repetitions

    @classmethod
    def open(cls, path: Path) -> Parent | None:
        """Opens a folder that holds repetitions; None where it holds none.

        Raises:
            RunFolderError: Its files are damaged.
        """
        folder = RunFolder(path.resolve())
        return cls(folder, Repetitions.read(folder.repetitions)) if folder.repetitions.is_file() else None

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder.path

    def run(self, part: str) -> RunFolder:
        """The run folder of a part, whether it is there or not."""
        return RunFolder(self.path / part)

    def finished(self) -> list[str]:
        """The parts that are trained and evaluated."""
        return [part for part in self.repetitions.parts if is_finished(self.run(part))]

    def begun(self) -> list[str]:
        """The parts that have a run folder."""
        return [part for part in self.repetitions.parts if self.run(part).config.is_file()]

    def is_done(self) -> bool:
        """Whether all parts are finished, summarised and reported."""
        all_finished = self.finished() == self.repetitions.parts and self.folder.report.is_file()
        return all_finished and bool(read_json(self.folder.status).get("status") == "done")

    def experiment(self) -> Experiment:
        """The settings that all parts share.

        Raises:
            ConfigError: `config.yaml` is missing or wrong.
        """
        return load_experiment(self.folder.config)

    def changed(self, base: Experiment) -> Iterator[tuple[str, str, Any, Any]]:
        """Yields `(part, key, expected, found)` where a part has other settings than follow from the base."""
        for part in self.begun():
            expected = self.repetitions.experiment_of(base, part).model_dump(mode="json")
            found = load_experiment(self.run(part).config).model_dump(mode="json")
            for key, old, new in differences(expected, found):
                if not OWN_BUSINESS.fullmatch(key):
                    yield part, key, old, new


def is_finished(run: RunFolder) -> bool:
    """Whether a run is trained, evaluated and reported."""
    return run.best.is_file() and run.status.is_file() and bool(read_json(run.status).get("status") == "done")
