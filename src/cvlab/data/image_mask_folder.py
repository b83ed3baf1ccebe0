"""Images and masks of one's own: two folders, or one where masks have a suffix; masks as PNG or TIFF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import model_validator

from cvlab.config import DataConfig
from cvlab.config_values import AbsolutePath
from cvlab.data.folders import check_folder, files_below, is_image
from cvlab.data.mask_pairs import MASK_SUFFIX, Pair, Structure, check_pairs, match, split_by_suffix
from cvlab.data.sample_sets import draw_samples, known_sample
from cvlab.data.samples import new_table
from cvlab.data.source import Labels, LoadedSource, find_groups, is_synthetic
from cvlab.errors import DataError, counted
from cvlab.text import printable

NAME = "image_mask_folder"


class Config(DataConfig):
    """Settings of `image_mask_folder`.

    Attributes:
        images: The folder of the images, and of folders with images. Relative to the working directory.
        masks: The folder of the masks, laid out as that of the images; null: they stand beside the images.
        mask_suffix: What the stem of a mask has behind that of its image; null: `_mask` beside images, else nothing.
        structure: What the masks show.
        sample: The drawn data set that `--sample` uses.
    """

    name: Literal["image_mask_folder"] = "image_mask_folder"
    images: AbsolutePath
    masks: AbsolutePath | None = None
    mask_suffix: str | None = None
    structure: Structure = "structure"
    sample: Annotated[str, known_sample(NAME)] | None = None

    @model_validator(mode="after")
    def _told_apart(self) -> Config:
        if not self.suffix and self.mask_root == self.images:
            raise ValueError(
                "expected a `mask_suffix` such as _mask where images and masks are in one folder: nothing else tells "
                "them apart"
            )
        return self

    @property
    def mask_root(self) -> Path:
        """The folder of the masks."""
        return self.masks or self.images

    @property
    def suffix(self) -> str:
        """What the stem of a mask has behind that of its image."""
        if self.mask_suffix is None:
            return MASK_SUFFIX if self.mask_root == self.images else ""
        return self.mask_suffix


def load(config: Config) -> LoadedSource:
    """Lists the images with their masks.

    Raises:
        DataError: A folder is missing or empty, or images and masks do not belong together.
    """
    notes: list[str] = []
    pairs = _pairs(config, notes)
    ids = [f"{config.images.name}/{pair.name}" for pair in pairs]
    groups, unmatched = find_groups(ids, config.split.group_pattern)
    return LoadedSource(
        table=new_table(ids, [pair.image for pair in pairs], groups, {}, mask=[pair.mask for pair in pairs]),
        labels=Labels.of_masks(config.structure),
        origin=str(config.images) if config.masks is None else f"{config.images}, {config.masks}",
        synthetic=is_synthetic(config.images),
        unmatched_groups=unmatched,
        notes=notes,
    )


def _pairs(config: Config, notes: list[str]) -> list[Pair]:
    images, masks = config.images, config.mask_root
    check_folder("data.images", images, "the folder of the images")
    files = _image_files(images, notes)
    if masks == images:
        of_images, of_masks = split_by_suffix(files, config.suffix)
    else:
        check_folder("data.masks", masks, "the folder of the masks")
        # A folder of masks may lie within that of the images.
        of_images = [name for name in files if not (images / name).is_relative_to(masks)]
        others, of_masks = split_by_suffix(_image_files(masks, notes), config.suffix)
        if others:
            first = printable(others[0])
            notes.append(f"{masks}: {counted(len(others), 'image')} without the mask_suffix left out (first: {first}).")
    pairs, problems = match(of_images, of_masks, image_root=images, mask_root=masks, suffix=config.suffix)
    check_pairs(pairs, problems, config, notes, origin=f"data.images: {printable(str(images))}")
    return pairs


def _image_files(folder: Path, notes: list[str]) -> list[str]:
    names = files_below(folder)
    others = [printable(name) for name in names if not is_image(name)]
    if others:
        notes.append(f"{folder}: {counted(len(others), 'file')} left out as no image (first: {others[0]}).")
    return [name for name in names if is_image(name)]


def other_data(config: Config, path: Path) -> Config:
    """Returns the settings that read other images and masks (`cvlab evaluate --data`).

    `path` holds both, beside each other or in two folders of the same names as those of the run.

    Raises:
        DataError: There are no two such folders.
    """
    if config.mask_root == config.images:
        return config.model_copy(update={"images": path, "masks": None if config.masks is None else path})
    images, masks = path / config.images.name, path / config.mask_root.name
    if not images.is_dir() or not masks.is_dir():
        raise DataError(
            f"{path}: expected the folders {images.name} (images) and {masks.name} (masks) in it, as the run has them."
        )
    return config.model_copy(update={"images": images, "masks": masks})


def write_sample(configs: Sequence[Config], directory: Path, *, small: bool) -> list[Config]:
    """Returns settings that use the drawn sample set of each stage; see `sample_sets.draw_samples`."""
    drawn = draw_samples(
        NAME,
        configs,
        directory,
        small=small,
        data_of=lambda config: config.images,
        folder_of=lambda config: config.images.name or NAME,
    )
    changed = []
    for config, folder, module in drawn:
        split = config.split.model_copy(update={"group_pattern": module.GROUP_PATTERN})
        changed.append(config.model_copy(update={"images": folder, "masks": None, "mask_suffix": None, "split": split}))
    return changed
