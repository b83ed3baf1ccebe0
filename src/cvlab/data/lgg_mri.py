"""Brain MRI slices with tumour masks as the public folder kaggle_3m has them: a folder a patient."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cvlab.config import DataConfig
from cvlab.config_values import AbsolutePath
from cvlab.data.folders import check_folder, files_below
from cvlab.data.mask_pairs import MASK_SUFFIX, Pair, Structure, check_pairs, match, split_by_suffix
from cvlab.data.sample_sets import draw_samples, known_sample
from cvlab.data.samples import new_table
from cvlab.data.source import SYNTHETIC_MARK, Labels, LoadedSource, is_synthetic
from cvlab.errors import DataError, counted
from cvlab.text import printable

NAME = "lgg_mri"
LAYOUT = "a folder a patient, with slices NAME_N.tif and their masks NAME_N_mask.tif, as the folder kaggle_3m has"
_FOLDER = "kaggle_3m"
_ENDINGS = (".tif", ".tiff")
# What the public folder holds besides the patients.
_OTHER_FILES = {"data.csv", "README.md", SYNTHETIC_MARK}


class Config(DataConfig):
    """Settings of `lgg_mri`.

    Attributes:
        root: The folder of the patients' folders. Relative to the working directory.
        unit: What a split keeps together: all slices of a patient; or nothing, as in much published work, whose
            results look better than they are.
        structure: What the masks show.
        sample: The drawn data set that `--sample` uses.
    """

    name: Literal["lgg_mri"] = "lgg_mri"
    root: AbsolutePath
    unit: Literal["patient", "slice"] = "patient"
    structure: Structure = "tumour"
    # Neighbouring slices look alike (at 16 bits, chains of up to 18 slices of one patient, and none across patients),
    # and the patients' folders keep them together already. What is left to find are top and bottom slices, which show
    # so little of a head that they could tie patients together who have nothing in common.
    near_duplicate_distance: Annotated[int, Field(ge=0, le=64)] | None = None
    sample: Annotated[str, known_sample(NAME)] | None = None

    @model_validator(mode="after")
    def _grouped_by_folder(self) -> Config:
        if self.split.group_pattern is not None:
            raise ValueError(
                "expected no `split.group_pattern`: `unit` says what is kept together, and folders who it is"
            )
        if self.unit == "slice" and self.near_duplicate_distance is not None:
            raise ValueError(
                "expected `near_duplicate_distance: null` with `unit: slice`: slices of a patient look alike, and "
                "would be kept together"
            )
        return self


def load(config: Config) -> LoadedSource:
    """Lists the slices of all patients.

    Raises:
        DataError: The folder is missing or has another layout, or slices and masks do not belong together.
    """
    check_folder("data.root", config.root, LAYOUT)
    notes: list[str] = []
    pairs = _pairs(config, notes)
    ids = [f"{config.root.name}/{pair.name}" for pair in pairs]
    patients = [PurePosixPath(pair.name).parent.name for pair in pairs]
    by_slice = config.unit == "slice"
    return LoadedSource(
        table=new_table(
            ids,
            [pair.image for pair in pairs],
            ids if by_slice else patients,
            {},
            mask=[pair.mask for pair in pairs],
        ),
        labels=Labels.of_masks(config.structure),
        origin=str(config.root),
        synthetic=is_synthetic(config.root),
        notes=notes,
        stratified=not by_slice,
        patients=dict(zip(ids, patients, strict=True)) if by_slice else {},
        group_name="group" if by_slice else "patient",
    )


def _pairs(config: Config, notes: list[str]) -> list[Pair]:
    root, names = config.root, files_below(config.root)
    slices = [name for name in names if _is_slice(name)]
    if not slices:
        inner = root / _FOLDER
        meant = inner if inner.is_dir() else root.parent if any(_is_tiff(name) for name in names) else None
        hint = "" if meant is None else f" Did you mean data.root={printable(str(meant))}?"
        raise DataError(f"data.root: {printable(str(root))}: expected {LAYOUT}; found no such folder.{hint}")
    others = [printable(name) for name in names if not _is_slice(name) and name not in _OTHER_FILES]
    if others:
        notes.append(f"{root}: {counted(len(others), 'other file')} left out (first: {others[0]}).")
    images, masks = split_by_suffix(slices, MASK_SUFFIX)
    pairs, problems = match(images, masks, image_root=root, mask_root=root, suffix=MASK_SUFFIX)
    check_pairs(pairs, problems, config, notes, origin=f"data.root: {printable(str(root))}")
    return pairs


def _is_slice(name: str) -> bool:
    return len(PurePosixPath(name).parts) == 2 and _is_tiff(name)


def _is_tiff(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in _ENDINGS


def other_data(config: Config, path: Path) -> Config:
    """Returns the settings that read another folder of patients (`cvlab evaluate --data`)."""
    return config.model_copy(update={"root": path})


def write_sample(configs: Sequence[Config], directory: Path, *, small: bool) -> list[Config]:
    """Returns settings that use the drawn sample set of each stage; see `sample_sets.draw_samples`."""
    drawn = draw_samples(
        NAME,
        configs,
        directory,
        small=small,
        data_of=lambda config: config.root,
        folder_of=lambda config: config.root.name or _FOLDER,
    )
    return [config.model_copy(update={"root": folder}) for config, folder, _ in drawn]
